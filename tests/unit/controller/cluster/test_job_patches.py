"""A patch of a Job's pods: how it is merged, read and refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from made_jobs import GENERATE, RICH, asked, pod
from planned_world import spec_of
from stillhouse.controller.cluster.pods import merged, parse_patch
from stillhouse.errors import InvalidArgument


@pytest.mark.parametrize(
    ("target", "patch", "wanted"),
    [
        ({"a": 1, "b": 2}, {"b": None, "c": {"d": None, "e": 1}}, {"a": 1, "c": {"e": 1}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        (
            [{"name": "x", "v": 1}],
            [{"name": "y"}, {"name": "x", "w": 2}],
            [{"name": "x", "v": 1, "w": 2}, {"name": "y"}],
        ),
        ([{"name": "x", "v": 1}], [{"name": "x", "v": None}], [{"name": "x"}]),
        ([{"name": "x"}], [], []),
        ([{"name": "x"}], [{"key": "x"}], [{"key": "x"}]),
        ([{"name": "x"}], [{"name": ["x"]}], [{"name": ["x"]}]),
        (
            [{"name": "scratch", "mountPath": "/tmp"}],
            [{"name": "scratch", "mountPath": "/var/x", "subPath": "x"}],
            [{"name": "scratch", "mountPath": "/tmp"}, {"name": "scratch", "mountPath": "/var/x", "subPath": "x"}],
        ),
        (
            [{"name": "scratch", "mountPath": "/tmp"}],
            [{"name": "big", "mountPath": "/tmp"}],
            [{"name": "big", "mountPath": "/tmp"}],
        ),
        ("text", {"a": {"b": None}}, {"a": {}}),
    ],
)
def test_a_patch_is_merged_by_name(target: Any, patch: Any, wanted: Any) -> None:
    assert merged(target, patch) == wanted


JSON = st.recursive(
    st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "name", "mountPath"]), inner, max_size=3)
        | st.lists(
            st.fixed_dictionaries({"name": st.sampled_from("xyz")}, optional={"v": inner}),
            max_size=3,
            unique_by=lambda entry: str(entry["name"]),
        )
    ),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(target=JSON, patch=JSON)
def test_a_patch_that_was_merged_changes_nothing_more(target: Any, patch: Any) -> None:
    once = merged(target, patch)
    assert merged(once, patch) == once


def test_a_patch_reaches_all_of_the_pod_and_what_of_it_may_go_goes() -> None:
    patch = """
    hostAliases: [{ip: 10.0.0.1, hostnames: [teacher]}]
    volumes:
      - {name: key, secret: {defaultMode: 0400}}
      - {name: shm, emptyDir: {medium: Memory}}
    containers:
      - name: stage
        env: [{name: A, value: "2"}]
        volumeMounts: [{name: shm, mountPath: /dev/shm}]
    """
    step = asked(GENERATE, stage="generate", service="teacher_generator")
    spec = pod(step, spec_of(resources={"generate": {"podPatch": patch}}), RICH)
    assert [volume["name"] for volume in spec["volumes"]] == ["scratch", "key", "shm"]
    assert spec["volumes"][1]["secret"] == {"secretName": "key-file", "defaultMode": 0o400}
    (stage,) = spec["containers"]
    assert [mount["mountPath"] for mount in stage["volumeMounts"]] == ["/tmp", "/var/key", "/dev/shm"]
    assert {"name": "A", "value": "2"} in stage["env"]
    bare = pod(step, spec_of(resources={"generate": {"podPatch": "volumes: null"}}), RICH)
    assert "volumes" not in bare


@pytest.mark.parametrize(
    "text",
    [
        "- a",
        "a: [",
        "5",
        "{1: a}",
        "a: !!float .inf",
        "a: !!binary aGk=",
        "a: !!set {b}",
        "a: !!timestamp 2030-01-31",
        "a: &a [*a]",
        "a0: &a0 [x, x]\n" + "\n".join(f"a{n + 1}: &a{n + 1} [*a{n}, *a{n}, *a{n}, *a{n}]" for n in range(12)),
        "a: " + "[" * 2000,
    ],
)
def test_a_patch_that_json_can_not_hold_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match=r"^podPatch: ") as raised:
        parse_patch(text)
    assert len(raised.value.message) < 500
    with pytest.raises(InvalidArgument, match="podPatch"):
        spec_of(resources={"train": {"podPatch": text}})


def test_a_patch_is_read_as_kubectl_reads_it() -> None:
    assert parse_patch("a: 2030-01-31\nb: 1:30\nc: off\nd: 0x10") == {
        "a": "2030-01-31",
        "b": "1:30",
        "c": False,
        "d": 16,
    }
