"""No cluster, or a kubeconfig that is none: the file is named, and what to do; no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stillhouse.controller.cluster.api import JOBS, KubernetesApi
from stillhouse.errors import EXIT_PERMANENT, EXIT_USAGE, FailedPrecondition, Unavailable

SETTINGS = """
namespaces: [team]
images: {slim: s, torch: t, llama: l}
serviceAccounts: {teacher: teacher, stage: stage}
"""
NOBODY_LISTENS = """
clusters: [{name: a, cluster: {server: "http://127.0.0.1:1"}}]
contexts: [{name: a, context: {cluster: a, user: a}}]
users: [{name: a, user: {}}]
current-context: a
"""


@pytest.fixture
def kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "config"
    monkeypatch.setenv("KUBECONFIG", str(path))
    return path


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"{{{ torn", "flow mapping"),
        (b"just words", "no kubeconfig"),
        (b"clusters: 5", "no kubeconfig"),
        (b"\x80\x81", "no kubeconfig"),
        (b"clusters: []\ncontexts: []\nusers: []", "current-context"),
    ],
)
def test_a_file_that_is_no_kubeconfig_is_named_with_the_remedy(kubeconfig: Path, content: bytes, words: str) -> None:
    kubeconfig.write_bytes(content)
    with pytest.raises(FailedPrecondition, match=f"no cluster in {kubeconfig}: .*{words}.*; set KUBECONFIG"):
        KubernetesApi.connect()


def test_a_kubeconfig_that_is_not_there_or_is_a_folder_is_named(kubeconfig: Path) -> None:
    with pytest.raises(FailedPrecondition, match=f"no cluster in {kubeconfig}: .*; set KUBECONFIG"):
        KubernetesApi.connect()
    kubeconfig.mkdir()
    with pytest.raises(FailedPrecondition, match=f"no cluster in {kubeconfig}: .*directory"):
        KubernetesApi.connect()


def test_a_context_that_the_kubeconfig_lacks_is_named(kubeconfig: Path) -> None:
    kubeconfig.write_text(NOBODY_LISTENS)
    with pytest.raises(FailedPrecondition, match=f"no cluster in {kubeconfig}: .*elsewhere"):
        KubernetesApi.connect(context="elsewhere")


def test_a_cluster_that_does_not_run_is_asked_after(kubeconfig: Path) -> None:
    kubeconfig.write_text(NOBODY_LISTENS)
    with pytest.raises(Unavailable, match=r"can't be reached: .*; is it running\?"):
        KubernetesApi.connect().get(JOBS, "team", "x")


@pytest.mark.parametrize(
    ("variables", "code", "words"),
    [
        ({}, EXIT_USAGE, "STILLHOUSE_SETTINGS names no file"),
        ({"STILLHOUSE_SETTINGS": "missing.yaml"}, EXIT_PERMANENT, "missing.yaml can't be read"),
        ({"STILLHOUSE_SETTINGS": "settings.yaml"}, EXIT_PERMANENT, "set KUBECONFIG"),
        (
            {"STILLHOUSE_SETTINGS": "settings.yaml", "KUBECONFIG": "config", "STILLHOUSE_METRICS_PORT": "99999"},
            EXIT_USAGE,
            "STILLHOUSE_METRICS_PORT='99999' is no port",
        ),
    ],
)
def test_a_controller_that_can_not_start_says_why_in_one_line(
    tmp_path: Path, variables: dict[str, str], code: int, words: str
) -> None:
    (tmp_path / "settings.yaml").write_text(SETTINGS)
    (tmp_path / "config").write_text(NOBODY_LISTENS)
    environ = {name: value for name, value in os.environ.items() if name not in ("KUBECONFIG", "STILLHOUSE_SETTINGS")}
    done = subprocess.run(
        [sys.executable, "-m", "stillhouse.controller"],
        env={**environ, "HOME": str(tmp_path), **variables},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    said = done.stdout + done.stderr
    assert (done.returncode, words in said, "Traceback" in said) == (code, True, False)
    assert len(said.splitlines()) == 1
