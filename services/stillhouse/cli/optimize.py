"""`stillhouse optimize`: a better prompt for a role and a model, found by a DSPy optimizer, without a Distillation."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stillhouse.cli.choices import chosen_role
from stillhouse.cli.teachers import checked_provider, teacher_model

if TYPE_CHECKING:
    from rich.console import Console

    from stillhouse.artifacts.store import Store
    from stillhouse.v1.artifact_pb2 import Artifact
    from stillhouse.v1.optimizer_pb2 import OptimizeRequest, OptimizeResult
    from stillhouse.v1.teacher_pb2 import TeacherModel

OPTIMIZERS = ("mipro_v2", "bootstrap_few_shot", "gepa")
_ENDPOINT = re.compile(r"https?://.+|[^\s/@]+:[0-9]{1,5}")
_PROPOSAL_TOKENS = 2048

Count = Annotated[int | None, typer.Option(min=1)]


def optimize(
    train: Annotated[Path, typer.Option(help="JSONL rows whose good answers become demos.")],
    validation: Annotated[Path, typer.Option(help="JSONL rows that every candidate is scored on.")],
    output: Annotated[Path, typer.Option(metavar="PROGRAM_DIR", help="Folder for program.json and metadata.json.")],
    role: Annotated[str, typer.Option(help="The role whose prompt it is.")] = "product_owner",
    student: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="For a student that is served.")] = None,
    model: Annotated[
        str | None,
        typer.Option(metavar="PROVIDER:NAME[@ENDPOINT]", help="For a teacher: litellm:ollama_chat/granite4, ..."),
    ] = None,
    optimizer: Annotated[str, typer.Option(help=f"One of {', '.join(OPTIMIZERS)}.")] = "mipro_v2",
    auto: Annotated[str | None, typer.Option(help="light, medium or heavy; default: light.")] = None,
    num_candidates: Count = None,
    num_trials: Count = None,
    minibatch: Annotated[
        bool | None, typer.Option(help="Default: if there are more rows than one holds; by --auto more than 50.")
    ] = None,
    minibatch_size: Count = None,
    minibatch_full_eval_steps: Count = None,
    max_bootstrapped_demos: Annotated[int | None, typer.Option(min=0, help="Default: 4.")] = None,
    max_labeled_demos: Annotated[
        int | None, typer.Option(min=0, help="Rows' own answers as demos; default: as many.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    metric_threshold: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="Least score of a demo; default: the baseline's mean.")
    ] = None,
    init_temperature: Annotated[float | None, typer.Option(min=0.0, max=2.0, help="Of proposals; default: 1.")] = None,
    prompt_model: Annotated[str | None, typer.Option(help="Proposes instructions; default: the model itself.")] = None,
    demo_model: Annotated[str | None, typer.Option(help="Writes the demos (DSPy's teacher); default: itself.")] = None,
    grammar: Annotated[str, typer.Option(help="role: a student's answers are held to the role's grammar; none.")] = "",
    max_tokens: Annotated[int, typer.Option(min=1, max=65_536, help="Of an answer.")] = 1024,
    temperature: Annotated[float, typer.Option(min=0.0, max=2.0, help="Of answers; 0 is greedy.")] = 0.0,
    min_baseline_valid: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Least fraction of readable answers before trials are spent.")
    ] = 0.5,
    metric: Annotated[str, typer.Option(help="module:function of your own metric, in place of the role's.")] = "",
    max_calls: Annotated[int | None, typer.Option(min=0, help="These four end it with the best so far.")] = None,
    max_total_tokens: Annotated[int | None, typer.Option(min=0)] = None,
    max_cost_usd: Annotated[float | None, typer.Option(min=0.0)] = None,
    max_seconds: Annotated[float | None, typer.Option(min=0.0)] = None,
    concurrency: Annotated[int, typer.Option(min=0, help="Rows asked at a time; 0: the student's slots.")] = 0,
    store: Annotated[str | None, typer.Option(help="Object store that keeps every answer.")] = None,
    token: Annotated[str | None, typer.Option(envvar="STILLHOUSE_TOKEN", help="Bearer token of the student.")] = None,
    ca: Annotated[Path | None, typer.Option(help="Certificate of the authority, for a student behind TLS.")] = None,
    wait: Annotated[float, typer.Option(min=0.0, help="Seconds to wait for a student to be ready.")] = 30.0,
    json_output: Annotated[bool, typer.Option("--json", help="The figures as JSON instead of tables.")] = False,
) -> None:
    """Looks for better instructions and demos. The same command again goes on where it was.

    The role's own prompt is evaluated first; every answer is kept, and the program is written once a replay from the
    kept answers alone has found the same.
    """
    from stillhouse.artifacts.store import JSONL_MEDIA_TYPE
    from stillhouse.cli.files import existing_file
    from stillhouse.cli.jobs import run_stage
    from stillhouse.cli.store import open_store
    from stillhouse.cli.tables import remarks
    from stillhouse.stages import OPTIMIZE
    from stillhouse.v1.common_pb2 import RoleReference
    from stillhouse.v1.optimizer_pb2 import OptimizeRequest, OptimizeResult, OptimizerOptions

    chosen = chosen_role(role)
    if (student is None) == (model is None):
        raise typer.BadParameter("name a student that is served, or a teacher by --model", param_hint="--student")
    opened, screen = open_store(store), remarks()

    def rows(path: Path, name: str) -> Artifact:
        return opened.put_file(existing_file(path), name=name, media_type=JSONL_MEDIA_TYPE)

    request = OptimizeRequest(
        role=RoleReference(name=chosen.name, version=chosen.version),
        train=rows(train, "train.jsonl"),
        validation=rows(validation, "validation.jsonl"),
        constraint=_constraint(grammar, is_student=student is not None),  # type: ignore[arg-type]
        max_tokens=max_tokens,
        temperature=temperature,
        optimizer=_optimizer(optimizer),  # type: ignore[arg-type]
        options=OptimizerOptions(
            auto=auto or "",
            seed=seed,
            **_given(
                num_candidates=num_candidates,
                num_trials=num_trials,
                minibatch=minibatch,
                minibatch_size=minibatch_size,
                minibatch_full_eval_steps=minibatch_full_eval_steps,
                max_bootstrapped_demos=max_bootstrapped_demos,
                max_labeled_demos=max_labeled_demos,
                metric_threshold=metric_threshold,
                init_temperature=init_temperature,
            ),
        ),
        min_baseline_valid=min_baseline_valid,
        metric=metric,
        concurrency=concurrency,
        train_source=str(train),
        validation_source=str(validation),
        **_given(
            max_calls=max_calls,
            max_total_tokens=max_total_tokens,
            max_cost_usd=max_cost_usd,
            max_seconds=max_seconds,
            teacher=_model(model, "--model", max_tokens, temperature),
            prompt_model=_model(prompt_model, "--prompt-model", _PROPOSAL_TOKENS, 0.7),
            demo_model=_model(demo_model, "--demo-model", max_tokens, 0.7),
        ),
    )
    if student is not None:
        _name_student(request, student, token, ca, wait)
    result = run_stage(opened, OPTIMIZE, request, OptimizeResult, screen=screen)
    _deliver(opened, result, output, json_output=json_output)


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _optimizer(name: str) -> int:
    from stillhouse.v1.optimizer_pb2 import PromptOptimizer

    if name not in OPTIMIZERS:
        raise typer.BadParameter(f"{name!r} is none of {', '.join(OPTIMIZERS)}", param_hint="--optimizer")
    return PromptOptimizer.Value(f"PROMPT_OPTIMIZER_{name.upper()}")


def _constraint(grammar: str, *, is_student: bool) -> int:
    from stillhouse.v1.evaluator_pb2 import CONSTRAINT_KIND_NONE, CONSTRAINT_KIND_ROLE_GRAMMAR

    if grammar not in ("", "role", "none"):
        raise typer.BadParameter(f"{grammar!r} is neither role nor none", param_hint="--grammar")
    if grammar == "role" and not is_student:
        raise typer.BadParameter("a teacher is not held to the role's grammar", param_hint="--grammar")
    return CONSTRAINT_KIND_ROLE_GRAMMAR if is_student and grammar != "none" else CONSTRAINT_KIND_NONE


def _model(text: str | None, option: str, max_tokens: int, temperature: float) -> TeacherModel | None:
    """`PROVIDER:NAME` or `PROVIDER:NAME@ENDPOINT`. Raises BadParameter."""
    if text is None:
        return None
    provider, separator, name = text.partition(":")
    if not separator or not provider:
        raise typer.BadParameter(
            f"{text!r} is not PROVIDER:NAME, such as litellm:ollama_chat/granite4", param_hint=option
        )
    before, at, behind = name.rpartition("@")
    endpoint = behind if at and _ENDPOINT.fullmatch(behind) else None
    return teacher_model(
        checked_provider(provider),
        "plain",
        faults="none",
        model=before if endpoint else name,
        endpoint=endpoint,
        max_output_tokens=max_tokens,
        temperature=temperature,
        location="us-central1",
    )


def _name_student(request: OptimizeRequest, address: str, token: str | None, ca: Path | None, wait: float) -> None:
    """The student that is served there now; the Job reads token and authority from its environment."""
    from stillhouse.client.student import StudentClient
    from stillhouse.client.waiting import wait_until_ready
    from stillhouse.errors import FailedPrecondition

    with StudentClient(address, token=token, ca=ca, retries=False) as client:
        served = wait_until_ready(client, wait_seconds=wait).model
    if not served.sha256:
        raise FailedPrecondition(f"the server at {address} does not say which model it serves: it is no student's")
    request.model.CopyFrom(served)
    request.student_address = address
    if token:
        os.environ["STILLHOUSE_STUDENT_TOKEN"] = token
    if ca:
        os.environ["STILLHOUSE_STUDENT_CA"] = str(ca)


def _deliver(store: Store, result: OptimizeResult, output: Path, *, json_output: bool) -> None:
    import json

    from stillhouse.cli.tables import console, print_json
    from stillhouse.programs.document import read_program
    from stillhouse.programs.folder import write_program

    metadata = json.loads(store.read_bytes(result.metadata))
    write_program(output, read_program(store.read_bytes(result.program), source="the program"), metadata)
    document = {
        "program": str(output),
        "program_sha256": result.program.sha256,
        **{name: metadata[name] for name in ("baseline", "score", "ended_by", "valset_size", "usage")},
        "trials": len(metadata["trials"]),
    }
    if json_output:
        print_json(document)
    else:
        _show(console(), metadata, output)


def _show(screen: Console, metadata: dict[str, Any], output: Path) -> None:
    from stillhouse.cli.tables import facts_table, number

    baseline, best, usage = metadata["baseline"], metadata["score"], metadata["usage"]
    failures = ", ".join(f"{reason} {count}" for reason, count in baseline["failures"].items()) or "none"
    prompt = usage["prompt_tokens"]
    cached = f", {usage['cached_tokens'] / prompt:.0%} of the prompt's from the prefix cache" if prompt else ""
    facts = [
        ("own prompt", f"{baseline['score']:.3f} on {metadata['valset_size']} rows; failed rows: {failures}"),
        ("program", f"{best['score']:.3f}; failed rows: {sum(best['failures'].values())}"),
        ("tried", f"{len(metadata['trials'])} evaluations with {metadata['optimizer']}{_ended(metadata)}"),
        ("calls", f"{usage['calls']}, {usage['from_log']} of them answered before; ${usage['cost_usd']:.4f}"),
        ("tokens", f"{number(prompt)} in, {number(usage['completion_tokens'])} out{cached}"),
        ("written", str(output)),
        ("next", f"stillhouse program show {output}"),
        ("", f"stillhouse evaluate ... --program {output}"),
    ]
    screen.print(facts_table(facts))
    if idle := metadata.get("idle"):
        screen.print(f"{metadata['optimizer']} has no use for {', '.join(idle)}", markup=False, soft_wrap=True)
    wants_demos = metadata["parameters"].get("max_bootstrapped_demos", 0) and not metadata["ended_by"]
    if wants_demos and not _has_demos(metadata):
        said = "no answer was good enough to be a demo: see --metric-threshold, or name a --demo-model"
        screen.print(said, markup=False, soft_wrap=True)
    if best["score"] <= baseline["score"]:
        screen.print("nothing beat the role's own prompt: the program is that prompt", markup=False, soft_wrap=True)


def _has_demos(metadata: dict[str, Any]) -> bool:
    """Whether any candidate had a demo."""
    return any(any(demos) for each in metadata["candidates"].values() for demos in each["demos"])


def _ended(metadata: dict[str, Any]) -> str:
    return f", ended by {metadata['ended_by']}" if metadata["ended_by"] else ""
