from __future__ import annotations

import time

import pytest

from stillhouse.roles.product_owner.adapter import MAX_ANSWER_CHARACTERS, parse

VISION = """\
product_name: Ledger
product_summary: A ledger for clerks,
  on two lines.
target_users:
- clerks
value_proposition:
- fewer errors
key_capabilities:
- posting
non_goals: []
success_metrics:
- errors per month
last_updated: 2025-11-01"""
REVIEW = """\
status: aligned
summary:
- It fits.
requirements_alignment:
  aligned:
  - FR001: posting
  gaps: []
  conflicts: []
recommended_actions:
- Ship it.
narrative: It fits well."""
BOTH = {"product_vision": VISION, "product_owner_review": REVIEW}
PLAIN = f"```yaml VISION\n{VISION}\n```\n```yaml REVIEW\n{REVIEW}\n```"


def indented(text: str, margin: str) -> str:
    return "\n".join(margin + line for line in text.split("\n"))


@pytest.mark.parametrize(
    "answer",
    [
        PLAIN,
        PLAIN + "\n",
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace("\n", "\r"),
        f"```yaml REVIEW\n{REVIEW}\n```\n\n```yaml VISION\n{VISION}\n```",
        f"```yaml\n{VISION}\n```\n```yaml\n{REVIEW}\n```",
        f"```\n{VISION}\n```\n```\n{REVIEW}\n```",
        f"```yml vision\n{VISION}\n```\n```YAML: review\n{REVIEW}\n```",
        f"```VISION\n{VISION}\n```\n```REVIEW\n{REVIEW}\n```",
        f"```yaml REVIEW\n{VISION}\n```\n```yaml VISION\n{REVIEW}\n```",
        f"~~~yaml VISION\n{VISION}\n~~~\n~~~yaml REVIEW\n{REVIEW}\n~~~",
        f"````yaml VISION\n{VISION}\n````\n````yaml REVIEW\n{REVIEW}\n````",
        f"``yaml VISION\n{VISION}\n``\n``yaml REVIEW\n{REVIEW}\n``",
        f"`yaml VISION\n{VISION}\n`\n`yaml REVIEW\n{REVIEW}\n`",
        f"``` yaml VISION\n{VISION}\n ```\n\n\n``` yaml REVIEW\n{REVIEW}\n ```",
        f"Sure! Here you are:\n\n{PLAIN}\n\nLet me know: status matters.",
        f"```yaml VISION\n{VISION}```\n```yaml REVIEW\n{REVIEW}```",
        f"```yaml VISION\n{VISION}\n```yaml REVIEW\n{REVIEW}\n```",
        f"{VISION}\n```\n```yaml REVIEW\n{REVIEW}\n```",
        f"```yaml\n{VISION}\n{REVIEW}\n```",
        f"```yaml\nVISION:\n{VISION}\nREVIEW:\n{REVIEW}\n```",
        f"```yaml\nvision:\n{indented(VISION, '  ')}\nreview:\n{indented(REVIEW, '  ')}\n```",
        f"```yaml\n{VISION}\n---\n{REVIEW}\n```",
        f"{VISION}\n{REVIEW}",
        f"VISION\n{VISION}\n\nREVIEW\n{REVIEW}",
        f"## VISION\n\n{VISION}\n\n**REVIEW:**\n\n{REVIEW}\n\nThat is all I have to say.",
        f"1. The vision\n\n{indented(PLAIN, '   ')}",
        f"{PLAIN}\n{PLAIN}",
        f"{PLAIN}\n```yaml VISION\nproduct_name: Led",
        f"```yaml VISION\nproduct_name: draft\n```\n{PLAIN}",
        PLAIN.replace("target_users:", "```\ntarget_users:"),
        PLAIN.replace("  on two", "\ton two").replace("  - FR001", "\t- FR001"),
    ],
)
def test_both_blocks_are_found_whatever_surrounds_them(answer: str) -> None:
    assert parse(answer).outputs == BOTH


