import pytest
import yaml

from stillhouse.cli.role_config import Provider, RoleChange, masked, read_roles
from stillhouse.cli.role_edits import set_role
from stillhouse.errors import FailedPrecondition, InvalidArgument

STUDENT = RoleChange(Provider.OLLAMA, "po-student:1b")
TEACHER = RoleChange(Provider.VERTEX, "gemini-2.5-pro")
GRPC = RoleChange(Provider.GRPC, "po", temperature=0.2, max_tokens=900)

TEXT = """\
# who answers
llm:   {timeout: 30,  retries: [1,2]}
roles:
    developer:
        provider: openai    # for now
        model: "gpt"
    product_owner:          # the first
        model:   gemini-2.5-pro   # good
        provider: 'vertex'
        # between
        temperature: 0.70
        max_tokens: 8_192
        api_key: secret

        # the end of the role
# after
logging: on
"""


def test_only_the_values_of_the_role_change() -> None:
    assert set_role(TEXT, "product_owner", STUDENT) == TEXT.replace("gemini-2.5-pro ", "po-student:1b ").replace(
        "'vertex'", "'ollama'"
    ).replace("end of the role\n", "end of the role\n        base_url: http://localhost:11434\n")


def test_values_that_are_said_already_keep_their_form() -> None:
    change = RoleChange(Provider.VERTEX, "gemini-2.5-pro", temperature=0.7, max_tokens=8192)

    assert set_role(TEXT, "product_owner", change) == TEXT


def test_back_at_the_teacher_no_address_of_the_student_is_left() -> None:
    there = set_role(TEXT, "product_owner", STUDENT)

    assert set_role(there, "product_owner", TEACHER) == TEXT


def test_a_missing_role_is_added_after_the_last_with_the_indentation_of_the_file() -> None:
    added = '    "2":\n        provider: grpc\n        model: po\n        temperature: 0.2\n        max_tokens: 900\n'

    assert set_role(TEXT, "2", GRPC) == TEXT.replace(
        "end of the role\n", f"end of the role\n{added}        base_url: localhost:50051\n"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "roles:\n  po:\n    provider: vertex\n    model: m\n"),
        ("# only this", "# only this\nroles:\n  po:\n    provider: vertex\n    model: m\n"),
        ("a: 1\n# end\n", "a: 1\n# end\nroles:\n  po:\n    provider: vertex\n    model: m\n"),
        ("a: 1\n...\n", "a: 1\nroles:\n  po:\n    provider: vertex\n    model: m\n...\n"),
        ("a: |+\n  text\n\n", "a: |+\n  text\n\nroles:\n  po:\n    provider: vertex\n    model: m\n"),
        ("a:\r\n   b: 1", "a:\r\n   b: 1\r\nroles:\r\n   po:\r\n      provider: vertex\r\n      model: m"),
        ("roles:  # none\nb: 2\n", "roles:  # none\n  po:\n    provider: vertex\n    model: m\nb: 2\n"),
        ("roles: ~  # none\n", "roles:  # none\n  po:\n    provider: vertex\n    model: m\n"),
        ("roles: {}\n", "roles: {po: {provider: vertex, model: m}}\n"),
        ("roles:\n  po:\n  b: {}\n", "roles:\n  po:\n    provider: vertex\n    model: m\n  b: {}\n"),
        ("roles: {po: }\n", "roles: {po: {provider: vertex, model: m} }\n"),
        ('{"roles": {"b": {}}}', '{"roles": {"b": {}, po: {provider: vertex, model: m}}}'),
        ("\ufeffroles: {}", "\ufeffroles: {po: {provider: vertex, model: m}}"),
        ("---\n", "---\nroles:\n  po:\n    provider: vertex\n    model: m\n"),
    ],
)
def test_what_is_missing_is_added_at_the_end(text: str, expected: str) -> None:
    assert set_role(text, "po", RoleChange(Provider.VERTEX, "m")) == expected


@pytest.mark.parametrize(
    ("role", "expected"),
    [
        ("{provider: grpc, base_url: 'h:1', model: x}", "{provider: vertex, model: m}"),
        ("{base_url: 'h:1', model: x}", "{model: m, provider: vertex}"),
        ("{provider: grpc, model: x, base_url: 'h:1'}", "{provider: vertex, model: m}"),
        ("{model: x, provider: , base_url: }", "{model: m, provider: vertex , base_url: }"),
    ],
)
def test_a_role_on_one_line_stays_on_one_line(role: str, expected: str) -> None:
    text = f"roles: {{po: {role}}} # flow\n"

    assert set_role(text, "po", RoleChange(Provider.VERTEX, "m")) == f"roles: {{po: {expected}}} # flow\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "roles:\n  po:\n    base_url: h:1  # room 3\n    model: m\n    provider: vertex\n",
            "roles:\n  po:\n    # room 3\n    model: m\n    provider: vertex\n",
        ),
        (
            "roles: {po: {base_url: u, # far, far\n  model: m, provider: vertex}}",
            "roles: {po: { # far, far\n  model: m, provider: vertex}}",
        ),
        (
            "roles: {po: {model: m, provider: vertex, # ours\n  base_url: u}}",
            "roles: {po: {model: m, provider: vertex, # ours\n  }}",
        ),
    ],
)
def test_what_was_remarked_of_a_value_that_goes_stays(text: str, expected: str) -> None:
    assert set_role(text, "po", RoleChange(Provider.VERTEX, "m")) == expected


