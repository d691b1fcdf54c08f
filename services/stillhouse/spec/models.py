"""The Distillation (stillhouse.dev/v1alpha1) as pydantic models: the one source of its schema.

The JSON schema and the Kubernetes resource are generated from here. `spec` is intent; nothing observed lives in it.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from stillhouse.spec.values import DecimalString, Fraction, Name, Seed, Sha256, Text, Uri

API_VERSION = "stillhouse.dev/v1alpha1"


class SpecModel(BaseModel):
    """Strict, frozen, camelCase outside."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        strict=True,
        hide_input_in_errors=True,
    )


class Source(SpecModel):
    """Bytes from outside."""

    uri: Uri
    sha256: Sha256 | None = None
    """Refuses other bytes than these."""


class Synthesized(SpecModel):
    """Records that the role's own seeded synthesizer and scripted author write."""

    count: Annotated[int, Field(ge=1, le=100_000)]
    seed: Seed = 42


class Import(SpecModel):
    """Recorded answers: JSONL at a uri, or synthesized ones."""

    uri: Uri | None = None
    sha256: Sha256 | None = None
    synthesized: Synthesized | None = None
    model: Text | None = None
    """The model that answered, for rows that name none."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.uri is None) == (self.synthesized is None):
            raise ValueError("an import has either uri or synthesized")
        if self.sha256 is not None and self.uri is None:
            raise ValueError("sha256 belongs to a uri")
        return self


class Balance(SpecModel):
    """At most that many records with that label."""

    label: Text
    value: Text
    max_records: Annotated[int, Field(ge=1)]


class Split(SpecModel):
    """Fractions of the input groups; what is left goes to tuning."""

    train: Fraction | None = None
    """Default 0.85 with a validation set, else 0.70."""
    validation: Fraction | None = None
    """Default 0 with a validation set, else 0.15."""
    seed: Seed = 42


class Dataset(SpecModel):
    """What the student learns from."""

    imports: Annotated[list[Import], Field(min_length=1, max_length=32)]
    guards: Annotated[list[Text], Field(max_length=32)] | None = None
    """Guards that refuse a record; default: all of the role's."""
    metric: Text | None = None
    """module:function of a metric of your own; default: the role's."""
    min_score: Fraction = "0.80"
    """Records below it are refused."""
    balance: Annotated[list[Balance], Field(max_length=32)] = []
    split: Split = Split()
    validation: Source | None = None
    """Held-out rows. Without it, part of the input groups is held out."""
    min_records: Annotated[int, Field(ge=1)] = 20
    """Fewer records stop the run before any training is paid for."""
    min_mean_score: Fraction = "0.80"


class Lora(SpecModel):
    """LoRA; what is not given comes from the preset, then from the defaults."""

    rank: Annotated[int, Field(ge=1, le=1024)] | None = None
    alpha: Annotated[int, Field(ge=1, le=4096)] | None = None
    dropout: Fraction | None = None
    target_modules: Annotated[list[Text], Field(min_length=1, max_length=32)] | None = None
    """Module names, or the one entry all-linear."""
    rslora: bool | None = None


class Training(SpecModel):
    """Fine-tuning; what is not given comes from the preset, then from the defaults."""

    epochs: Annotated[int, Field(ge=1, le=100)] | None = None
    batch_size: Annotated[int, Field(ge=1, le=4096)] | None = None
    micro_batch_size: Annotated[int, Field(ge=1, le=4096)] | None = None
    learning_rate: DecimalString | None = None
    schedule: Literal["cosine", "linear", "constant"] | None = None
    warmup_fraction: Fraction | None = None
    weight_decay: DecimalString | None = None
    max_gradient_norm: DecimalString | None = None
    max_length: Annotated[int, Field(ge=64, le=131_072)] | None = None
    seed: Seed | None = None
    precision: Literal["auto", "float32", "bfloat16", "float16", "nf4"] | None = None
    gradient_checkpointing: bool | None = None
    max_steps: Annotated[int, Field(ge=0)] | None = None
    """Stops after that many optimizer steps; 0: all."""
    evaluations_per_epoch: Annotated[int, Field(ge=1, le=100)] | None = None


class Student(SpecModel):
    """The model that learns."""

    base: Uri = "builtin:smollm2-135m-instruct"
    """builtin:NAME, a hub name such as Qwen/Qwen2.5-7B-Instruct, or a directory."""
    revision: Text | None = None
    """Commit, branch or tag on the hub."""
    preset: Text | None = None
    """cpu-135m, t4-7b, l4-7b or a100-7b."""
    lora: Lora = Lora()
    training: Training = Training()


class Export(SpecModel):
    """GGUF."""

    quantization: Annotated[str, Field(pattern=r"^[A-Z0-9_]{2,16}$")] | None = None
    """Q8_0, F16, Q4_K_M, ...; default by the base's size."""
    max_kl_divergence: DecimalString = "0.0001"
    """Largest mean KL divergence of the f16 file against the fine-tuned model, in nats."""


class Gates(SpecModel):
    """What a student must reach; null switches a gate off."""

    min_score: Fraction | None = "0.75"
    max_gap: DecimalString | None = "0.10"
    """(reference - student) / reference."""
    max_median_seconds: DecimalString | None = "10"
    """Seconds a sample with one request in flight."""
    min_valid_rate: Fraction | None = "0.9"
    min_guard_rate: Fraction | None = "0.9"
    min_margin_over_base: DecimalString | None = "0"
    """Mean score less the base model's under the same constraint."""


class Evaluation(SpecModel):
    """Held-out rows, answered one at a time."""

    constraints: Annotated[list[Literal["RoleGrammar", "None"]], Field(min_length=1, max_length=2)] = ["RoleGrammar"]
    """Each is evaluated; the gates hold for the first."""
    max_tokens: Annotated[int, Field(ge=16, le=32_768)] = 1024
    temperature: DecimalString = "0"
    seed: Seed = 42
    gates: Gates = Gates()


class Serve(SpecModel):
    """How the student is served."""

    name: Name | None = None
    """Default: the Distillation's name."""
    port: Annotated[int, Field(ge=0, le=65_535)] = 50051
    """On a laptop; 0 takes a free one."""
    slots: Annotated[int, Field(ge=1, le=256)] = 2
    """Requests answered at the same time."""
    context_tokens: Annotated[int, Field(ge=256, le=131_072)] = 4096
    """Tokens a slot, prompt and answer."""


class DistillationSpec(SpecModel):
    """What is wanted. Only `role` can't change later: everything else decides keys, and keys what is done again."""

    role: Text
    store: Uri | None = None
    """Object store of the artifacts; default: the installation's."""
    suspend: bool = False
    """Starts nothing new and stops what runs, after a checkpoint."""
    dataset: Dataset
    student: Student = Student()
    export: Export = Export()
    evaluation: Evaluation = Evaluation()
    serve: Serve = Serve()


class Metadata(SpecModel):
    """Kubernetes' metadata, as far as it matters here."""

    name: Name
    namespace: Name | None = None
    labels: Annotated[dict[str, str], Field(max_length=64)] | None = None
    annotations: Annotated[dict[str, str], Field(max_length=64)] | None = None


class Distillation(SpecModel):
    """One file, two places: `stillhouse run FILE` and `kubectl apply -f FILE`."""

    api_version: Literal["stillhouse.dev/v1alpha1"]
    kind: Literal["Distillation"]
    metadata: Metadata
    spec: DistillationSpec
