"""`stillhouse run --cluster`: what is applied, what is said while it goes, and with which exit code it ends."""

from __future__ import annotations

import io
import os
import re
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.console import Console

from fake_cluster import NAMESPACE
from played_cluster import PlayedCluster, cluster_of
from stillhouse.artifacts.store import Store
from stillhouse.cli import cluster_run
from stillhouse.cli.cluster import Cluster, chosen_cluster
from stillhouse.cli.cluster_follow import Follower, shown
from stillhouse.cli.progress import LiveView, PlainView, View
from stillhouse.controller.cluster.api import CONFIG_MAPS, DISTILLATIONS
from stillhouse.controller.plan import GAVE_UP
from stillhouse.errors import FailedPrecondition, InvalidArgument, NotFound, PermissionDenied, Unavailable
from stillhouse.spec.loading import parse_distillation
from stillhouse.spec.models import Distillation

Json = dict[str, Any]
SHA = "5" * 64


def distillation(**changes: Any) -> Distillation:
    spec: Json = {"role": "product_owner", "dataset": {"imports": [{"synthesized": {"count": 30}}]}}
    document = {"apiVersion": "stillhouse.dev/v1alpha1", "kind": "Distillation", "metadata": {"name": "demo"}}
    return parse_distillation({**document, "spec": spec | changes}, source="test")


def step(name: str, state: str, **more: Any) -> Json:
    return {"name": name, "stage": name.partition("-")[0], "state": state, "key": "k" * 64, **more}


def status(stage: str, *steps: Json, **more: Any) -> Json:
    return {"stage": stage, "steps": list(steps), **more}


def ended(stage: str, **more: Any) -> PlayedCluster:
    return PlayedCluster([status(stage, step("dataset", "done"), **more)])


def run(api: PlayedCluster, made: Distillation | None = None, *, store: str | None = None, follow: bool = True) -> int:
    return cluster_run.run_on_cluster(cluster_of(api), made or distillation(), store=store, follow=follow)


def applied(api: PlayedCluster) -> Json:
    return api.objects[DISTILLATIONS.plural, NAMESPACE, "demo"]["spec"]


def test_the_file_is_applied_as_it_is_by_the_command_lines_own_manager(capsys: pytest.CaptureFixture[str]) -> None:
    api = ended("Succeeded")
    assert run(api) == 0
    assert api.managers == ["stillhouse-cli"]
    assert applied(api) == {
        "role": "product_owner",
        "dataset": {"imports": [{"synthesized": {"count": 30}}]},
        "suspend": False,
    }


def test_the_stores_option_is_applied_and_a_store_of_this_machine_refused() -> None:
    api = ended("Succeeded")
    run(api, store="s3://mine/")
    assert applied(api)["store"] == "s3://mine"
    with pytest.raises(InvalidArgument, match="a cluster needs s3://, gs:// or az://"):
        run(ended("Succeeded"), store="/tmp/store")