@pytest.mark.parametrize("written", ["010", "8_", "1__0", "0_1", "+-1"])
def test_what_readers_take_for_different_numbers_is_text_and_written_anew(written: str) -> None:
    text = f"roles: {{po: {{model: 5_, max_tokens: {written}}}}}"
    assert read_roles(text)["po"]["max_tokens"] == written
    assert "max_tokens: 10" in set_role(text, "po", RoleChange(Provider.GRPC, "m", max_tokens=10))


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://me:secret@h/v1?key=1", "http://***@h/v1?***"),
        ("me:secret@host:5000", "***@host:5000"),
        ("//me@h", "//***@h"),
        ("host:5000", "host:5000"),
        ("http://h/a@b", "http://h/a@b"),
        (None, None),
    ],
)
def test_an_address_is_shown_without_its_secrets(address: str | None, shown: str | None) -> None:
    assert masked(address) == shown


@pytest.mark.parametrize(
    ("before", "change", "base_url"),
    [
        ("grpc, base_url: 'far:1'", RoleChange(Provider.GRPC, "new"), "far:1"),
        ("grpc, base_url: 'far:1'", RoleChange(Provider.OLLAMA, "new"), "http://localhost:11434"),
        ("grpc, base_url: ~", RoleChange(Provider.GRPC, "new"), "localhost:50051"),
        ("openai, base_url: 'http://h/v1'", RoleChange(Provider.OPENAI, "new"), "http://h/v1"),
        ("vertex, base_url: 'http://h'", RoleChange(Provider.VERTEX, "new"), None),
        ("grpc", RoleChange(Provider.VERTEX, "new", base_url="http://emulator:1"), "http://emulator:1"),
    ],
)
def test_an_address_is_its_providers(before: str, change: RoleChange, base_url: str | None) -> None:
    text = set_role(f"roles: {{po: {{provider: {before}}}}}", "po", change)

    assert read_roles(text)["po"]["base_url"] == base_url


def test_openai_needs_an_address() -> None:
    with pytest.raises(InvalidArgument, match="--http-port") as caught:
        set_role(TEXT, "developer", RoleChange(Provider.OPENAI, "m"))

    assert caught.value.field == "base_url"


@pytest.mark.parametrize(
    "name", ["true", "123", "1e3", "1:30", "a: b", "x #y", "nan", "~", "ü", 'a"\\b', "- a", "y", "a:"]
)
def test_names_are_read_back_as_strings(name: str) -> None:
    for text in ("", "roles: {}", "roles: {po: {model: 'x'}}", 'roles: {po: {model: "x"}}', "roles: {po: {model: 1}}"):
        spoken = set_role(text, "po", RoleChange(Provider.GRPC, name))
        assert yaml.safe_load(spoken)["roles"]["po"]["model"] == name


def test_a_small_temperature_is_a_number_to_every_reader() -> None:
    assert "temperature: 0.00001\n" in set_role("", "po", RoleChange(Provider.GRPC, "m", temperature=1e-5))


MERGED = """\
base: &base {temperature: 0.5, base_url: http://h/v1}
roles:
  po:
    <<: *base
    provider: openai
    model: *name
"""


def test_own_values_go_before_merged_ones() -> None:
    text = "name: &name gpt\n" + MERGED

    spoken = set_role(text, "po", RoleChange(Provider.GRPC, "po", temperature=0.5))

    assert spoken == text.replace("openai", "grpc").replace("*name", "po") + "    base_url: localhost:50051\n"


@pytest.mark.parametrize(
    ("text", "change"),
    [
        ("name: &name gpt\n" + MERGED, TEACHER),
        ("roles: {po: &po {model: x}, b: *po}", STUDENT),
        ("roles: {b: &b {model: x}, po: *b}", STUDENT),
        ("roles: {po: &po {model: x}, b: {<<: *po}}", STUDENT),
        ("roles: &r {po: {model: x}}\nother: *r", STUDENT),
        ("roles: {po: {model: &m x}, b: {model: *m}}", STUDENT),
        ("all: &all {po: {api_key: x}}\nroles: {<<: *all}", STUDENT),
        ("all: &all {roles: {po: {}}}\n<<: *all", STUDENT),
    ],
)
def test_what_is_shared_is_refused(text: str, change: RoleChange) -> None:
    with pytest.raises(FailedPrecondition, match="can't be set alone"):
        set_role(text, "po", change)


@pytest.mark.parametrize(
    "text",
    ["? roles\n: ? po\n  : base_url: x\n    model: y\n", "roles: {po}", "roles:\n  po:\n    ? model\n  b: {}\n"],
)
def test_a_layout_that_cannot_be_spliced_is_refused(text: str) -> None:
    with pytest.raises(FailedPrecondition, match="edit it by hand"):
        set_role(text, "po", TEACHER)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb: [", "line 2"),
        ("a: 1\n\tb: 2", "line 2"),
        ("a: \x00", "U+0000"),
        ("a: 1\n---\nb: 2", "line 2 begins a second document"),
        ("a: *b", r"\*b names no anchor"),
        ("a: 1\nroles: [x]", "line 2: roles is no mapping"),
        ("- a", "the top level is no mapping"),
        ("a", "the top level is no mapping"),
        ("null", "the top level is no mapping"),
        ("roles:\n  po: vertex", "line 2: roles.po is no mapping"),
        ("a: 1\nroles: {}\nroles: {}", "line 3: the key roles stands on line 2"),
        ("roles:\n  po: {}\n  po: {}", "line 3: the key po stands on line 2"),
        ("roles:\n  po:\n    model: a\n    model: b", "line 4: the key model stands on line 3"),
        ("roles:\n  po:\n    model: [a]", "line 3: roles.po.model is no single value"),
        ("[" * 5000, "no YAML"),
    ],
)
def test_a_file_that_says_no_roles_is_refused_by_line(text: str, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words.replace("+", r"\+")):
        set_role(text, "po", STUDENT)
