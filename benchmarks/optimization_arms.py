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
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from measuring import ROLE, SEED
from optimization_calls import Measured, Witness, call_of, measured_calls

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
    http_port: str = ""
    """Of the student's OpenAI-compatible listener; its key is STILLHOUSE_HTTP_KEY."""
    scale: float = 0.0
    """Of the waits; 0: none."""
    grammar: bool = False
    """The student's rows are held to the role's grammar, as `stillhouse optimize` has it."""


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
    from stillhouse.client.student import GenerationOptions, StudentClient
    from stillhouse.roles.role import load_role

    role = load_role(ROLE)
    (example,) = role.examples(count=1, seed=SEED + 1)
    with StudentClient(work.address) as client:
        client.generate(role.messages(example.inputs), GenerationOptions(max_tokens=work.max_tokens))


def run_ours(work: Work) -> Measured:
    """`optimize()` as the stage calls it."""
    from stillhouse.artifacts.answers import AnswerLog
    from stillhouse.artifacts.store import Store
    from stillhouse.client.dspy import student_lm
    from stillhouse.optimizer.journal import Journal
    from stillhouse.optimizer.models import StudentSubject, language_model, proposing
    from stillhouse.optimizer.optimization import optimize
    from stillhouse.optimizer.plan import Models, Search
    from stillhouse.optimizer.scoring import Scoring
    from stillhouse.roles.role import load_role

    role = load_role(ROLE)
    train, validation, options = rows_and_options(work)
    if work.arm == STUDENT:
        engine = student_lm(work.address, role_grammar=ROLE if work.grammar else None, shared_prefix=True).engine
        warm_up(work)
    else:
        engine = LocalModel(work.scale, one_at_a_time=work.arm == LOCAL)
    witness = Witness(engine.complete)
    journal = Journal(AnswerLog(Store.open(f"file://{work.folder}/store")))
    subject = StudentSubject(witness, stopping=threading.Event(), patience_seconds=PATIENCE_SECONDS)  # type: ignore[arg-type]
    name = getattr(engine, "model", f"scripted/{work.arm}")
    lm = language_model(name, subject, journal, max_tokens=work.max_tokens, temperature=0.0)
    prompt = proposing(lm) if work.arm == STUDENT else lm
    models, scoring = Models(lm, prompt, None, work.threads), Scoring(role, None, journal)
    plan = Search(role.dspy_program, options, models, scoring, train, validation, min_baseline_valid=0.0)
    began, cpu = time.monotonic(), time.process_time()
    optimized = optimize(plan, role, journal, report=lambda _: None)
    seconds, cpu = time.monotonic() - began, time.process_time() - cpu
    return witness.measured(seconds, cpu, optimized.found.best.score)


def run_plain(work: Work) -> Measured:
    """dspy.MIPROv2 as its documentation uses it."""
    import dspy
    from dspy.clients.base_lm import GLOBAL_HISTORY

    from stillhouse.artifacts.answers import AnswerLog
    from stillhouse.artifacts.store import Store
    from stillhouse.optimizer.journal import Journal
    from stillhouse.optimizer.proposing import ProposalAdapter
    from stillhouse.optimizer.scoring import Scoring
    from stillhouse.roles.role import load_role

    role = load_role(ROLE)
    train, validation, options = rows_and_options(work)
    dspy.configure_cache(disk_cache_dir=f"{work.folder}/cache")
    lm = dspy.LM(
        "openai/student",
        engine="litellm",
        api_base=f"http://127.0.0.1:{work.http_port}/v1",
        api_key=os.environ["STILLHOUSE_HTTP_KEY"],
        max_tokens=work.max_tokens,
        temperature=0.0,
        seed=SEED,
    )
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
    measured = measured_calls([call for entry in GLOBAL_HISTORY if (call := call_of(entry))], seconds, cpu, 0.0)
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
