"""A better prompt by one of DSPy's optimizers: what a Distillation says of it. Part of the models; see there.

Names and meanings are DSPy's own; the optimizer's service resolves what is left out.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from stillhouse.spec.cel import Rule, value
from stillhouse.spec.sources import Import, SpecModel
from stillhouse.spec.teacher import TeacherModel
from stillhouse.spec.values import Dollars, Fraction, Seed, Temperature

Demos = Annotated[int, Field(ge=0, le=32)]
_OF_LABELED_ALONE = 3
"""Candidates that DSPy makes at most of labeled demos alone."""


class Optimization(SpecModel):
    """Instructions and demos that an optimizer of DSPy's finds for one model, kept as a program."""

    target: Literal["Student", "Teacher"] = "Student"
    """Whose prompt: the exported student's, whose evaluation then uses it; or the teacher's, found with its first stage
    that asks a model, before any record is made. A program that scores above the role's own prompt (Plain) then takes
    the place of `prompt` in every stage that asks a model, be it Fenced or Structured, with which it was not compared;
    without such a program the stages keep theirs."""
    optimizer: Literal["MIPROv2", "BootstrapFewShot", "GEPA"] = "MIPROv2"
    """BootstrapFewShot is DSPy's BootstrapFewShotWithRandomSearch."""
    auto: Literal["light", "medium", "heavy"] | None = None
    """How much is tried, in place of numCandidates and numTrials; default without these: light."""
    num_candidates: Annotated[int, Field(ge=1, le=100)] | None = None
    """Instructions, and sets of demos, to choose from."""
    num_trials: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Combinations that are scored; default: by numCandidates."""
    minibatch: bool | None = None
    """Score trials on part of the validation rows; default: where there are more of them than
    minibatchSize, and by `auto` more than 50."""
    minibatch_size: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """Rows of such a part; DSPy's default is 35."""
    minibatch_full_eval_steps: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Trials until the best is scored on all rows; DSPy's default is 5."""
    max_bootstrapped_demos: Demos | None = None
    """Demos that a model writes, at most; DSPy's default is 4."""
    max_labeled_demos: Demos | None = None
    """Demos that are answers of the training rows, at most; default: as maxBootstrappedDemos."""
    seed: Seed = 0
    """The same seed, over the same answers, finds the same program."""
    metric_threshold: Fraction | None = None
    """Least score of an answer that becomes a demo; default: the mean of the role's own prompt."""
    init_temperature: Temperature | None = None
    """With which instructions are proposed; DSPy's default is 1."""
    min_baseline_valid: Fraction = "0.5"
    """With fewer readable answers to the role's own prompt nothing is tried, and the run stops."""
    prompt_model: TeacherModel | None = None
    """Proposes instructions; default: the model that the prompt is for."""
    demo_model: TeacherModel | None = None
    """Writes demos; default: the model that the prompt is for."""
    max_calls: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = None
    """Calls of all models at most. Any such limit ends the search with the best program so far."""
    max_total_tokens: Annotated[int, Field(ge=1, le=1_000_000_000_000)] | None = None
    """Tokens of all prompts and answers at most."""
    max_cost_usd: Dollars | None = None
    """US dollars at most; what the budget has left holds beside it. With another limit the search is made again, from
    the answers that are kept."""
    max_seconds: Annotated[int, Field(ge=1, le=2_592_000)] | None = None
    """Time at most."""
    train: Import | None = None
    """Rows whose answers become demos; default for a student: the data set's training rows."""
    validation: Import | None = None
    """Rows that every candidate is scored on; default for a student: the data set's tuning rows. Neither these nor
    those of train may have an input of the rows that a student's gates are held to; for a teacher, of
    dataset.validation. Without that a teacher is optimised before any rows are held out, and nothing keeps the two
    apart."""

    @model_validator(mode="after")
    def _one_measure(self) -> Self:
        if self.auto is not None and (self.num_candidates is not None or self.num_trials is not None):
            raise ValueError(f"auto {self.auto} decides numCandidates and numTrials: name it or them")
        if self.num_trials is not None and self.num_candidates is None:
            raise ValueError("numTrials needs numCandidates")
        return self

    @model_validator(mode="after")
    def _demos_for_all(self) -> Self:
        labeled_alone = self.max_bootstrapped_demos == 0 and (self.max_labeled_demos or 0) > 0
        wanted = self.num_candidates or _OF_LABELED_ALONE + 1
        if labeled_alone and wanted > _OF_LABELED_ALONE:
            raise ValueError(
                f"maxLabeledDemos without maxBootstrappedDemos gives at most {_OF_LABELED_ALONE} candidates: allow "
                "a bootstrapped demo, or set numCandidates"
            )
        return self

    @model_validator(mode="after")
    def _demos_for_few_shot(self) -> Self:
        if self.optimizer == "BootstrapFewShot" and self.max_bootstrapped_demos == 0:
            raise ValueError("BootstrapFewShot chooses demos that a model writes: maxBootstrappedDemos is at least 1")
        return self

    @model_validator(mode="after")
    def _rows_for_a_teacher(self) -> Self:
        if self.target == "Teacher" and (self.train is None or self.validation is None):
            raise ValueError("target Teacher is optimised before there are records: name train and validation rows")
        return self

    @classmethod
    def rules(cls) -> tuple[Rule, ...]:
        return (
            Rule(
                "!has(self.auto) || !(has(self.numCandidates) || has(self.numTrials))",
                "auto decides numCandidates and numTrials: name it or them",
            ),
            Rule("!has(self.numTrials) || has(self.numCandidates)", "numTrials needs numCandidates"),
            Rule(
                "self.?maxBootstrappedDemos.orValue(1) > 0 || self.?maxLabeledDemos.orValue(0) == 0"
                f" || self.?numCandidates.orValue({_OF_LABELED_ALONE + 1}) <= {_OF_LABELED_ALONE}",
                f"maxLabeledDemos without maxBootstrappedDemos gives at most {_OF_LABELED_ALONE} candidates",
            ),
            Rule(
                f"{value(cls, 'optimizer')} != 'BootstrapFewShot' || self.?maxBootstrappedDemos.orValue(1) > 0",
                "BootstrapFewShot chooses demos that a model writes: maxBootstrappedDemos is at least 1",
            ),
            Rule(
                f"{value(cls, 'target')} != 'Teacher' || (has(self.train) && has(self.validation))",
                "target Teacher is optimised before there are records: name train and validation rows",
            ),
        )
