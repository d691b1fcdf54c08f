"""Registers the commands that work without a Distillation. Called by `__main__`."""

from __future__ import annotations

import typer

from stillhouse.cli import chat, dataset, evaluate, export, score, serve_student, train


def register_leaves(app: typer.Typer) -> None:
    """score, evaluate, dataset, train, export, serve-student and chat."""
    app.command()(score.score)
    app.command()(evaluate.evaluate)
    app.add_typer(dataset.app, name="dataset")
    app.command()(train.train)
    app.command()(export.export)
    app.command()(serve_student.serve_student)
    app.command()(chat.chat)
