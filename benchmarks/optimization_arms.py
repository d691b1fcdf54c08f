"""The arms of `optimization_speed`, each in a process of its own: `python optimization_arms.py WORK_AS_JSON`.

It leaves measured.json in the folder of its arm. The top imports no DSPy: who measures reads the names from here.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import sys
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from measuring import ROLE, SEED

STUDENT, PLAIN, LOCAL, PARALLEL = ARMS = ("student", "plain", "local", "parallel")
LOCAL_SECONDS = (90.0, 110.0)
"""An example of granite4's, served one call at a time, as recorded by the pipeline that this project replaces."""
PATIENCE_SECONDS = 300.0
"""For a student that loads or is busy."""
MEASURED = "measured.json"


@dataclass(frozen=True)
class Work:
    """What the process of one arm is told. `folder` is the arm's own."""

    arm: str
    folder: str
    train: str
    validation: str
    candidates: int
    trials: int
    demos: int
    max_tokens: int
    threads: int
    address: str = ""
    scale: float = 0.0
    """Of the waits; 0: none."""


@dataclass(frozen=True)
class Measured:
    """One run of an arm; seconds are this machine's."""

    calls: int
    proposals: int
    """Those of the calls that are no prompt of the role."""
    seconds: float
    cpu_seconds: float
    """Of the arm's process; a student's server is another."""
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    readable: float
    """Fraction of the answers to the role's prompts that have every output."""
    score: float
    """Mean of the program that was found, on the validation rows."""


class Witness:
    """Stands before a model as an engine of DSPy's, and keeps what passes to be counted after the clock."""

    supports_response_schema = False
    supported_params = frozenset({"temperature", "max_tokens", "seed", "top_p", "top_k", "stop"})

    def __init__(self, complete: Callable[[Any], Any]) -> None:
        """`complete` takes a dspy.lm15.Request and returns a Response."""
        self._complete = complete
        self._lock = threading.Lock()
        self.passed: list[tuple[Any, Any]] = []

    def complete(self, request: Any) -> Any:
        """The answer, drawn with the benchmark's seed."""
        response = None
        try:
            response = self._complete(replace(request, config=replace(request.config, seed=SEED)))
        finally:
            with self._lock:
                self.passed.append((request, response))
        return response

    def measured(self, seconds: float, cpu_seconds: float, score: float) -> Measured:
        """What passed, in figures."""
        from stillhouse.client.dspy import request_messages
        from stillhouse.roles.role import load_role

        role = load_role(ROLE)
        rows = [answer for asked, answer in self.passed if role.inputs_of(request_messages(asked)) is not None]
        texts = ["".join(part.text for part in answer.message.parts) for answer in rows if answer is not None]
        whole = sum(set(role.parse(text).outputs) == set(role.output_fields) for text in texts)
        usages = [answer.usage for _, answer in self.passed if answer is not None]
        return Measured(
            calls=len(self.passed),
            proposals=len(self.passed) - len(rows),
            seconds=seconds,
            cpu_seconds=cpu_seconds,
            prompt_tokens=sum(usage.input_tokens or 0 for usage in usages),
            cached_tokens=sum(usage.cache_read_tokens or 0 for usage in usages),
            completion_tokens=sum(usage.output_tokens or 0 for usage in usages),
            readable=whole / len(rows),
            score=score,
        )


class LocalModel:
    """The role's scripted author, who takes the recorded time for a call, over the scale."""

    def __init__(self, scale: float, *, one_at_a_time: bool) -> None:
        """Scale 0: no wait."""
        self._scale = scale
        self._turn: Any = threading.Lock() if one_at_a_time else nullcontext()
        self._random = random.Random(SEED)
        self._proposals = itertools.count(1)

    def complete(self, request: Any) -> Any:
        """An answer to a prompt of the role; another instruction to anything else."""
        from dspy import lm15

        from stillhouse.client.dspy import request_messages
        from stillhouse.roles.role import load_role

        role, messages = load_role(ROLE), request_messages(request)
        with self._turn:
            if role.inputs_of(messages) is None:
                text = f"Instruction {next(self._proposals)}: write the vision, then the review, and be precise."
            else:
                text = role.reply(messages, None, seed=SEED, careless=False)
            if self._scale:
                time.sleep(self._random.uniform(*LOCAL_SECONDS) / self._scale)
        return lm15.Response(
            id=None,
            model=request.model,
            message=lm15.Message.assistant(text),
            finish_reason="stop",
            usage=lm15.Usage(input_tokens=0, output_tokens=0),
        )


def rows_and_options(work: Work) -> tuple[list[Any], list[Any], Any]:
    """Training rows, validation rows, and the stage's resolved options. Every whole answer may be a demo."""
    from stillhouse.optimizer.options import options_of
    from stillhouse.optimizer.rows import are_answered, read_examples
    from stillhouse.roles.role import load_role
    from stillhouse.v1.optimizer_pb2 import PROMPT_OPTIMIZER_MIPRO_V2, OptimizeRequest, OptimizerOptions

    role = load_role(ROLE)
    train, validation = (
        read_examples(Path(path).read_text(encoding="utf-8").splitlines(), role, source=path)
        for path in (work.train, work.validation)
    )
    options = OptimizerOptions(
        num_candidates=work.candidates,
        num_trials=work.trials,
        max_bootstrapped_demos=work.demos,
        metric_threshold=0.0,
        seed=SEED,
    )
    request = OptimizeRequest(optimizer=PROMPT_OPTIMIZER_MIPRO_V2, options=options)
    return train, validation, options_of(request, validation_rows=len(validation), answered=are_answered(train, role))


