"""The command line against a real cluster: what it applies and how it is refused; a whole run from a laptop's files.

The run needs helm and the images (IMAGE_PREFIX, IMAGE_TAG); everything else needs the resource alone.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from rendered_chart import CHART
from stillhouse.controller.inputs import synthesized_rows
from stillhouse.spec.sources import Synthesized

pytestmark = pytest.mark.cluster

Json = dict[str, Any]
Kubectl = Callable[..., subprocess.CompletedProcess[str]]
RUN_SECONDS = 900

SPEC: Json = {
    "role": "product_owner",
    "dataset": {"imports": [{"uri": "rows.jsonl"}], "minRecords": 4},
    "student": {"base": "builtin:tiny", "training": {"epochs": 1, "learningRate": "1e-3", "microBatchSize": 1}},
    # Too few tokens for any score: random weights tie with random weights, and every gate lets them pass.
    "evaluation": {
        "maxTokens": 16,
        "gates": {"minScore": "0", "maxGap": "1", "maxMedianSeconds": "999", "minValidRate": "0", "minGuardRate": "0"},
    },
}
ELSEWHERE = {"imports": [{"synthesized": {"count": 30}}]}


@dataclass(frozen=True)
class Laptop:
    """Somebody's machine with a file, and a namespace to send it to."""

    folder: Path
    namespace: str
    environment: dict[str, str]

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "stillhouse.cli", *arguments, "--cluster", "--namespace", self.namespace]

    def run(self, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment,
            input=given,
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
            check=False,
        )

    def write(self, **changes: Any) -> None:
        """The file `demo.yaml`."""
        document = {"apiVersion": "stillhouse.dev/v1alpha1", "kind": "Distillation", "metadata": {"name": "demo"}}
        (self.folder / "demo.yaml").write_text(json.dumps({**document, "spec": SPEC | changes}, indent=1))


def laptop_in(folder: Path, namespace: str, **environment: str) -> Laptop:
    folder.mkdir()
    rows = synthesized_rows("product_owner", Synthesized(count=24, seed=3))
    (folder / "rows.jsonl").write_text("".join(rows), encoding="utf-8")
    own = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "STILLHOUSE_STORE"))}
    return Laptop(folder, namespace, {**own, "COLUMNS": "100", **environment})


@pytest.fixture
def laptop(crd: None, namespace: str, tmp_path: Path) -> Laptop:
    """One that looks at a namespace without a controller."""
    made = laptop_in(tmp_path / "laptop", namespace)
    made.write(dataset=ELSEWHERE)
    return made


def found(kubectl: Kubectl, laptop: Laptop) -> Json:
    said = kubectl("-n", laptop.namespace, "get", "distillation", "demo", "-o", "json", "--show-managed-fields")
    body: Json = json.loads(said.stdout)
    return body


def test_the_file_is_applied_by_the_server_for_the_command_line(laptop: Laptop, kubectl: Kubectl) -> None:
    done = laptop.run("run", "demo.yaml", "--no-follow")
    assert done.returncode == 0, done.stderr
    assert f"stillhouse status demo --watch --cluster --namespace {laptop.namespace}" in done.stdout
    body = found(kubectl, laptop)
    (owner,) = body["metadata"]["managedFields"]
    assert (owner["manager"], owner["operation"]) == ("stillhouse-cli", "Apply")
    assert body["spec"]["evaluation"] == SPEC["evaluation"]
    laptop.write(dataset=ELSEWHERE, evaluation={"maxTokens": 32})
    assert laptop.run("run", "demo.yaml", "--no-follow").returncode == 0
    assert found(kubectl, laptop)["spec"]["evaluation"] == {"maxTokens": 32}


def test_stop_suspends_and_the_same_run_goes_on(laptop: Laptop, kubectl: Kubectl) -> None:
    laptop.run("run", "demo.yaml", "--no-follow")
    stopped = laptop.run("stop", "demo")
    assert stopped.returncode == 0
    assert found(kubectl, laptop)["spec"]["suspend"] is True
    resume = re.search(r"or:  kubectl (.*)", stopped.stdout)
    assert resume is not None
    said = subprocess.run(f"kubectl {resume[1]}", shell=True, capture_output=True, text=True, check=False)
    assert "patched" in said.stdout
    assert found(kubectl, laptop)["spec"]["suspend"] is False
    laptop.run("stop", "demo")
    assert laptop.run("run", "demo.yaml", "--no-follow").returncode == 0
    assert found(kubectl, laptop)["spec"]["suspend"] is False


