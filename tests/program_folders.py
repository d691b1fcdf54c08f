"""Programs of the role product_owner, made without DSPy, for tests of folders, commands and guidance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stillhouse.programs.guidance import probes_of
from stillhouse.programs.program import Demo, Field, ModuleNode, Predictor, Program
from stillhouse.programs.prompts import prompts_sha256
from stillhouse.roles.product_owner import ROLE
from stillhouse.roles.role import Guidance

INSTRUCTIONS = "Sei kurz: größer ist nicht besser.\nName only [ids] that are there."
BASELINE = {"score": 0.9612, "valid_rate": 0.8824, "failures": {"there is no REVIEW block": 3, "too long": 1}}
METADATA: dict[str, Any] = {
    "role": "product_owner",
    "trainset": {"path": "train.jsonl", "sha256": "a" * 64},
    "trainset_size": 120,
    "valset": {"path": "validation.jsonl", "sha256": "b" * 64},
    "valset_size": 34,
    "parameters": {"auto": "light", "max_bootstrapped_demos": 4, "max_labeled_demos": 4},
    "provider": "vertex",
    "model": "gemini-2.5-pro",
    "seed": 7,
    "libraries": {"dspy": "3.4.1", "optuna": "4.5.0"},
    "baseline": BASELINE,
    "score": {"score": 0.9734, "valid_rate": 1.0, "failures": {}},
    "trials": [
        {"number": 0, "kind": "full", "score": 0.9612, "candidate": {}},
        {"number": 1, "kind": "minibatch", "score": 0.99, "candidate": {"generate": {"instructions": 2, "demos": 5}}},
        {"number": 2, "kind": "full", "score": 0.9734, "candidate": {"generate": {"instructions": 2, "demos": 5}}},
    ],
}


def demos(count: int) -> tuple[Demo, ...]:
    """Whole demos, Examples and dicts by turns."""
    made = []
    for number, example in enumerate(ROLE.examples(count=count, seed=3)):
        outputs = ROLE.parse(ROLE.author(example, seed=3)).outputs
        made.append(Demo({"augmented": True, **example.inputs, **outputs}, is_example=number % 2 == 0))
    return tuple(made)


def product_owner_program(instructions: str = INSTRUCTIONS, shown: Sequence[Demo] = ()) -> Program:
    """As `capture` would make it of the role's DSPy program."""
    guidance = Guidance(instructions, tuple({name: str(text) for name, text in demo.fields.items()} for demo in shown))
    prompts = [
        [{"role": turn.role, "content": turn.content} for turn in ROLE.messages(probe, guidance)]
        for probe in probes_of(ROLE)
    ]
    names = [(name, "input") for name in ROLE.input_fields] + [(name, "output") for name in ROLE.output_fields]
    fields = tuple(
        Field(name, kind, "str", {"type": "string"}, f"{name.title()}:", f"what {name} holds")  # type: ignore[arg-type]
        for name, kind in names
    )
    predictor = Predictor(instructions, fields, tuple(shown), {}, {}, None, prompts_sha256(prompts))
    nodes = {"self": ModuleNode("ProductOwner"), "generate": ModuleNode("Predict")}
    return Program(ROLE.name, ROLE.version, nodes, {"generate": predictor}, tuple(probes_of(ROLE)))
