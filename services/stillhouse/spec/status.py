"""What is observed of a Distillation on a cluster, as pydantic models: `status` of the resource.

The controller writes it and the command line reads it. The resource's schema is generated from here and from `models`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

from stillhouse.spec.cel import list_map
from stillhouse.spec.values import Sha256

MESSAGE_LENGTH = 4096


def _cut(value: object) -> object:
    """A status that is too long for its schema would be refused as a whole."""
    too_long = isinstance(value, str) and len(value) > MESSAGE_LENGTH
    return f"{str(value)[: MESSAGE_LENGTH - 1]}…" if too_long else value


Message = Annotated[str, BeforeValidator(_cut), StringConstraints(max_length=MESSAGE_LENGTH)]
"""For people; what is longer is cut."""

Word = Annotated[str, StringConstraints(max_length=64)]

Timestamp = Annotated[str, StringConstraints(max_length=40), Field(json_schema_extra={"format": "date-time"})]
"""RFC 3339, such as 2030-01-31T12:00:00Z."""

SignedDecimal = Annotated[str, StringConstraints(pattern=r"^-?[0-9]{1,12}(\.[0-9]{1,12})?$", max_length=32)]
"""A decimal as text, such as -0.013."""

BlobUri = Annotated[str, StringConstraints(max_length=2200)]
"""STORE/blobs/sha256/HEX."""

Count = Annotated[int, Field(ge=0, le=2**53 - 1)]

ConditionType = Literal[
    "DatasetReady", "Optimized", "Trained", "Exported", "Evaluated", "Serving", "Succeeded", "Suspended"
]

StepState = Literal[
    "done", "running", "ready", "waiting", "retrying", "failed", "queued", "pending", "stopping", "succeeded"
]
"""As `stillhouse.controller.plan` has them, and for a running step what its Job is doing."""


class StatusModel(BaseModel):
    """Frozen, camelCase outside; what a newer controller adds is passed over."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True, use_attribute_docstrings=True
    )


class Progress(StatusModel):
    """How far a running step is."""

    done: Count | None = None
    """Units that are done."""
    total: Count | None = None
    """Units in all; absent while that is not known."""
    unit: Word | None = None
    """What is counted, such as records or steps."""
    message: Message | None = None
    """What the step is doing."""
    eta_seconds: Count | None = None
    """Seconds until it is done, by the pace so far."""
    figures: Annotated[dict[Word, Word], Field(max_length=32)] | None = None
    """What the step measures, such as loss."""


class StepStatus(StatusModel):
    """One step of the pipeline."""

    name: Word
    """The step, such as evaluate-base; unique."""
    stage: Word
    """The kind of work, such as evaluate."""
    key: Annotated[str, StringConstraints(max_length=128)] | None = None
    """Digest of the step's request; absent while what it needs is not made."""
    state: StepState
    """Where the step stands."""
    message: Message | None = None
    """Why it stands there."""
    job: Annotated[str, StringConstraints(max_length=253)] | None = None
    """The Job that does it, or did."""
    start_time: Timestamp | None = None
    """When its Job started."""
    finish_time: Timestamp | None = None
    """When it was done or failed for good."""
    progress: Progress | None = None


class Artifacts(StatusModel):
    """What was made, as URIs in the store."""

    dataset: BlobUri | None = None
    """The records that the student trained on, as JSONL."""
    adapter: BlobUri | None = None
    """The LoRA adapter."""
    model: BlobUri | None = None
    """The student as GGUF."""
    program: BlobUri | None = None
    """The optimised prompt: instructions and demos."""
    evaluation: BlobUri | None = None
    """The held-out rows with the student's answers and scores."""


class Condition(StatusModel):
    """One thing that is true, false or not known of a Distillation."""

    type: ConditionType
    """What is spoken of."""
    status: Literal["True", "False", "Unknown"]
    """Whether it is so."""
    observed_generation: Count | None = None
    """The generation of the spec that this was said of."""
    last_transition_time: Timestamp
    """When status changed last."""
    reason: Annotated[
        str, StringConstraints(pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$", min_length=1, max_length=128)
    ]
    """Why, in one word, for programs."""
    message: Message
    """Why, for people."""


class DistillationStatus(StatusModel):
    """What was observed last."""

    observed_generation: Count | None = None
    """The generation of the spec that this status is of."""
    stage: Word | None = None
    """What runs now, or how it ended, in one word."""
    message: Message | None = None
    """What happens now, or what is to be done about it."""
    records: Count | None = None
    """Records in the data set, or in the making."""
    score: SignedDecimal | None = None
    """The student's mean score on the held-out rows."""
    gap: SignedDecimal | None = None
    """(reference - student) / reference; below zero where the student is better than its teacher."""
    serving: Annotated[str, StringConstraints(max_length=256)] | None = None
    """Whether this student is served, in short."""
    cost_usd: SignedDecimal | None = None
    """What the paid models cost so far, in US dollars."""
    steps: Annotated[list[StepStatus], Field(max_length=32, json_schema_extra=list_map("name"))] | None = None
    """The steps of the pipeline in order."""
    artifacts: Artifacts | None = None
    model_sha256: Sha256 | None = None
    """Digest of the student's GGUF file, as spec.serve.pin names it."""
    validation_sha256: Sha256 | None = None
    """Digest of the held-out rows; students are compared where theirs are equal."""
    conditions: Annotated[list[Condition], Field(max_length=16, json_schema_extra=list_map("type"))] | None = None
    """What is true of it, for `kubectl wait --for=condition=...` and for programs."""
