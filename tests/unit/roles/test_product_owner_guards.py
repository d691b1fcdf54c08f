from __future__ import annotations

from typing import Any

import pytest
import yaml

from stillhouse.errors import InvalidArgument
from stillhouse.roles.product_owner import ROLE, guards, language

INPUTS = {
    "concept": "A ledger for the clerks of a small bank, with a journal that they can search.",
    "requirements_yaml": yaml.safe_dump(
        {
            "functional_requirements": [
                {"id": "FR001", "description": "Post entries to the journal"},
                {"id": "FR002", "description": "Search past bookings by amount"},
            ],
            "non_functional_requirements": [{"id": "NFR001", "description": "Answer within one second"}],
            "constraints": [{"id": "C001", "description": "Run on premises"}],
        }
    ),
}
VISION: dict[str, Any] = {
    "product_name": "Ledger",
    "product_summary": "A journal for the clerks of a small bank that is easy to search and to trust.",
    "target_users": ["Clerks who post entries", "Auditors of the bank"],
    "value_proposition": ["Fewer wrong entries", "Answers in the time of a phone call"],
    "key_capabilities": ["Posting with checks", "Search by amount and day"],
    "non_goals": ["Payments between banks"],
    "success_metrics": ["Wrong entries in a month", "Seconds until a search answers"],
    "last_updated": "2025-11-01",
}
REVIEW: dict[str, Any] = {
    "status": "needs_adjustment",
    "summary": ["The requirements serve the vision.", "The audit trail is still open."],
    "requirements_alignment": {
        "aligned": ["FR001: posting is the core", {"FR002": "search is promised"}, "NFR001: speed is a metric"],
        "gaps": ["Nothing says who may read the audit trail."],
        "conflicts": ["C001: on premises rules out the hosted search."],
    },
    "recommended_actions": ["Say who may read the audit trail."],
    "narrative": "The four requirements fit the vision. Only the audit trail needs a decision by the bank.",
}


def fired(
    vision: dict[str, Any] | None = None,
    review: dict[str, Any] | None = None,
    alignment: dict[str, Any] | None = None,
    **inputs: str,
) -> dict[str, str]:
    whole = REVIEW | (review or {})
    whole["requirements_alignment"] = REVIEW["requirements_alignment"] | (alignment or {})
    outputs = {
        "product_vision": yaml.safe_dump(VISION | (vision or {}), allow_unicode=True),
        "product_owner_review": yaml.safe_dump(whole, allow_unicode=True),
    }
    return {found.guard: found.reason for found in ROLE.guards(INPUTS | inputs, outputs, ROLE.guard_names)}


def test_a_good_answer_passes_every_guard() -> None:
    assert fired() == {}


def test_recorded_answers_are_refused_only_by_a_few_percent(teacher_rows: list[dict[str, Any]]) -> None:
    refused = [row for row in teacher_rows if ROLE.guards(row, ROLE.parse(row["response"]).outputs, ROLE.guard_names)]
    assert 0 < len(refused) <= 0.08 * len(teacher_rows)


def test_only_selected_guards_speak_in_a_fixed_order() -> None:
    outputs = {"product_vision": "", "product_owner_review": "recommended_actions: [None.]"}
    found = guards.find(INPUTS, outputs, ["truncated", "placeholder_action"])
    assert [finding.guard for finding in found] == ["placeholder_action", "truncated"]
    assert guards.find(INPUTS, outputs, ["repeated_phrase"]) == []


def test_an_unknown_guard_is_refused_by_name() -> None:
    with pytest.raises(InvalidArgument, match=r"no_such_guard.*repeated_phrase"):
        guards.find(INPUTS, {}, ["no_such_guard"])


def test_a_degenerate_answer_that_the_metric_loves_is_refused() -> None:
    phrase = "FR001 FR002 NFR001 C001 platform for modern teams everywhere in the whole world today"
    long = f"{phrase}. " * 3
    vision = {key: [phrase, phrase] for key in VISION} | {"product_name": phrase, "product_summary": long}
    review = {key: [phrase, phrase] for key in REVIEW} | {"status": "aligned", "narrative": long}
    alignment = dict.fromkeys(("aligned", "gaps", "conflicts"), [phrase] * 4)
    outputs = {
        "product_vision": yaml.safe_dump(vision | {"last_updated": "2025-11-01"}),
        "product_owner_review": yaml.safe_dump(review | {"requirements_alignment": alignment}),
    }
    assert ROLE.score(INPUTS, outputs).score == 1.0
    names = [finding.guard for finding in ROLE.guards(INPUTS, outputs, ROLE.guard_names)]
    assert {"repeated_phrase", "looping_words", "aligned_and_conflicting_id"} <= set(names)