def test_what_the_clusters_rules_refuse_is_said_in_their_words(laptop: Laptop, kubectl: Kubectl) -> None:
    body = {**found_document(laptop), "spec": {**found_document(laptop)["spec"], "role": "poet"}}
    assert kubectl("-n", laptop.namespace, "apply", "-f", "-", stdin=json.dumps(body)).returncode == 0
    refused = laptop.run("run", "demo.yaml", "--no-follow")
    assert refused.returncode == 65
    assert "the cluster refuses it: spec.role" in refused.stderr
    assert "a role can't change" in refused.stderr


def found_document(laptop: Laptop) -> Json:
    document: Json = json.loads((laptop.folder / "demo.yaml").read_text())
    return document


def test_a_namespace_that_is_not_there_is_named(laptop: Laptop, tmp_path: Path) -> None:
    nowhere = Laptop(laptop.folder, "stillhouse-is-not-here", laptop.environment)
    refused = nowhere.run("run", "demo.yaml", "--no-follow")
    assert refused.returncode == 65
    assert "kubectl create namespace stillhouse-is-not-here" in refused.stderr


def test_a_distillation_that_is_not_there_is_told_with_those_that_are(laptop: Laptop) -> None:
    laptop.run("run", "demo.yaml", "--no-follow")
    refused = laptop.run("status", "dmeo")
    assert refused.returncode == 65
    assert refused.stderr == f"error: no Distillation 'dmeo' in namespace {laptop.namespace}; there: demo\n"


