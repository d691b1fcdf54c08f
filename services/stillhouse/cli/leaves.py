"""Registers the commands that work without a Distillation. Called by `__main__`."""

from __future__ import annotations

import typer

from stillhouse.cli import (
    chat,
    concepts,
    dataset,
    evaluate,
    export,
    generate,
    score,
    serve_student,
    train,
    vertex_emulator,
)


def register_leaves(app: typer.Typer) -> None:
    """score, evaluate, concepts, generate, dataset, train, export, serve-student, vertex-emulator and chat."""
    app.command()(score.score)
    app.command()(evaluate.evaluate)
    app.command()(concepts.concepts)
    app.command()(generate.generate)
    app.add_typer(dataset.app, name="dataset")
    app.command()(train.train)
    app.command()(export.export)
    app.command()(serve_student.serve_student)
    app.command()(vertex_emulator.vertex_emulator)
    app.command()(chat.chat)
