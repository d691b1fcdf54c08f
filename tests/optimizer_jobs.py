"""Small requests of the optimize stage, as Jobs in processes of their own, and what they left behind, for tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from job_process import start_job
from scripted_student_server import MODEL
from stillhouse.artifacts.digests import request_key
from stillhouse.artifacts.store import Store
from stillhouse.dataset.lines import json_line
from stillhouse.optimizer.__main__ import operation
from stillhouse.roles.role import Example, Message, load_role
from stillhouse.v1.artifact_pb2 import Artifact
from stillhouse.v1.common_pb2 import RoleReference
from stillhouse.v1.evaluator_pb2 import CONSTRAINT_KIND_NONE
from stillhouse.v1.optimizer_pb2 import PROMPT_OPTIMIZER_MIPRO_V2, OptimizeRequest, OptimizeResult, OptimizerOptions

ROLE = load_role("product_owner")
INPUTS = [dict(example.inputs) for example in ROLE.examples(count=8, seed=5)]


def author(text: str) -> str:
    inputs = ROLE.inputs_of([Message("user", text)])
    return "Write short, plain sentences." if inputs is None else ROLE.author(Example(inputs), seed=3)


def request_for(store: Store, address: str, **fields: Any) -> OptimizeRequest:
    def rows(name: str, inputs: list[dict[str, str]]) -> Artifact:
        return store.put_bytes("".join(json_line({"inputs": each}) for each in inputs).encode(), name=name)

    usual: dict[str, Any] = {
        "role": RoleReference(name=ROLE.name, version=ROLE.version),
        "train": rows("train.jsonl", INPUTS[:3]),
        "validation": rows("validation.jsonl", INPUTS[3:]),
        "model": Artifact(sha256=MODEL),
        "constraint": CONSTRAINT_KIND_NONE,
        "max_tokens": 900,
        "optimizer": PROMPT_OPTIMIZER_MIPRO_V2,
        "options": OptimizerOptions(num_candidates=2, num_trials=2, max_bootstrapped_demos=1),
        "min_baseline_valid": 0.5,
        "store_uri": store.uri,
        "student_address": address,
        "concurrency": 2,
    }
    return OptimizeRequest(**{**usual, **fields})


def run_job(request: OptimizeRequest, folder: Path, **environment: str) -> int:
    return start_job("stillhouse.optimizer", request, folder, **environment).wait(timeout=120)


def said(folder: Path) -> str:
    return str(json.loads((folder / "status.json").read_text())["message"])


def result_of(store: Store, request: OptimizeRequest) -> OptimizeResult:
    job = operation()
    manifest = store.read_manifest(job.stage, request_key(job.stage, job.logic_version, request))
    assert manifest is not None
    result = OptimizeResult()
    assert manifest.result.Unpack(result)
    return result


def kept_answers(store: Store) -> list[str]:
    return list(store.list_objects("answers/"))