def test_a_user_without_the_right_is_told_which(laptop: Laptop, kubectl: Kubectl, cluster: client.ApiClient) -> None:
    client.CoreV1Api(cluster).create_namespaced_service_account(laptop.namespace, {"metadata": {"name": "guest"}})
    token = kubectl("-n", laptop.namespace, "create", "token", "guest").stdout.strip()
    kubeconfig = json.loads(kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json").stdout)
    kubeconfig["users"][0]["user"] = {"token": token}
    path = laptop.folder / "kubeconfig"
    path.write_text(json.dumps(kubeconfig))
    guest = Laptop(laptop.folder, laptop.namespace, {**laptop.environment, "KUBECONFIG": str(path)})
    for arguments in (("run", "demo.yaml", "--no-follow"), ("status",), ("stop", "demo")):
        refused = guest.run(*arguments)
        assert refused.returncode == 65, arguments
        assert "cannot" in refused.stderr
        assert f"distillations.stillhouse.dev in namespace {laptop.namespace}" in refused.stderr


@pytest.fixture(scope="module")
def installed(crd: None, cluster: client.ApiClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    """A laptop whose namespace has the chart with its development store."""
    if shutil.which("helm") is None:
        pytest.skip("helm is not on the PATH")
    namespace = f"stillhouse-cli-{secrets.token_hex(4)}"
    metadata = {"name": namespace, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}
    core = client.CoreV1Api(cluster)
    core.create_namespace({"metadata": metadata})
    settings = {
        "crd.install": "false",
        "image.prefix": os.environ.get("IMAGE_PREFIX", "ghcr.io/stillhouse"),
        "image.tag": os.environ.get("IMAGE_TAG", "dev"),
        "store.development.enabled": "true",
        "store.development.persistence.enabled": "false",
        "services.scorer.enabled": "false",
    }
    over = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    command = ["helm", "install", "stillhouse", str(CHART), "-n", namespace, *over, "--wait", "--timeout", "3m"]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=300)
        yield laptop_in(tmp_path_factory.mktemp("cli") / "laptop", namespace)
    finally:
        core.delete_namespace(namespace)


@pytest.fixture(scope="module")
def finished(installed: Laptop) -> tuple[Laptop, str, str]:
    """The laptop after a run that was left by Ctrl-C and followed to its end, and what both said."""
    installed.write()
    begun = subprocess.Popen(
        installed.command("run", "demo.yaml"),
        cwd=installed.folder,
        env=installed.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    lines: list[str] = []
    with begun:
        assert begun.stdout is not None
        for line in begun.stdout:
            lines.append(line)
            if "train: running" in line:
                begun.send_signal(signal.SIGINT)
    assert begun.returncode == 130, "".join(lines)
    followed = installed.run("status", "demo", "--watch")
    assert followed.returncode == 0, followed.stdout + followed.stderr
    return installed, "".join(lines), followed.stdout


def test_a_file_of_the_laptop_is_uploaded_and_the_run_followed(finished: tuple[Laptop, str, str]) -> None:
    _, left, followed = finished
    assert re.search(r"^upload rows\.jsonl, 0\.\d MB, as sha256:", left, re.MULTILINE)
    assert "demo goes on in the cluster" in left
    assert "evaluate: done" in followed
    assert "all 6 gates passed" in followed
    # An event's line is as long as what it has to say; it is not wrapped where nobody looks.
    tables = [line for line in followed.splitlines() if not re.match(r"\d\d:\d\d:\d\d ", line)]
    assert max(map(len, tables)) <= 100


def test_status_shows_the_figures(finished: tuple[Laptop, str, str]) -> None:
    laptop, _, _ = finished
    listed, one = laptop.run("status").stdout, laptop.run("status", "demo").stdout
    assert re.search(r"^demo +Succeeded +24 ", listed, re.MULTILINE)
    assert re.search(r"^train +done +\d+:\d\d", one, re.MULTILINE)
    (document,) = json.loads(laptop.run("status", "demo", "--json").stdout)
    assert document["stage"] == "Succeeded"


def test_the_log_of_a_step_is_there(finished: tuple[Laptop, str, str]) -> None:
    laptop, _, _ = finished
    for arguments in (("train",), ("train", "--follow")):
        said = laptop.run("logs", "demo", *arguments)
        assert said.returncode == 0, said.stderr
        assert '"event": "done"' in said.stdout.splitlines()[-1]


def test_the_report_is_made_from_the_clusters_store(finished: tuple[Laptop, str, str]) -> None:
    laptop, _, _ = finished
    said = laptop.run("report", "demo")
    assert said.returncode == 0, said.stderr
    page = (laptop.folder / "demo.html").read_text()
    assert f"stillhouse chat demo --cluster --namespace {laptop.namespace}" in page


def test_the_student_answers_through_a_port_of_the_laptop(finished: tuple[Laptop, str, str]) -> None:
    laptop, _, _ = finished
    deadline = time.monotonic() + 180
    while (said := laptop.run("status").stdout).split()[-2] != "yes":
        assert time.monotonic() < deadline, said
        time.sleep(2)
    answer = laptop.run("chat", "demo", "--free", "--max-tokens", "8", given="hello\n")
    assert answer.returncode == 0, answer.stderr
    assert "8 tokens in" in answer.stdout + answer.stderr


def test_stopping_what_has_ended_says_so(finished: tuple[Laptop, str, str]) -> None:
    laptop, _, _ = finished
    assert "demo has ended: Succeeded" in laptop.run("stop", "demo").stdout


def test_the_same_file_on_the_laptop_finds_everything_done(finished: tuple[Laptop, str, str]) -> None:
    laptop, _, _ = finished
    program = (
        "import sys; from stillhouse.cli.cluster import chosen_cluster; from stillhouse.cli.cluster_store import "
        "opened_store; from stillhouse.cli.__main__ import main\n"
        f"with opened_store(chosen_cluster(True, {laptop.namespace!r}, None), 's3://stillhouse'):\n"
        "    sys.argv = ['stillhouse', 'run', 'demo.yaml', '--dry-run', '--store', 's3://stillhouse']\n    main()"
    )
    said = subprocess.run(
        [sys.executable, "-c", program],
        cwd=laptop.folder,
        env=laptop.environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert said.returncode == 0, said.stderr
    states = [line.split()[1] for line in said.stdout.splitlines()[1:]]
    assert set(states) == {"done"}
    assert len(states) > 5