def warm_up(work: Work) -> None:
    """One throw-away answer of the student's to a row that is in no data set."""
    from stillhouse.client.student import GenerationOptions, RolePrompt, StudentClient
    from stillhouse.roles.role import load_role

    role = load_role(ROLE)
    (example,) = role.examples(count=1, seed=SEED + 1)
    options = GenerationOptions(max_tokens=work.max_tokens, role_grammar=RolePrompt(role.name, example.inputs))
    with StudentClient(work.address) as client:
        client.generate(role.messages(example.inputs), options)


def run_ours(work: Work) -> Measured:
    """`optimize()` as the stage calls it."""
    from stillhouse.artifacts.answers import AnswerLog
    from stillhouse.artifacts.store import Store
    from stillhouse.client.dspy import student_lm
    from stillhouse.optimizer.journal import Journal
    from stillhouse.optimizer.models import StudentSubject, language_model
    from stillhouse.optimizer.optimization import optimize
    from stillhouse.optimizer.plan import Models, Search
    from stillhouse.optimizer.scoring import Scoring
    from stillhouse.roles.role import load_role

    role = load_role(ROLE)
    train, validation, options = rows_and_options(work)
    if work.arm == STUDENT:
        engine = student_lm(work.address, role_grammar=ROLE).engine
        warm_up(work)
    else:
        engine = LocalModel(work.scale, one_at_a_time=work.arm == LOCAL)
    witness = Witness(engine.complete)
    journal = Journal(AnswerLog(Store.open(f"file://{work.folder}/store")))
    subject = StudentSubject(witness, stopping=threading.Event(), patience_seconds=PATIENCE_SECONDS)  # type: ignore[arg-type]
    name = getattr(engine, "model", f"scripted/{work.arm}")
    lm = language_model(name, subject, journal, max_tokens=work.max_tokens, temperature=0.0)
    models, scoring = Models(lm, lm, None, work.threads), Scoring(role, None, journal)
    plan = Search(role.dspy_program, options, models, scoring, train, validation, min_baseline_valid=0.0)
    began, cpu = time.monotonic(), time.process_time()
    optimized = optimize(plan, role, journal, report=lambda _: None)
    seconds, cpu = time.monotonic() - began, time.process_time() - cpu
    return witness.measured(seconds, cpu, optimized.found.best.score)


def run_plain(work: Work) -> Measured:
    """dspy.MIPROv2 as its documentation uses it."""
    import dspy

    from stillhouse.artifacts.answers import AnswerLog
    from stillhouse.artifacts.store import Store
    from stillhouse.client.dspy import student_lm
    from stillhouse.optimizer.journal import Journal
    from stillhouse.optimizer.proposing import ProposalAdapter
    from stillhouse.optimizer.scoring import Scoring
    from stillhouse.roles.role import load_role

    role = load_role(ROLE)
    train, validation, options = rows_and_options(work)
    dspy.configure_cache(disk_cache_dir=f"{work.folder}/cache")
    served = student_lm(work.address, role_grammar=ROLE)
    witness = Witness(served.engine.complete)
    lm = dspy.LM(served.model, engine=witness, max_tokens=work.max_tokens, temperature=0.0)
    # The journal of the metric is for a metric of the user's that fails: nothing is asked through it.
    metric = Scoring(role, None, Journal(AnswerLog(Store.open(f"file://{work.folder}/store")))).score
    allowed = 1000 * (len(train) + len(validation))
    dspy.configure(lm=lm, adapter=ProposalAdapter())
    optimizer = dspy.MIPROv2(
        metric=metric,
        auto=None,
        num_candidates=work.candidates,
        max_bootstrapped_demos=options.max_bootstrapped_demos,
        max_labeled_demos=options.max_labeled_demos,
        num_threads=work.threads,
        max_errors=allowed,
        seed=SEED,
    )
    warm_up(work)
    began, cpu = time.monotonic(), time.process_time()
    program = optimizer.compile(
        role.dspy_program(),
        trainset=train,
        valset=validation,
        num_trials=options.trials,
        minibatch=options.minibatch,
        minibatch_size=options.minibatch_size,
        minibatch_full_eval_steps=options.minibatch_full_eval_steps,
    )
    seconds, cpu = time.monotonic() - began, time.process_time() - cpu
    measured = witness.measured(seconds, cpu, 0.0)
    found = dspy.Evaluate(devset=validation, metric=metric, num_threads=work.threads, max_errors=allowed)(program)
    return replace(measured, score=fmean(float(score) for _, _, score in found.results))


def main(argument: str) -> int:
    """The run itself."""
    # DSPy draws bars on standard error; it is read when tqdm is imported.
    os.environ["TQDM_DISABLE"] = "1"
    work = Work(**json.loads(argument))
    measured = (run_plain if work.arm == PLAIN else run_ours)(work)
    (Path(work.folder) / MEASURED).write_text(json.dumps(asdict(measured)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
