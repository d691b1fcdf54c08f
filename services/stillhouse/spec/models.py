"""The Distillation (stillhouse.dev/v1alpha1) as pydantic models: the one source of its schema.

The JSON schema and the Kubernetes resource are generated from here. `spec` is intent; nothing observed lives in it.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from stillhouse.spec.cel import Rule, as_schema, value
from stillhouse.spec.dataset import Dataset
from stillhouse.spec.optimization import Optimization
from stillhouse.spec.resources import Stage, StageResources
from stillhouse.spec.sources import SpecModel
from stillhouse.spec.teacher import TeacherStage
from stillhouse.spec.values import (
    DecimalString,
    Dollars,
    Fraction,
    GateBound,
    GateFraction,
    Name,
    Seed,
    Temperature,
    Text,
    Uri,
    number,
)


class Lora(SpecModel):
    """LoRA; what is not given comes from the preset, then from the defaults."""

    rank: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Rank of the adapter."""
    alpha: Annotated[int, Field(ge=1, le=4096)] | None = None
    """The adapter is scaled by alpha / rank."""
    dropout: Fraction | None = None
    """Of the adapter's inputs while training."""
    target_modules: Annotated[list[Text], Field(min_length=1, max_length=32)] | None = None
    """Module names, or the one entry all-linear."""
    rslora: bool | None = None
    """Scales by alpha / sqrt(rank) instead."""


class Training(SpecModel):
    """Fine-tuning; what is not given comes from the preset, then from the defaults."""

    epochs: Annotated[int, Field(ge=1, le=100)] | None = None
    """Passes over the training records."""
    batch_size: Annotated[int, Field(ge=1, le=4096)] | None = None
    """Records an optimizer step."""
    micro_batch_size: Annotated[int, Field(ge=1, le=4096)] | None = None
    """Records in memory at a time; default: by the device."""
    learning_rate: DecimalString | None = None
    """Of AdamW, at its peak."""
    schedule: Literal["cosine", "linear", "constant"] | None = None
    """Of the learning rate, after the warm-up."""
    warmup_fraction: Fraction | None = None
    """Of the steps, with a rising learning rate."""
    weight_decay: DecimalString | None = None
    """Of AdamW."""
    max_gradient_norm: DecimalString | None = None
    """Larger gradients are clipped; 0 clips none."""
    max_length: Annotated[int, Field(ge=64, le=131_072)] | None = None
    """Tokens of prompt and answer; a longer record is an error, never cut."""
    seed: Seed | None = None
    """Of the fresh weights, the order of records and dropout."""
    precision: Literal["auto", "float32", "bfloat16", "float16", "nf4"] | None = None
    """Of the arithmetic; nf4 holds the base in 4 bits."""
    gradient_checkpointing: bool | None = None
    """Computes activations again instead of keeping them: less memory, more time."""
    max_steps: Annotated[int, Field(ge=0, le=1_000_000_000)] | None = None
    """Stops after that many optimizer steps; 0: all."""
    evaluations_per_epoch: Annotated[int, Field(ge=1, le=100)] | None = None
    """How often the loss on the tuning records is measured and a checkpoint kept."""


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

    quantization: Annotated[str, Field(pattern=r"^[A-Z0-9_]{2,16}$", max_length=16)] | None = None
    """Q8_0, F16, Q4_K_M, ...; default by the base's size."""
    max_kl_divergence: DecimalString = "0.0001"
    """Largest mean KL divergence of the f16 file against the fine-tuned model, in nats."""


class Gates(SpecModel):
    """What a student must reach; None, as a word, switches a gate off."""

    min_score: GateFraction = "0.75"
    """Mean score."""
    max_gap: GateBound = "0.10"
    """(reference - student) / reference."""
    max_median_seconds: GateBound = "10"
    """Seconds a sample with one request in flight."""
    min_valid_rate: GateFraction = "0.9"
    """Answers that parse, of all."""
    min_guard_rate: GateFraction = "0.9"
    """Answers that pass the role's guards, of all."""
    min_margin_over_base: GateBound = "0"
    """Mean score less the base model's under the same constraint."""


class Evaluation(SpecModel):
    """Held-out rows, answered one at a time."""

    constraints: Annotated[list[Literal["RoleGrammar", "None"]], Field(min_length=1, max_length=2)] = ["RoleGrammar"]
    """Each is evaluated; the gates hold for the first."""
    max_tokens: Annotated[int, Field(ge=16, le=32_768)] = 1024
    """Of an answer."""
    temperature: Temperature = "0"
    """Of sampling; 0 is greedy."""
    seed: Seed = 42
    """Of sampling."""
    teacher: bool = False
    """The teacher (the first stage's that asks a model) answers the held-out rows too, and its mean score there is the
    reference of the gap; without it that is the mean of its records in the data set."""
    gates: Gates = Gates()


