"""`stillhouse optimize`: a better prompt for a role and a model, found by a DSPy optimizer, without a Distillation."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stillhouse.cli.choices import chosen_role
from stillhouse.cli.subjects import STUDENT_SAMPLING, TEACHER_SAMPLING
from stillhouse.cli.teachers import checked_provider, teacher_model

if TYPE_CHECKING:
    from stillhouse.artifacts.store import Store
    from stillhouse.v1.artifact_pb2 import Artifact
    from stillhouse.v1.optimizer_pb2 import OptimizeRequest, OptimizeResult
    from stillhouse.v1.teacher_pb2 import TeacherModel

OPTIMIZERS = ("mipro_v2", "bootstrap_few_shot", "gepa")
_ENDPOINT = re.compile(r"https?://.+|[^\s/@]+:[0-9]{1,5}")
_ANY_ROWS = 1_000_000_000
"""More than any file has: no option is refused for being more than they are."""

Count = Annotated[int | None, typer.Option(min=1)]


def optimize(
    train: Annotated[Path, typer.Option(help="JSONL rows whose good answers become demos.")],
    validation: Annotated[Path, typer.Option(help="JSONL rows that every candidate is scored on.")],
    output: Annotated[Path, typer.Option(metavar="PROGRAM_DIR", help="Folder for program.json and metadata.json.")],
    held_out: Annotated[
        Path | None,
        typer.Option(help="JSONL rows to judge the result by at the end; the others may have no input of theirs."),
    ] = None,
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
        int | None, typer.Option(min=0, help="Rows' own answers as demos, where every row has one; default: as many.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    metric_threshold: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="Least score of a demo; default: the baseline's mean.")
    ] = None,
    init_temperature: Annotated[float | None, typer.Option(min=0.0, max=2.0, help="Of proposals; default: 1.")] = None,
    prompt_model: Annotated[str | None, typer.Option(help="Proposes instructions; default: the model itself.")] = None,
    demo_model: Annotated[str | None, typer.Option(help="Writes the demos (DSPy's teacher); default: itself.")] = None,
    grammar: Annotated[str, typer.Option(help="role: a student's answers are held to the role's grammar; none.")] = "",
    max_tokens: Annotated[
        int | None, typer.Option(min=1, max=65_536, help="Of an answer; default: 1024, a teacher's 8192, thinking too.")
    ] = None,
    thinking_budget: Annotated[
        int | None, typer.Option(min=0, help="Tokens that a teacher, prompt or demo model may think with; 0: none.")
    ] = None,
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
    from stillhouse.cli.jobs import run_stage
    from stillhouse.cli.store import open_store
    from stillhouse.cli.tables import remarks
    from stillhouse.stages import OPTIMIZE
    from stillhouse.v1.common_pb2 import RoleReference
    from stillhouse.v1.optimizer_pb2 import OptimizeRequest, OptimizeResult, OptimizerOptions

    chosen = chosen_role(role)
    if (student is None) == (model is None):
        raise typer.BadParameter("name a student that is served, or a teacher by --model", param_hint="--student")
    usual = STUDENT_SAMPLING if model is None else TEACHER_SAMPLING
    tokens = usual.max_tokens if max_tokens is None else max_tokens
    helper = (max(tokens, TEACHER_SAMPLING.max_tokens), TEACHER_SAMPLING.temperature, thinking_budget)
    request = OptimizeRequest(
        role=RoleReference(name=chosen.name, version=chosen.version),
        constraint=_constraint(grammar, is_student=student is not None),  # type: ignore[arg-type]
        max_tokens=tokens,
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
            teacher=_model(model, "--model", tokens, temperature, thinking_budget),
            prompt_model=_model(prompt_model, "--prompt-model", *helper),
            demo_model=_model(demo_model, "--demo-model", *helper),
        ),
    )
    _check(request)
    opened, screen = open_store(store), remarks()
    _put_rows(request, opened, train=train, validation=validation, held_out=held_out)
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


def _model(
    text: str | None, option: str, max_tokens: int, temperature: float, thinking_budget: int | None
) -> TeacherModel | None:
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
        thinking_budget=thinking_budget,
        location="us-central1",
    )


def _check(request: OptimizeRequest) -> None:
    """What is wrong whatever the rows are, said before anything is started. Raises BadParameter that names the option.

    What depends on the rows, or on a metric's own module, is the Job's to find.
    """
    from stillhouse.errors import InvalidArgument
    from stillhouse.optimizer.options import options_of
    from stillhouse.roles.metric_reference import check_reference

    try:
        options_of(request, validation_rows=_ANY_ROWS, answered=False)
        if request.metric:
            check_reference(request.metric)
    except InvalidArgument as exc:
        option = (exc.field or "").rpartition(".")[2].replace("_", "-")
        raise typer.BadParameter(exc.message, param_hint=f"--{option}") from exc
    if request.HasField("max_cost_usd"):
        _check_prices(request)


def _check_prices(request: OptimizeRequest) -> None:
    from stillhouse.teachers.prices import price_of

    models = [getattr(request, name) for name in ("teacher", "prompt_model", "demo_model") if request.HasField(name)]
    unknown = next((model for model in models if price_of(model) is None), None)
    if unknown is not None:
        raise typer.BadParameter(
            f"the price of {unknown.provider}:{unknown.model} is not known, so that no budget can be kept; limit its "
            "tokens by --max-total-tokens, or its calls by --max-calls",
            param_hint="--max-cost-usd",
        )


def _put_rows(request: OptimizeRequest, store: Store, *, train: Path, validation: Path, held_out: Path | None) -> None:
    """Raises NotFound for a file that is not there, and what writing to the store raises."""
    from stillhouse.artifacts.store import JSONL_MEDIA_TYPE
    from stillhouse.cli.files import existing_file

    def rows(path: Path, name: str) -> Artifact:
        return store.put_file(existing_file(path), name=name, media_type=JSONL_MEDIA_TYPE)

    request.train.CopyFrom(rows(train, "train.jsonl"))
    request.validation.CopyFrom(rows(validation, "validation.jsonl"))
    if held_out is not None:
        request.held_out.CopyFrom(rows(held_out, "held-out.jsonl"))
        request.evaluate_held_out, request.held_out_source = True, str(held_out)


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

    from stillhouse.cli.optimization_tables import show_optimization
    from stillhouse.cli.tables import console, print_json
    from stillhouse.programs.document import read_program
    from stillhouse.programs.folder import write_program

    metadata = json.loads(store.read_bytes(result.metadata))
    write_program(output, read_program(store.read_bytes(result.program), source="the program"), metadata)
    document = {
        "program": str(output),
        "program_sha256": result.program.sha256,
        **{name: metadata[name] for name in ("baseline", "score", "difference", "ended_by", "valset_size", "usage")},
        "trials": len(metadata["trials"]),
        "held_out": metadata.get("held_out"),
    }
    if json_output:
        print_json(document)
    else:
        show_optimization(console(), metadata, output)