def test_three_equal_items_are_a_repeated_phrase_and_two_are_not() -> None:
    assert "repeated_phrase" not in fired(vision={"target_users": ["Tellers"], "non_goals": ["tellers!"]})
    assert "repeated_phrase" in fired(vision={"target_users": ["Tellers"], "non_goals": ["tellers!", "Tellers 2"]})


@pytest.mark.parametrize(("words", "fires"), [(5, False), (6, True)])
@pytest.mark.parametrize(("fields", "enough"), [(4, False), (5, True)])
def test_six_words_in_five_fields_are_a_repeated_phrase(words: int, fires: bool, fields: int, enough: bool) -> None:
    phrase = " ".join(["tracking", "of", "incidents", "for", "night", "shifts"][:words])
    names = ["target_users", "value_proposition", "key_capabilities", "non_goals", "success_metrics"][:fields]
    found = fired(vision={name: [f"{name[:3]} {phrase} {name[-3:]}"] for name in names})
    assert ("repeated_phrase" in found) == (fires and enough)


@pytest.mark.parametrize(
    ("text", "fires"),
    [
        ("very very good.", False),
        ("very very very good.", True),
        ("audit trail audit trail is open.", False),
        ("audit trail audit trail audit trail is open.", True),
        (" ".join(["one two three four five six"] * 3) + ".", True),
        (" ".join(["one two three four five six seven"] * 2) + ".", False),
    ],
)
def test_a_few_words_three_times_in_a_row_are_a_loop(text: str, fires: bool) -> None:
    assert ("looping_words" in fired(review={"narrative": text})) == fires


@pytest.mark.parametrize(("distinct", "fires"), [(8, True), (9, False)])
def test_a_text_of_few_distinct_words_is_a_loop(distinct: int, fires: bool) -> None:
    words = [f"w{n % distinct}" for n in range(distinct)] + [f"w{n * n % distinct}" for n in range(20 - distinct)]
    assert len(set(words)) == distinct
    assert ("looping_words" in fired(review={"narrative": " ".join(words) + "."})) == fires


def test_an_answer_of_few_distinct_words_is_a_loop() -> None:
    sentence = "clerks post entries and auditors search them by day"
    texts = [" ".join(sentence.split()[n % 9 :] + sentence.split()[: n % 9]) for n in range(16)]
    lists = ["target_users", "value_proposition", "key_capabilities", "success_metrics"]
    looping = {name: texts[4 * n : 4 * n + 4] for n, name in enumerate(lists)}
    assert "looping_words" in fired(vision=looping)
    assert "looping_words" not in fired(vision={name: items[:1] for name, items in looping.items()})


@pytest.mark.parametrize(
    "action",
    [
        *(
            "None",
            "none.",
            "N/A",
            "n/a",
            "None; the requirements are consistent.",
            "Nothing to do",
            "TBD",
            "",
            "-",
            None,
        ),
        *("No changes needed.", "No further action", "Ninguna", "Sin cambios necesarios"),
    ],
)
def test_an_action_that_recommends_nothing_is_a_placeholder(action: str | None) -> None:
    assert "placeholder_action" in fired(review={"recommended_actions": ["Say who may read it.", action]})


@pytest.mark.parametrize(
    "action",
    [
        *("None of the requirements covers audit: add one.", "No-code rules need an owner with a name and a date."),
        *("Name an owner.", "Nonetheless agree on a date.", "No log holds names: write it down."),
        "No change to FR001 without the consent of the bank.",
    ],
)
def test_an_action_that_recommends_something_is_none(action: str) -> None:
    assert "placeholder_action" not in fired(review={"recommended_actions": [action]})


def test_no_actions_at_all_are_no_placeholder() -> None:
    assert "placeholder_action" not in fired(review={"recommended_actions": []})


@pytest.mark.parametrize(
    "text", ["TBD", "...", "Lorem ipsum dolor", "[insert name]", "<your product>", "non_goals", "xxx"]
)
def test_text_left_to_be_filled_in_is_a_placeholder(text: str) -> None:
    assert "placeholder_text" in fired(vision={"non_goals": [text]})


@pytest.mark.parametrize("text", ["A todo list for clerks", "Prices < 5 euros", "Matrix [a, b]", "Goals of others"])
def test_text_that_only_looks_like_a_placeholder_is_none(text: str) -> None:
    assert "placeholder_text" not in fired(vision={"non_goals": [text]})


