"""The Distillation (stillhouse.dev/v1alpha1) as pydantic models: the one source of its schema.

The JSON schema and the Kubernetes resource are generated from here. `spec` is intent; nothing observed lives in it.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from stillhouse.spec.sources import Concepts, Import, Source, SpecModel
from stillhouse.spec.teacher import Teacher, TeacherStage
from stillhouse.spec.values import DecimalString, Dollars, Fraction, Name, Seed, Temperature, Text, Uri, number

API_VERSION = "stillhouse.dev/v1alpha1"


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

    concepts: Concepts | None = None
    """What the teacher is asked about."""
    teacher: Teacher | None = None
    imports: Annotated[list[Import], Field(max_length=32)] = []
    """Recorded answers, beside the teacher's or instead of them."""
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
    min_mean_score: Fraction = "0.85"

    @model_validator(mode="after")
    def _some_source(self) -> Self:
        if self.concepts is not None and self.teacher is None:
            raise ValueError("concepts are for a teacher: name one, or leave them out")
        if self.teacher is None and not self.imports:
            raise ValueError("a data set has a teacher, imports or both")
        if self.concepts is None and self.teacher is not None:
            raise ValueError("a teacher is asked about concepts: name them by uri, or have them synthesized")
        return self

    @model_validator(mode="after")
    def _enough_wanted(self) -> Self:
        if self.teacher is None or self.concepts is None or self.imports:
            return self
        most = self.teacher.most_records
        if most is not None and most < self.min_records:
            raise ValueError(f"the teacher's stages end at {most} records, fewer than minRecords {self.min_records}")
        answers = None if any(stage.import_ for stage in self.teacher.stages) else self.concepts.most_answers
        if answers is not None and answers < self.min_records:
            raise ValueError(f"the concepts give {answers} records at most, fewer than minRecords {self.min_records}")
        return self


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
    temperature: Temperature = "0"
    seed: Seed = 42
    teacher: bool = False
    """The teacher (the first stage's that asks a model) answers the held-out rows too, and its mean score there is the
    reference of the gap; without it that is the mean of its records in the data set."""
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


class Budget(SpecModel):
    """What may be spent."""

    max_cost_usd: Dollars | None = None
    """No call of a paid model starts that could pass it; answers that were paid for earlier count."""


class DistillationSpec(SpecModel):
    """What is wanted. Only `role` can't change later: everything else decides keys, and keys what is done again."""

    role: Text
    store: Uri | None = None
    """Object store of the artifacts; default: the installation's."""
    suspend: bool = False
    """Starts nothing new and stops what runs, after a checkpoint."""
    budget: Budget = Budget()
    dataset: Dataset
    student: Student = Student()
    export: Export = Export()
    evaluation: Evaluation = Evaluation()
    serve: Serve = Serve()

    @model_validator(mode="after")
    def _teacher_to_evaluate(self) -> Self:
        if self.evaluation.teacher and not any(stage.import_ is None for stage in self.teacher_stages):
            raise ValueError("evaluation.teacher needs a stage of dataset.teacher that names a model")
        return self

    @model_validator(mode="after")
    def _thresholds_agree(self) -> Self:
        for index, stage in enumerate(self.teacher_stages):
            if number(stage.min_score) < number(self.dataset.min_score):
                raise ValueError(
                    f"dataset.teacher.stages[{index}].minScore {stage.min_score} is below dataset.minScore "
                    f"{self.dataset.min_score}, which would refuse records that were paid for: make them agree"
                )
        return self

    @property
    def teacher_stages(self) -> list[TeacherStage]:
        """The teacher's stages; none where the data set is imported."""
        return self.dataset.teacher.stages if self.dataset.teacher is not None else []


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
