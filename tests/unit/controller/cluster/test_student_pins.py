"""A pinned model on a cluster in memory: it is served whatever was evaluated, and what follows when the pin goes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fake_cluster import NAMESPACE
from serving_scene import M1, M2, M3, Scene, said
from stillhouse.controller.cluster.api import DISTILLATIONS

Json = dict[str, Any]


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    made = Scene(tmp_path)
    made.submit("first")
    made.evaluate("first", M1, second=1)
    made.look("first")
    return made


def test_a_pin_holds_and_going_back_needs_no_evaluation(scene: Scene) -> None:
    scene.submit("second", policy="Always")
    scene.evaluate("second", M2, second=2)
    scene.rest("second", "first")
    scene.submit("second", policy="Always", pin=f"sha256:{M1}")
    scene.rest("second", "first")
    assert scene.served() == M1
    assert said(scene.look("second")) == (False, "Pinned")
    assert said(scene.look("first")) == (True, "Pinned")
    scene.submit("third", policy="Always")
    scene.evaluate("third", M3, second=3)
    assert said(scene.look("third")) == (False, "Pinned")
    scene.submit("second", policy="Always")
    scene.rest("first", "second", "third")
    assert scene.served() == M3


def test_a_pinned_model_that_nobody_has_made_is_served_all_the_same(scene: Scene) -> None:
    scene.submit("first", pin=f"sha256:{M3}")
    scene.rest("first")
    assert scene.served() == M3
    scene.submit("first", policy="Always")
    scene.rest("first")
    assert scene.served() == M1


def test_a_pin_needs_no_model_of_its_own(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.submit("first")
    assert scene.look("first") is None
    scene.submit("first", pin=f"sha256:{M3}")
    assert said(scene.look("first")) == (False, "Pinned")
    assert scene.served() == M3


@pytest.mark.parametrize("maker", [{"suspend": True}, {"unevaluated": True}])
def test_who_can_not_see_to_a_pinned_model_is_not_waited_for(scene: Scene, maker: Json) -> None:
    scene.submit("second", policy="Never")
    scene.evaluate("second", M2, second=2)
    scene.look("second")
    second = scene.cluster.objects[DISTILLATIONS.plural, NAMESPACE, "second"]
    if maker.get("suspend"):
        second["spec"]["suspend"] = True
    else:
        second["status"]["conditions"] = []
    scene.submit("first", pin=f"sha256:{M2}")
    scene.look("first")
    assert scene.served() == M2


def test_pins_that_disagree_change_nothing(scene: Scene) -> None:
    scene.submit("first", pin=f"sha256:{M2}")
    scene.submit("second", pin=f"sha256:{M3}")
    before = scene.deployment()
    assert said(scene.look("first")) == (True, "PinsDisagree")
    assert said(scene.look("second")) == (False, "PinsDisagree")
    assert scene.deployment() == before


def test_why_a_model_is_served_outlives_its_pin(scene: Scene) -> None:
    scene.submit("first", pin=f"sha256:{M1}")
    scene.rest("first")
    scene.submit("first")
    serving = scene.look("first")
    assert serving is not None
    assert serving.message == f"{M1[:12]} is the first"
    scene.submit("first", pin=f"sha256:{M3}")
    scene.rest("first")
    scene.evaluate("first", M3, second=5)
    scene.submit("first")
    serving = scene.look("first")
    assert serving is not None
    assert "pin holds" not in serving.message
