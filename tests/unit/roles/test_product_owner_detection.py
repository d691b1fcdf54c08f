"""Gaps and conflicts of a review against the planted ones."""

from __future__ import annotations

import json

import pytest
import yaml

from stillhouse.roles.product_owner import ROLE
from stillhouse.roles.role import Detection


def outputs(gaps: object = (), conflicts: object = ()) -> dict[str, str]:
    listed = {
        name: list(items) if isinstance(items, tuple) else items
        for name, items in (("gaps", gaps), ("conflicts", conflicts))
    }
    return {"product_owner_review": yaml.safe_dump({"requirements_alignment": listed})}


def gaps(planted: list[str], *items: str) -> Detection:
    return ROLE.detections({"planted_gaps": json.dumps(planted)}, outputs(gaps=items))["gaps"]


def conflicts(planted: list[object], *items: str) -> Detection:
    return ROLE.detections({"planted_conflicts": json.dumps(planted)}, outputs(conflicts=items))["conflicts"]


def test_an_item_finds_the_gap_whose_id_it_names_as_a_whole_word_in_any_case() -> None:
    assert gaps(["FR001"], "FR001: no date is given") == Detection(found=1)
    assert gaps(["FR001"], "The wish (fr001) is vague") == Detection(found=1)
    assert gaps(["FR001"], "NFR001 is vague") == Detection(missed=1, invented=1)
    assert gaps(["FR001"], "FR0010 is vague") == Detection(missed=1, invented=1)


def test_an_item_finds_the_unserved_need_whose_words_it_contains() -> None:
    assert gaps(["card payments"], "No requirement covers Card\n  payments.") == Detection(found=1)
    assert gaps(["card payments"], "No requirement covers payments") == Detection(missed=1, invented=1)


def test_each_item_finds_one_gap_and_each_gap_is_found_once() -> None:
    assert gaps(["FR001", "FR002"], "FR001 and FR002 are vague") == Detection(found=1, missed=1)
    assert gaps(["FR001"], "FR001 has no date", "FR001 has no owner") == Detection(found=1)


def test_items_and_gaps_are_paired_so_that_most_are_found() -> None:
    assert gaps(["FR001", "FR002"], "FR001 and FR002 are vague", "FR001 has no date") == Detection(found=2)


def test_a_conflict_is_found_by_one_item_that_names_both_ids() -> None:
    assert conflicts(["FR001", "C001"], "C001 against FR001: no") == Detection(found=1)
    assert conflicts(["FR001", "C001"], "FR001 is odd", "C001 is odd") == Detection(missed=1, invented=2)
    assert conflicts(["FR001", "C001"], "NFR001 against C001") == Detection(missed=1, invented=1)


def test_several_conflicts_may_be_planted_as_a_list_of_lists() -> None:
    planted: list[object] = [["FR001", "C001"], ["FR002", "C002"]]
    assert conflicts(planted, "FR002 and C002 differ", "FR009 and C009 differ") == Detection(1, 1, 1)


def test_a_gap_reported_as_a_conflict_is_missed_and_invented() -> None:
    labels = {"planted_gaps": '["FR001"]', "planted_conflicts": "[]"}
    found = ROLE.detections(labels, outputs(conflicts=("FR001 is vague",)))
    assert found == {"gaps": Detection(missed=1), "conflicts": Detection(invented=1)}


@pytest.mark.parametrize("answer", [{}, {"product_owner_review": "a: ["}, {"product_owner_review": "- x"}])
def test_an_answer_that_can_not_be_read_has_missed_everything(answer: dict[str, str]) -> None:
    labels = {"planted_gaps": '["FR001", "video calls"]', "planted_conflicts": '["FR002", "C001"]'}
    assert ROLE.detections(labels, answer) == {"gaps": Detection(missed=2), "conflicts": Detection(missed=1)}


@pytest.mark.parametrize("labels", [{}, {"tier": "simple"}, {"planted_gaps": ""}, {"planted_gaps": "FR001"}])
def test_labels_that_say_nothing_give_nothing(labels: dict[str, str]) -> None:
    assert ROLE.detections(labels, outputs(gaps=("FR001 is vague",))) == {}


def test_items_that_are_no_texts_are_read_as_the_models_read_them() -> None:
    labels = {"planted_gaps": '["FR001"]'}
    assert ROLE.detections(labels, outputs(gaps=({"FR001": "vague"}, None, ""))) == {"gaps": Detection(found=1)}
    assert ROLE.detections(labels, outputs(gaps="FR001 is vague")) == {"gaps": Detection(found=1)}


def test_thousands_of_items_and_labels_are_no_trouble() -> None:
    planted = [f"FR{number:05d}" for number in range(3000)]
    assert gaps(planted, *(" ".join(planted[:50]) for _ in range(300))).found == 50


def test_the_scripted_author_finds_all_that_is_planted_and_nothing_else() -> None:
    for example in ROLE.examples(count=60, seed=13, planted=1.0):
        found = ROLE.detections(example.labels, ROLE.parse(ROLE.author(example, seed=1)).outputs)
        assert all(detection.missed == detection.invented == 0 for detection in found.values())
        assert sum(detection.found for detection in found.values()) >= 1
