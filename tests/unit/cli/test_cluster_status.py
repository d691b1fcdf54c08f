"""`status` and `stop` with --cluster: what they read, write, and say."""

from __future__ import annotations

import json

import pytest

from fake_cluster import NAMESPACE
from played_cluster import PlayedCluster, cluster_of, with_demo
from stillhouse.cli import cluster_status
from stillhouse.controller.cluster.api import DISTILLATIONS


def test_status_shows_all_as_kubectl_does(capsys: pytest.CaptureFixture[str]) -> None:
    api = with_demo(records=96, score="0.912", gap="0.031", serving="yes")
    assert cluster_status.show_status(cluster_of(api), None, watch=False, as_json=False) == 0
    header, line = capsys.readouterr().out.splitlines()
    assert header.split() == ["NAME", "STAGE", "RECORDS", "SCORE", "GAP", "SERVING", "AGE"]
    assert line.split()[:-1] == ["demo", "train", "96", "0.912", "0.031", "yes"]


def test_status_of_one_shows_its_steps_in_100_columns(capsys: pytest.CaptureFixture[str]) -> None:
    assert cluster_status.show_status(cluster_of(with_demo(records=96)), "demo", watch=False, as_json=False) == 0
    said = capsys.readouterr().out
    assert said.startswith("demo: train\n")
    assert "after train" in said
    assert max(map(len, said.splitlines())) <= 100


def test_status_as_json_is_the_clusters_own(capsys: pytest.CaptureFixture[str]) -> None:
    cluster_status.show_status(cluster_of(with_demo(records=96)), "demo", watch=False, as_json=True)
    (document,) = json.loads(capsys.readouterr().out)
    assert (document["name"], document["records"], len(document["steps"])) == ("demo", 96, 3)


def test_an_empty_namespace_is_said_to_be_empty(capsys: pytest.CaptureFixture[str]) -> None:
    cluster_status.show_status(cluster_of(PlayedCluster()), None, watch=False, as_json=False)
    assert capsys.readouterr().out == f"no Distillations in namespace {NAMESPACE}\n"


def test_watching_one_ends_with_its_outcome(capsys: pytest.CaptureFixture[str]) -> None:
    api = with_demo(stage="GatesFailed")
    assert cluster_status.show_status(cluster_of(api), "demo", watch=True, as_json=False) == 1


def test_stop_suspends_and_says_how_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    api = with_demo()
    cluster_status.stop_on_cluster(cluster_of(api), "demo")
    assert api.objects[DISTILLATIONS.plural, NAMESPACE, "demo"]["spec"]["suspend"] is True
    said = capsys.readouterr().out
    assert f"stillhouse run FILE --cluster --namespace {NAMESPACE}" in said
    assert (
        f"""kubectl -n {NAMESPACE} patch distillation demo --type merge -p '{{"spec":{{"suspend":false}}}}'""" in said
    )


def test_what_has_ended_is_not_suspended(capsys: pytest.CaptureFixture[str]) -> None:
    api = with_demo(stage="Succeeded")
    cluster_status.stop_on_cluster(cluster_of(api), "demo")
    assert not api.writes
    assert "demo has ended: Succeeded" in capsys.readouterr().out
