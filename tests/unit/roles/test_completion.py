"""Requirements for a user's own concept."""

from __future__ import annotations

import pytest

from stillhouse.errors import InvalidArgument
from stillhouse.roles.product_owner import ROLE
from stillhouse.roles.product_owner.metric import read_requirements
from stillhouse.roles.role import Example

CONCEPT = "An app with which neighbours lend each other tools and agree on times."


def number_of_requirements(example: Example) -> int:
    return len(read_requirements(ROLE.complete(example, seed=1).inputs["requirements_yaml"]))


def test_an_example_with_requirements_stays_as_it_is() -> None:
    example = next(iter(ROLE.examples(count=1, seed=1)))
    assert ROLE.complete(example, seed=1) is example


@pytest.mark.parametrize("inputs", [{}, {"requirements_yaml": " \n"}])
def test_a_concept_without_requirements_gets_some_and_a_label_that_says_so(inputs: dict[str, str]) -> None:
    example = Example({"concept": CONCEPT, **inputs}, {"source": "workshop"})

    completed = ROLE.complete(example, seed=1)

    assert completed.inputs["concept"] == CONCEPT
    assert completed.labels == {"source": "workshop", "requirements": "synthesized"}
    sections = {requirement.id[:-3] for requirement in read_requirements(completed.inputs["requirements_yaml"])}
    assert sections == {"FR", "NFR", "C"}
    assert ROLE.messages(completed.inputs)


def test_the_tier_of_the_labels_decides_how_many() -> None:
    numbers = [
        number_of_requirements(Example({"concept": CONCEPT}, {"tier": tier}))
        for tier in ("simple", "Medium", "corporate", "galactic")
    ]
    assert numbers == [5, 7, 9, 7]


def test_without_a_label_the_size_that_a_synthesized_concept_speaks_of_decides() -> None:
    for example in ROLE.examples(count=12, seed=4, planted=0.0):
        assert number_of_requirements(Example({"concept": example.inputs["concept"]})) == len(
            read_requirements(example.inputs["requirements_yaml"])
        )


def test_requirements_of_a_synthesized_concept_leave_no_gap_and_no_conflict() -> None:
    labels = {"planted_gaps": "[]", "planted_conflicts": "[]"}
    for example in ROLE.examples(count=60, seed=4, planted=1.0):
        completed = ROLE.complete(Example({"concept": example.inputs["concept"]}), seed=2)
        outputs = ROLE.parse(ROLE.author(completed, seed=1)).outputs
        assert all(detection.invented == 0 for detection in ROLE.detections(labels, outputs).values())


def test_the_same_seed_writes_the_same_requirements_and_another_seed_others() -> None:
    example = Example({"concept": CONCEPT})
    assert ROLE.complete(example, seed=1) == ROLE.complete(example, seed=1)
    assert len({ROLE.complete(example, seed=seed).inputs["requirements_yaml"] for seed in range(8)}) == 8


def test_without_a_concept_there_is_nothing_to_write_from() -> None:
    with pytest.raises(InvalidArgument, match="concept"):
        ROLE.complete(Example({"concept": " "}), seed=1)