def test_a_clean_answer_has_no_problems() -> None:
    assert parse(PLAIN).problems == ()


def test_an_unterminated_last_fence_is_read_and_named() -> None:
    parsed = parse(PLAIN.removesuffix("\n```"))
    assert parsed.outputs == BOTH
    assert parsed.problems == ("the fence of the REVIEW block is not closed",)


def test_text_that_stops_early_is_given_as_it_is() -> None:
    cut = PLAIN[: PLAIN.index(" well.")]
    assert parse(cut).outputs["product_owner_review"] == REVIEW.removesuffix(" well.")


@pytest.mark.parametrize(
    "answer", ["", "  \n", "I can't do that.", "```yaml VISION\n```", "status is fine", "```", "summaries: x"]
)
def test_nothing_is_invented(answer: str) -> None:
    parsed = parse(answer)
    assert parsed.outputs == {}
    assert len(parsed.problems) == 2


def test_a_missing_block_is_named_and_the_other_is_given() -> None:
    parsed = parse(f"```yaml VISION\n{VISION}\n```")
    assert parsed.outputs == {"product_vision": VISION}
    assert parsed.problems == ("there is no REVIEW block: no line starts with one of its keys",)


def test_a_second_copy_is_named() -> None:
    assert "there are 2 VISION blocks; the first with the most keys was read" in parse(f"{PLAIN}\n{PLAIN}").problems


def test_broken_yaml_in_a_closed_fence_is_not_repaired() -> None:
    broken = VISION.replace("  on two lines", "\nOn two lines: no")
    assert parse(f"```yaml VISION\n{broken}\n```").outputs["product_vision"] == broken


def test_a_line_of_one_word_in_a_text_is_no_label() -> None:
    wrapped = REVIEW + "\n  It serves the\n  vision\n  fully."
    assert parse(f"```yaml REVIEW\n{wrapped}\n```").outputs["product_owner_review"] == wrapped


def test_backticks_in_a_text_stay_and_those_that_begin_a_value_go() -> None:
    review = REVIEW.replace("It fits well.", "Use `post` now.").replace("- Ship it.", "- `FR001` is `done`.")
    found = parse(f"```yaml REVIEW\n{review}\n```").outputs["product_owner_review"]
    assert "Use `post` now." in found
    assert "- FR001 is done." in found


def test_a_key_of_the_other_output_inside_a_block_does_not_split_it() -> None:
    vision = VISION.replace("target_users:", "summary:\n- odd\ntarget_users:")
    assert parse(f"```yaml VISION\n{vision}\n```\n```yaml REVIEW\n{REVIEW}\n```").outputs == {
        **BOTH,
        "product_vision": vision,
    }


def test_quoted_keys_are_keys() -> None:
    vision = VISION.replace("product_name", '"product_name"')
    assert parse(f"```\n{vision}\n```").outputs == {"product_vision": vision}


def test_an_answer_that_is_no_text_is_a_problem() -> None:
    assert parse(None).problems == ("the answer is no text but NoneType",)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "unit",
    [
        "`",
        "``` ",
        "` ",
        " ",
        "\n",
        "```\n",
        "```yaml\n",
        "status:\n",
        "status: x\nproduct_name: y\n",
        "- `",
        "vision",
        "\t",
        "# vision ",
        "a b",
        "'\"",
        "~",
        "VISION:\n",
        "status" + " " * 9,
    ],
)
def test_a_long_answer_takes_linear_time(unit: str) -> None:
    started = time.process_time()
    for text in (unit * (400_000 // len(unit)), "status: x" + unit * (400_000 // len(unit)) + "x"):
        parse(text)
    assert time.process_time() - started < 10


def test_what_exceeds_the_limit_is_not_read() -> None:
    parsed = parse("x" * MAX_ANSWER_CHARACTERS + "\n" + PLAIN)
    assert parsed.outputs == {}
    assert "longer than" in parsed.problems[0]
