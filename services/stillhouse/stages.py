"""The stages: which service does each, with which request, and the version of its logic that enters every key.

The controller plans with this table and the services execute by it; neither imports the other. Raise a version when the
same request would make other bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf.message import Message

from stillhouse.v1.dataset_builder_pb2 import BuildDatasetRequest, BuildDatasetResult
from stillhouse.v1.evaluator_pb2 import EvaluateRequest, EvaluateResult
from stillhouse.v1.exporter_pb2 import ExportRequest, ExportResult
from stillhouse.v1.optimizer_pb2 import OptimizeRequest, OptimizeResult
from stillhouse.v1.teacher_generator_pb2 import GenerateRecordsRequest, GenerateRecordsResult
from stillhouse.v1.trainer_pb2 import PrepareBaseRequest, PrepareBaseResult, TrainRequest, TrainResult


@dataclass(frozen=True)
class StageDefinition:
    """One kind of work whose result is committed by a manifest."""

    name: str
    service: str
    """Python module below `stillhouse` and, with hyphens, name of image and Service."""
    request_type: type[Message]
    result_type: type[Message]
    logic_version: int


GENERATE = StageDefinition("generate", "teacher_generator", GenerateRecordsRequest, GenerateRecordsResult, 1)
BASE = StageDefinition("base", "trainer", PrepareBaseRequest, PrepareBaseResult, 1)
DATASET = StageDefinition("dataset", "dataset_builder", BuildDatasetRequest, BuildDatasetResult, 1)
TRAIN = StageDefinition("train", "trainer", TrainRequest, TrainResult, 1)
EXPORT = StageDefinition("export", "exporter", ExportRequest, ExportResult, 1)
EVALUATE = StageDefinition("evaluate", "evaluator", EvaluateRequest, EvaluateResult, 3)
OPTIMIZE = StageDefinition("optimize", "optimizer", OptimizeRequest, OptimizeResult, 3)
