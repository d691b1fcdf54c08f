import re
import tempfile
from pathlib import Path

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from stillhouse.cli.backups import replace_file, restore
from stillhouse.cli.role_config import Provider, RoleChange
from stillhouse.cli.role_edits import set_role

WORDS = st.text("abc é日:#'\"-{}[],&*!|>%@ß", max_size=12)
COMMENTS = WORDS.map(lambda words: f"# {words}")
VALUES = {
    "provider": st.sampled_from(["vertex", "'vertex'", '"grpc"', "openai", ""]),
    "model": st.sampled_from(["gemini", '"gpt: 5"', "'it''s'", "a\n              b", "|\n              text", "~"]),
    "temperature": st.sampled_from(["0.70", "1", ""]),
    "max_tokens": st.sampled_from(["8192", "8_192"]),
    "base_url": st.sampled_from(["http://h:1/v1", "'h:1'", ""]),
    "api_key": st.sampled_from(["secret", "!env KEY", "[a, b]", "{a: b}", "\n              deep: 1"]),
}
CHANGES = st.builds(
    RoleChange,
    st.sampled_from(list(Provider)),
    st.sampled_from(["po-student:1b", "gemini", "a b", "yes"]),
    st.none() | st.floats(0, 2),
    st.none() | st.integers(1, 9999),
    st.none() | st.sampled_from(["http://x:1/v1", "https://y"]),
).filter(lambda change: change.base_url is not None or change.provider is not Provider.OPENAI)
"""openai can't do without an address."""


@st.composite
def role_lines(draw: st.DrawFn, name: str) -> list[str]:
    names = draw(st.permutations(sorted(VALUES)))
    lines = [f"    {name}:{draw(st.sampled_from(['', '  # c']))}"]
    for field in names[: draw(st.integers(1, len(names)))]:
        value = draw(VALUES[field])
        remark = draw(st.sampled_from(["", "  # why", "   "])) if "\n" not in value else ""
        lines += [f"          {field}: {value}{remark}"]
        lines += ["          " + line for line in draw(st.lists(COMMENTS, max_size=1))]
        lines += draw(st.sampled_from([[], [""], ["  "]]))
    return lines


@st.composite
def configs(draw: st.DrawFn) -> tuple[str, str, str]:
    """What stands before the role, the role, what follows it."""
    before = draw(st.sampled_from([[], ["%YAML 1.1", "---"], ["---"]])) + draw(st.lists(COMMENTS, max_size=2))
    before += draw(
        st.sampled_from([[], ["list:", "- a", '-   "b"'], ["long: " + "word " * 40 + "# c"], ["a: {b:  1}"]])
    )
    before += ["roles:", *draw(st.just([]) | role_lines("one"))]
    after = draw(st.just([]) | role_lines("two")) + draw(st.lists(COMMENTS, max_size=2))
    after += draw(st.sampled_from([[], ["", "z: |", "  text  ", "", "# end"], ["é: 日本", "..."]]))
    mark, line_break = draw(st.sampled_from(["", "\ufeff"])), draw(st.sampled_from(["\n", "\r\n"]))
    parts = ["\n".join(lines) + "\n" if lines else "" for lines in (before, draw(role_lines("po")), after)]
    if draw(st.booleans()) and not parts[2]:
        parts[1] = parts[1].rstrip()
    first, role, last = (part.replace("\n", line_break) for part in parts)
    return mark + first, role, last


class Reader(yaml.SafeLoader):
    """Reads tags that only the other software knows as their text."""


Reader.add_multi_constructor("!", lambda loader, _, node: str(node.value))


def read(text: str) -> dict[str, object]:
    return dict(yaml.load(text, Loader=Reader))


def comments_in(role: str) -> list[str]:
    """Of lines of their own and behind values, in order."""
    return re.findall(r"(?:^|  ) *(#.*?)\r?$", role, re.MULTILINE)


@given(configs(), CHANGES)
@settings(max_examples=150, deadline=None)
def test_all_but_the_lines_of_the_role_is_kept_byte_by_byte(config: tuple[str, str, str], change: RoleChange) -> None:
    before, role, after = config

    spoken = set_role(before + role + after, "po", change)

    assert spoken.startswith(before)
    assert spoken.endswith(after)
    inside = spoken[len(before) : len(spoken) - len(after)]
    assert comments_in(inside) == comments_in(role)
    assert ("\n" not in inside.replace("\r\n", "")) if "\r\n" in before else ("\r" not in inside)


@given(configs(), CHANGES)
@settings(max_examples=100, deadline=None)
def test_the_role_says_the_change_and_what_it_said_of_other_things(
    config: tuple[str, str, str], change: RoleChange
) -> None:
    text = "".join(config)
    expected = read(text)
    options = {"temperature": change.temperature, "max_tokens": change.max_tokens}
    values = {"provider": str(change.provider), "model": change.model}
    role = expected["roles"]["po"]
    address = change.base_url or address_of(change.provider, role)
    role |= values | {name: value for name, value in options.items() if value is not None}
    if address is None:
        role.pop("base_url", None)
    else:
        role["base_url"] = address

    spoken = read(set_role(text, "po", change))
    assert without_nothing(spoken["roles"]["po"]) == without_nothing(role)
    assert {**spoken, "roles": None} == {**expected, "roles": None}


def address_of(provider: Provider, before: dict[str, object]) -> object:
    """That of a role to which none is given: the provider's own, or the usual one; none for Vertex AI."""
    usual = {Provider.OLLAMA: "http://localhost:11434", Provider.GRPC: "localhost:50051"}.get(provider)
    kept = before.get("base_url") if before.get("provider") == provider and usual else None
    return kept or usual


def without_nothing(role: dict[str, object]) -> dict[str, object]:
    """A field without a value may stay or go."""
    return {name: value for name, value in role.items() if name != "base_url" or value is not None}


@given(configs(), CHANGES)
@settings(max_examples=40, deadline=None)
def test_a_rollback_gives_the_first_bytes_and_another_the_second(
    config: tuple[str, str, str], change: RoleChange
) -> None:
    original = "".join(config).encode()
    changed = set_role(original.decode(), "po", change).encode()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_bytes(original)
        replace_file(path, changed)
        assert path.read_bytes() == changed
        restore(path)
        assert path.read_bytes() == original
        restore(path)
        assert path.read_bytes() == changed