@pytest.mark.parametrize(
    ("stage", "more", "code"),
    [
        ("Succeeded", {}, 0),
        ("GatesFailed", {}, 1),
        ("Suspended", {}, 0),
        ("Invalid", {"message": "no role 'poet'"}, 65),
        ("Failed", {"steps": [step("train", "failed", message="out of rows")]}, 65),
        ("Failed", {"steps": [step("train", "failed", message=f"the store is away ({GAVE_UP} 5 attempts)")]}, 75),
    ],
)
def test_the_outcome_decides_the_exit_code(
    stage: str, more: Json, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(PlayedCluster([{**status(stage), **more}])) == code
    said = capsys.readouterr()
    for message in (more.get("message", ""), *(entry["message"] for entry in more.get("steps", []))):
        assert message in said.err


def test_a_finished_one_says_what_came_of_it_and_what_to_do_next(capsys: pytest.CaptureFixture[str]) -> None:
    gates = {"type": "Evaluated", "status": "True", "reason": "GatesPassed", "message": "all 6 gates passed"}
    serving = {"type": "Serving", "status": "True", "reason": "Serving", "message": "555 is the first"}
    figures = {"records": 96, "score": "0.912", "gap": "0.031", "costUsd": "0.3141", "modelSha256": SHA}
    run(ended("Succeeded", conditions=[gates, serving], **figures))
    said = capsys.readouterr().out
    assert "0.912, gap 0.031 to the teacher" in said
    for words in ("all 6 gates passed", "yes: 555 is the first", "$0.31", f"sha256:{SHA}"):
        assert words in said
    assert f"stillhouse chat demo --cluster --namespace {NAMESPACE}" in said
    assert f"stillhouse report demo --cluster --namespace {NAMESPACE}" in said
    assert max(map(len, said.splitlines())) <= 100


def test_one_that_is_not_followed_says_how_to_follow_and_stop_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(PlayedCluster(), follow=False) == 0
    said = capsys.readouterr().out
    assert f"stillhouse status demo --watch --cluster --namespace {NAMESPACE}" in said
    assert f"stillhouse stop demo --cluster --namespace {NAMESPACE}" in said


def test_local_inputs_are_uploaded_to_the_installations_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened: list[str] = []

    memory = Store.open(f"memory://{tmp_path.name}")
    monkeypatch.setattr(Store, "open", lambda uri: opened.append(uri) or memory)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text("{}\n")
    api = ended("Succeeded")
    settings = {"metadata": {"name": "stillhouse-settings", "labels": labels("controller")}}
    api.put(CONFIG_MAPS, settings | {"data": {"settings.yaml": "store: s3://theirs\n"}})
    assert run(api, distillation(dataset={"imports": [{"uri": "rows.jsonl"}]})) == 0
    assert opened == ["s3://theirs"]
    digest = applied(api)["dataset"]["imports"][0]["uri"].removeprefix("sha256:")
    assert memory.has_blob(digest)
    assert digest.encode() in (memory.read_object(f"distillations/{NAMESPACE}.demo/uploads.json") or b"")
    assert "store" not in applied(api)
    assert "upload rows.jsonl" in capsys.readouterr().out


def labels(component: str) -> dict[str, str]:
    return {"app.kubernetes.io/name": "stillhouse", "app.kubernetes.io/component": component}


def test_without_a_store_to_upload_to_the_remedy_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text("{}\n")
    api = PlayedCluster()
    api.unreadable.add("ConfigMap")
    with pytest.raises(InvalidArgument, match=r"say --store, or spec\.store"):
        run(api, distillation(dataset={"imports": [{"uri": "rows.jsonl"}]}))
    assert not api.writes


@pytest.mark.parametrize(
    ("refusal", "raised", "said"),
    [
        (NotFound("Distillation team/demo: 404 page not found"), FailedPrecondition, "does not know Distillations"),
        (NotFound('Distillation team/demo: namespaces "team" not found'), NotFound, "kubectl create namespace team"),
        (PermissionDenied("Distillation team/demo: forbidden"), PermissionDenied, "get, list, create and patch"),
        (
            InvalidArgument('Distillation team/demo: Distillation.stillhouse.dev "demo" is invalid: spec.role: fixed'),
            InvalidArgument,
            "Distillation team/demo: the cluster refuses it: spec.role: fixed",
        ),
    ],
)
def test_a_refusal_says_what_to_do(refusal: Any, raised: type[Exception], said: str) -> None:
    api = PlayedCluster()
    api.refusal = refusal
    with pytest.raises(raised, match=said.replace("/", ".")):
        run(api)


def follow(api: PlayedCluster, view: View, said: Console | None = None, **options: float) -> Json | None:
    api.put(DISTILLATIONS, {"metadata": {"name": "demo", "generation": 2}, "spec": {}})
    follower = Follower(cluster_of(api), "demo", said or Console(file=io.StringIO()), look_seconds=0, **options)
    with view:
        return follower.follow(view, threading.Event())


def test_without_a_terminal_every_change_is_a_line() -> None:
    progress = {"done": 45, "total": 96, "unit": "records", "figures": {"attempted": "71", "acceptance_rate": "0.63"}}
    waiting = step("train", "waiting", message="after generate")
    api = PlayedCluster(
        [
            status("generate", step("generate", "pending"), waiting),
            status("generate", step("generate", "running", progress=progress), waiting),
            status("queued", step("generate", "done"), step("train", "queued", message="waiting in queue gpus")),
            status("Succeeded", step("generate", "done"), step("train", "done")),
        ]
    )
    file = io.StringIO()
    assert follow(api, PlainView(Console(file=file, width=100))) is not None
    lines = [line.partition(" ")[2] for line in file.getvalue().splitlines()]
    assert lines == [
        "generate: ready its pod is starting",
        "train: waiting after generate",
        "generate: running 45/96 records of 71 asked  63% accepted",
        "generate: done",
        "train: ready waiting in queue gpus",
        "train: done",
    ]


def test_in_a_terminal_the_table_of_a_run_is_drawn_with_the_clusters_times() -> None:
    times = {"startTime": "2030-01-01T00:00:00Z", "finishTime": "2030-01-01T00:02:05Z"}
    api = PlayedCluster([status("Succeeded", step("train", "done", **times), step("export", "done"))])
    file = io.StringIO()
    follow(api, LiveView(Console(file=file, force_terminal=True, width=100, color_system=None, legacy_windows=False)))
    assert re.search(r"✓ +train +2:05 *\n✓ +export *\n", file.getvalue())


def test_a_status_of_an_earlier_generation_is_not_taken_for_this_one() -> None:
    file = io.StringIO()
    api = PlayedCluster([{**status("Failed", step("train", "failed")), "observedGeneration": 1}, status("Succeeded")])
    found = follow(api, PlainView(Console(file=file)))
    assert found is not None
    assert found["status"]["stage"] == "Succeeded"
    assert "failed" not in file.getvalue()


def test_a_server_that_is_away_for_a_moment_is_asked_again() -> None:
    said = io.StringIO()
    api = PlayedCluster([Unavailable("the cluster's API server can't be reached"), status("Succeeded")])
    assert follow(api, PlainView(Console(file=io.StringIO())), Console(file=said)) is not None
    assert "looking again" in said.getvalue()


def test_one_that_nobody_looks_at_is_told_of() -> None:
    said = io.StringIO()
    api = PlayedCluster([{"observedGeneration": 0}, {"observedGeneration": 1}, status("Succeeded")])
    follow(api, PlainView(Console(file=io.StringIO())), Console(file=said, width=300), unseen_seconds=-1.0)
    assert said.getvalue().count(f"does one watch namespace {NAMESPACE}?") == 1


def test_one_that_is_deleted_ends_the_following() -> None:
    with pytest.raises(NotFound, match="no Distillation 'demo'"):
        Follower(cluster_of(PlayedCluster()), "demo", Console()).follow(PlainView(Console()), threading.Event())


def test_a_second_attempt_is_told_beside_the_progress() -> None:
    running = step("train", "running", message="attempt 2 of 5; out of memory", progress={"message": "epoch 1 of 2"})
    _, progress, _ = shown({"status": status("train", running)})
    assert progress["train"].message == "attempt 2 of 5; out of memory; epoch 1 of 2"


def test_a_step_that_failed_long_ago_takes_no_time_now() -> None:
    times = {"startTime": "2030-01-01T00:00:00Z"}
    body = {"status": status("Failed", step("train", "failed", **times), step("export", "running", **times))}
    assert shown(body, now=1893456010.0)[2] == {"export": 10.0}


def test_interrupted_it_goes_on_and_says_how_to_follow(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupting(PlayedCluster):
        def get(self, *arguments: Any) -> Json | None:
            os.kill(os.getpid(), signal.SIGINT)
            return super().get(*arguments)

    api = Interrupting([status("train", step("train", "running"))])
    assert run(api) == 130
    said = capsys.readouterr().out
    assert "demo goes on in the cluster" in said
    assert "stillhouse stop demo --cluster" in said
    assert applied(api)["suspend"] is False


@pytest.mark.parametrize("option", ["namespace", "context"])
def test_options_of_a_cluster_need_one(option: str) -> None:
    values: dict[str, Any] = {"namespace": None, "context": None, option: "x"}
    with pytest.raises(typer.BadParameter, match="it is for --cluster"):
        chosen_cluster(False, **values)
    assert chosen_cluster(False, None, None) is None


def test_a_store_that_a_cluster_has_no_use_for_is_refused() -> None:
    with pytest.raises(typer.BadParameter, match="the Distillation says it"):
        chosen_cluster(True, None, None, idle_store="s3://x")


def test_the_files_namespace_and_the_options_must_agree() -> None:
    with pytest.raises(typer.BadParameter, match=r"the file says theirs \(metadata.namespace\)"):
        chosen_cluster(True, "mine", None, file_namespace="theirs")


def test_the_ways_back_name_the_cluster() -> None:
    assert Cluster(PlayedCluster(), "x").options == " --cluster"