class Serve(SpecModel):
    """How the student is served."""

    name: Name | None = None
    """On the model card and in Ollama; default: the role's, such as product-owner-student. On a cluster, of the
    student's Service: Distillations of one name feed one Service."""
    port: Annotated[int, Field(ge=0, le=65_535)] = 50051
    """On a laptop; 0 takes a free one."""
    slots: Annotated[int, Field(ge=1, le=256)] = 2
    """Requests answered at the same time."""
    context_tokens: Annotated[int, Field(ge=256, le=131_072)] = 4096
    """Tokens a slot, prompt and answer."""
    policy: Literal["IfBetter", "Always", "Never"] = "IfBetter"
    """On a cluster, of a student that passed its gates: IfBetter takes the place of the one that is served if it is
    better on the same held-out rows, both asked with the role's own prompt, as clients ask, whatever prompt the gates
    were held with; Always takes it in any case; Never is not served."""
    pin: Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$", max_length=71)] | None = None
    """The model that is served on a cluster, whatever is made later; an earlier one's digest rolls back."""


class Budget(SpecModel):
    """What may be spent."""

    max_cost_usd: Dollars | None = None
    """No call of a paid model starts that could pass it; answers that were paid for earlier count."""


class DistillationSpec(SpecModel):
    """What is wanted. Only `role` can't change later: everything else decides keys, and keys what is done again."""

    role: Annotated[Text, Field(json_schema_extra=as_schema(Rule("self == oldSelf", "a role can't change")))]
    """What the student is to be, such as product_owner. It can't change: a new role is a new Distillation."""
    store: Uri | None = None
    """Object store of the artifacts; default: the installation's."""
    deletion_policy: Literal["Retain", "Delete"] = "Retain"
    """Delete: its artifacts go with the object on a cluster, but for what others name, and the teacher's answers."""
    suspend: bool = False
    """Starts nothing new and stops what runs, after a checkpoint."""
    queue: Name | None = None
    """Kueue's LocalQueue that admits the Jobs on a cluster; default: they start at once."""
    budget: Budget = Budget()
    dataset: Dataset
    student: Student = Student()
    export: Export = Export()
    optimization: Optimization | None = None
    """Without it the student is asked with the role's own prompt, and the teacher with its stages'."""
    evaluation: Evaluation = Evaluation()
    serve: Serve = Serve()
    resources: dict[Stage, StageResources] = {}
    """What the pods of each stage may use and where they may run, on a cluster."""

    @model_validator(mode="after")
    def _teacher_that_is_asked(self) -> Self:
        asks = any(stage.import_ is None for stage in self.teacher_stages)
        if self.evaluation.teacher and not asks:
            raise ValueError("evaluation.teacher needs a stage of dataset.teacher that names a model")
        if self.optimizes_teacher and not asks:
            raise ValueError("optimization.target Teacher needs a stage of dataset.teacher that names a model")
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

    @classmethod
    def rules(cls) -> tuple[Rule, ...]:
        stages = "self.dataset.teacher.stages"
        least = value(Dataset, "min_score", "self.dataset")
        asks = f"(has(self.dataset.teacher) && {stages}.exists(s, !has(s.__import__)))"
        return (
            Rule(
                f"!self.?evaluation.?teacher.orValue(false) || {asks}",
                "evaluation.teacher needs a stage of dataset.teacher that names a model",
            ),
            Rule(
                f"self.?optimization.?target.orValue('Student') != 'Teacher' || {asks}",
                "optimization.target Teacher needs a stage of dataset.teacher that names a model",
            ),
            Rule(
                f"!has(self.dataset.teacher) || {stages}.all(s, "
                f"double({value(TeacherStage, 'min_score', 's')}) >= double({least}))",
                "a stage's minScore is below dataset.minScore, which would refuse records that were paid for",
            ),
        )

    @property
    def teacher_stages(self) -> list[TeacherStage]:
        """The teacher's stages; none where the data set is imported."""
        return self.dataset.teacher.stages if self.dataset.teacher is not None else []

    @property
    def optimizes_teacher(self) -> bool:
        """Whether a better prompt is found for the teacher."""
        return self.optimization is not None and self.optimization.target == "Teacher"

    @property
    def optimizes_student(self) -> bool:
        """Whether one is found for the student."""
        return self.optimization is not None and not self.optimizes_teacher


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
