"""Optimizations that are accepted and refused: beside `distillation_cases`, and for the same two tests."""

from __future__ import annotations

from distillation_cases import DIGEST, IMPORT, STAGES, TAUGHT, Json, Pair, changed

_ROWS = {"train": {"uri": "t.jsonl"}, "validation": {"uri": "v.jsonl"}}
_TEACHER = {"target": "Teacher", **_ROWS}


def _student(refused_with: str, accepted: Json, refused: Json) -> Pair:
    return Pair(refused_with, {"optimization": accepted}, {"optimization": refused})


def _teacher(refused_with: str, accepted: Json, refused: Json) -> Pair:
    return Pair(refused_with, {"optimization": accepted}, {"optimization": refused}, base="taught")


OPTIMIZATION = [
    _student("auto decides numCandidates and numTrials", {"auto": "light"}, {"auto": "light", "numCandidates": 3}),
    _student(
        "auto decides numCandidates and numTrials",
        {"auto": None, "numCandidates": 3, "numTrials": 2},
        {"auto": "heavy", "numCandidates": 3, "numTrials": 2},
    ),
    _student("numTrials needs numCandidates", {"numCandidates": 1, "numTrials": 1}, {"numTrials": 1}),
    _student(
        "maxLabeledDemos without maxBootstrappedDemos",
        {"maxBootstrappedDemos": 0, "maxLabeledDemos": 2, "numCandidates": 3},
        {"maxBootstrappedDemos": 0, "maxLabeledDemos": 2, "numCandidates": 4},
    ),
    _student(
        "maxLabeledDemos without maxBootstrappedDemos",
        {"maxBootstrappedDemos": 0, "maxLabeledDemos": 0},
        {"maxBootstrappedDemos": 0, "maxLabeledDemos": 1},
    ),
    _student(
        "maxBootstrappedDemos is at least 1",
        {"optimizer": "BootstrapFewShot", "maxBootstrappedDemos": 1},
        {"optimizer": "BootstrapFewShot", "maxBootstrappedDemos": 0},
    ),
    _teacher("target Teacher is optimised before there are records", _TEACHER, {**_TEACHER, "train": None}),
    _teacher("target Teacher is optimised before there are records", {"target": "Student"}, {"target": "Teacher"}),
    Pair(
        "optimization.target Teacher needs a stage",
        {"optimization": _TEACHER, STAGES: [IMPORT, {}]},
        {"optimization": _TEACHER, STAGES: [IMPORT]},
        base="taught",
    ),
    _student("optimization.target Teacher needs a stage", _ROWS, _TEACHER),
    _student(
        "an import has either uri or synthesized",
        {"train": {"synthesized": {"count": 9}}},
        {"train": {"synthesized": {"count": 9}, "uri": "x"}},
    ),
    _student("sha256 belongs to a uri", {"validation": {"uri": "x", "sha256": DIGEST}}, {"train": {"sha256": DIGEST}}),
    _student(
        "only Google's providers",
        {"promptModel": {"project": "p"}},
        {"promptModel": {"provider": "litellm", "project": "p"}},
    ),
    _student("the endpoint is no URL", {"demoModel": {"endpoint": "http://h:1"}}, {"demoModel": {"endpoint": "h:1"}}),
    _student(
        "a student is asked at an endpoint HOST:PORT",
        {"promptModel": {"provider": "student", "endpoint": "h:50051"}},
        {"promptModel": {"provider": "student"}},
    ),
    _student("unknown field", {"promptModel": {"model": "m"}}, {"promptModel": {"model": "m", "minScore": "0.8"}}),
    _student("it is not within 0 and 1", {"minBaselineValid": "0"}, {"minBaselineValid": "1.01"}),
    _student("it is not within 0 and 2", {"initTemperature": "1.4"}, {"initTemperature": "2.4"}),
    _student("it is not within 0 and 1000000", {"maxCostUsd": "0.5"}, {"maxCostUsd": "1e9"}),
    _student("Unsupported value", {"optimizer": "GEPA"}, {"optimizer": "COPRO"}),
    _student("should be less than or equal to 100", {"numCandidates": 100}, {"numCandidates": 101}),
]
"""Of the whole optimization, of the models and rows that it names, of its numbers."""

UNSET_OPTIMIZATION = changed(
    TAUGHT,
    {"optimization": {"auto": None, "numTrials": None, "promptModel": None, "train": None, "maxLabeledDemos": None}},
)
"""Accepted: a null is as if the field was not there."""