@pytest.mark.parametrize(
    ("where", "fires"),
    [
        ({"review": {"narrative": "It hangs on FR003."}}, True),
        ({"review": {"narrative": "It hangs on fr-003."}}, True),
        ({"review": {"narrative": "It hangs on NFR002."}}, True),
        ({"review": {"narrative": "It hangs on C002."}}, True),
        ({"alignment": {"aligned": [{"FR003": "posting"}]}}, True),
        ({"review": {"recommended_actions": ["Refine FR003."]}}, True),
        ({"review": {"recommended_actions": ["Add a requirement (FR003) for audits."]}}, False),
        ({"review": {"narrative": "It hangs on FR-002 and fr1."}}, False),
        ({"review": {"narrative": "It hangs on FR1 and FR0002."}}, False),
        ({"review": {"narrative": "It hangs on ISO27001, AES-256 and COVID19."}}, False),
        ({"vision": {"non_goals": ["FR003"]}}, False),
    ],
)
def test_an_id_that_the_requirements_lack_is_unknown(where: dict[str, Any], fires: bool) -> None:
    assert ("unknown_requirement_id" in fired(**where)) == fires


def test_ids_are_known_whatever_shape_the_requirements_have() -> None:
    flat = "FR001: post\nFR002: search\nNFR001: fast\nC001: here\n"
    assert fired(requirements_yaml=flat) == {}
    assert "unknown_requirement_id" in fired(requirements_yaml=flat.replace("NFR001", "NFR009"))
    assert "unknown_requirement_id" not in fired(requirements_yaml=" ")


@pytest.mark.parametrize(
    ("conflict", "fires"),
    [
        ("FR001: contradicts the vision.", True),
        ({"FR001": "contradicts the vision."}, True),
        ("C001 and FR001 exclude each other.", True),
        ("C001 contradicts the vision and FR001.", False),
        ("Nothing says FR001.", False),
    ],
)
def test_one_requirement_cannot_be_aligned_and_in_conflict(conflict: Any, fires: bool) -> None:
    assert ("aligned_and_conflicting_id" in fired(alignment={"conflicts": [conflict]})) == fires


def test_nfr001_does_not_stand_in_for_fr001() -> None:
    alignment: dict[str, Any] = {"aligned": ["NFR001: speed is a metric", "FR002: search"], "conflicts": []}
    found = fired(review={"summary": ["It fits well."]}, alignment=alignment)
    assert found["borrowed_requirement_id"].startswith("FR001")
    spoken = alignment | {"aligned": [*alignment["aligned"], "posting entries to a journal"]}
    assert "borrowed_requirement_id" not in fired(alignment=spoken)
    named = alignment | {"aligned": ["NFR001: speed", "FR001: core"]}
    assert "borrowed_requirement_id" not in fired(alignment=named)


SPANISH = "El libro de los empleados es para que el banco lo use en la oficina con una copia de las cuentas."


def test_an_answer_in_another_language_than_its_concept_is_refused() -> None:
    assert "wrong_language" in fired(vision={"product_summary": SPANISH * 3})
    assert "wrong_language" in fired(review={"narrative": SPANISH * 3})
    assert "wrong_language" in fired(concept=SPANISH)
    assert "wrong_language" in fired(review={"narrative": "Требования соответствуют видению. " * 20})
    assert "wrong_language" not in fired(vision={"product_summary": "Una cuenta para todos."})
    assert "wrong_language" not in fired(concept="Ledger console")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (INPUTS["concept"], "English"),
        (SPANISH, "Spanish"),
        ("O livro dos funcionários é para que o banco não perca as contas em uma agência.", "Portuguese"),
        ("Le registre des employés est pour la banque qui ne garde pas les comptes dans un coffre.", "French"),
        ("Das Buch der Angestellten ist für die Bank und wird nicht mit den Konten geführt.", "German"),
        ("Il registro degli impiegati è per la banca che non tiene i conti in una cassa.", "Italian"),
        ("账本供小银行的职员使用。", "Cjk script"),
        ("Книга для служащих банка", "Cyrillic script"),
        ("Ledger console", ""),
        ("Ledger console bank clerk journal entry search amount", ""),
        ("", ""),
        ("1234 5678", ""),
    ],
)
def test_languages_are_told_apart(text: str, name: str) -> None:
    assert language.guess(text) == name


@pytest.mark.parametrize(
    ("narrative", "fires"),
    [
        ("It fits.", False),
        ("It fits!", False),
        ('They say "it fits."', False),
        ("It fits (mostly.)", False),
        ("It fits", True),
        ("It fits the vision of the", True),
        ("It fits,", True),
        (None, True),
        ("", True),
    ],
)
def test_a_narrative_that_stops_in_a_sentence_is_truncated(narrative: str | None, fires: bool) -> None:
    assert ("truncated" in fired(review={"narrative": narrative})) == fires


def test_a_missing_output_is_truncated() -> None:
    for outputs in ({}, {"product_vision": "product_name: x"}, {"product_owner_review": "narrative: It fits."}):
        assert guards.find(INPUTS, outputs, ["truncated"])
