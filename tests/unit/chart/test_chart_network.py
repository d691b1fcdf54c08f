"""Which pod may reach which port: computed from the rendered NetworkPolicies, as a cluster enforces them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest

from rendered_chart import CHART, Json, Peer, may_connect, needs_helm, of_kind, outside, pod, rendered

pytestmark = needs_helm

OWN = "stillhouse"
JOB = {"name": "stillhouse", "managed-by": "stillhouse-controller"}
CHART_POD = {"name": "stillhouse", "instance": "stillhouse"}
STAGES = {
    "generate": "teacher-generator",
    "dataset": "dataset-builder",
    "base": "trainer",
    "train": "trainer",
    "export": "exporter",
    "optimize": "optimizer",
    "evaluate": "evaluator",
}
SERVICES = ("scorer", "dataset-builder", "teacher-generator", "trainer", "exporter", "evaluator", "optimizer")


def chart_pod(component: str) -> Peer:
    return pod(OWN, component=component, **CHART_POD)


def stage_pod(stage: str, namespace: str = OWN) -> Peer:
    return pod(namespace, component=STAGES[stage], **{"stillhouse.dev/stage": stage}, **JOB)


def student_pod(namespace: str = OWN) -> Peer:
    return pod(namespace, component="student-inference", **{"stillhouse.dev/student": "demo"}, **JOB)


def actors(namespace: str) -> dict[str, Peer]:
    """Everyone, by a short name."""
    return {
        "controller": chart_pod("controller"),
        "install-test": chart_pod("install-test"),
        "emulator": chart_pod("vertex-emulator"),
        "store": chart_pod("object-store"),
        **{f"{name} service": chart_pod(name) for name in SERVICES},
        **{stage: stage_pod(stage, namespace) for stage in STAGES},
        "student": student_pod(namespace),
        "client": pod("app", **{"stillhouse.dev/client": "true"}),
        "stranger": pod("app"),
        "prometheus": pod("monitoring"),
        "dns": dns_pod(),
        "anywhere": outside("203.0.113.7"),
        "metadata": outside("169.254.169.254"),
    }


def dns_pod() -> Peer:
    return Peer("kube-system", {"k8s-app": "kube-dns"}, {"kubernetes.io/metadata.name": "kube-system"})


PORTS = (53, 80, 443, 6443, 7070, 8080, 9090, 50051)


def open_connections(policies: Sequence[Json], people: dict[str, Peer]) -> set[tuple[str, str, int]]:
    """Every way that is open and touches a pod of ours."""
    ours = {name for name, peer in people.items() if peer.labels.get("app.kubernetes.io/name") == "stillhouse"}
    return {
        (source, target, port)
        for (source, target), port in itertools.product(itertools.permutations(people, 2), PORTS)
        if {source, target} & ours
        and not people[source].address
        and may_connect(policies, people[source], people[target], port)
    }


def expected(*rows: tuple[Sequence[str], Sequence[str], int]) -> set[tuple[str, str, int]]:
    return {
        (source, target, port)
        for sources, targets, port in rows
        for source in sources
        for target in targets
        if source != target
    }


OURS_WITH_POLICIES = [
    "controller",
    "install-test",
    "emulator",
    "store",
    *(f"{name} service" for name in SERVICES),
    *STAGES,
    "student",
]
ASKERS = [
    "generate",
    "optimize",
    "evaluate",
    *(f"{name} service" for name in ("teacher-generator", "evaluator", "optimizer")),
]
STORE_USERS = [
    "controller",
    "install-test",
    "student",
    *STAGES,
    *(f"{name} service" for name in SERVICES if name != "scorer"),
]
MEASURED = ["controller", "emulator", "student", *STAGES, *(f"{name} service" for name in SERVICES)]
SERVED = [f"{name} service" for name in SERVICES]


# What no policy of ours isolates: without an address of teacher and API server, their ports are open to all of it.
FOREIGN = ["client", "stranger", "prometheus", "dns", "anywhere", "metadata"]


def quickstart_table() -> set[tuple[str, str, int]]:
    """All that may be reached where store and emulator are the chart's own."""
    return expected(
        (OURS_WITH_POLICIES, ["dns"], 53),
        (STORE_USERS, ["store"], 7070),
        (ASKERS, ["emulator"], 8080),
        (ASKERS, FOREIGN, 443),
        (["controller", "install-test"], FOREIGN, 443),
        (["controller", "install-test"], FOREIGN, 6443),
        (["client", "stranger", "prometheus", "dns"], ["student"], 50051),
        (ASKERS, ["student"], 50051),
        (["client"], SERVED, 50051),
        (["install-test"], ["scorer service"], 50051),
        (["prometheus"], MEASURED, 9090),
    )


def test_with_store_and_emulator_inside_exactly_these_ways_are_open() -> None:
    policies = of_kind(rendered(CHART / "ci" / "quickstart.yaml"), "NetworkPolicy")
    assert open_connections(policies, actors(OWN)) == quickstart_table()


def test_stages_in_another_watched_namespace_have_the_same_ways() -> None:
    policies = of_kind(rendered(CHART / "ci" / "quickstart.yaml", "namespaces={team-a}"), "NetworkPolicy")
    assert open_connections(policies, actors("team-a")) == quickstart_table()


def test_stages_in_a_namespace_that_is_not_watched_reach_neither_store_nor_emulator() -> None:
    policies = of_kind(rendered(CHART / "ci" / "quickstart.yaml"), "NetworkPolicy")
    stage = stage_pod("generate", "elsewhere")
    assert not may_connect(policies, stage, chart_pod("object-store"), 7070)
    assert not may_connect(policies, stage, chart_pod("vertex-emulator"), 8080)


def test_an_outside_store_is_reached_by_those_that_use_it_and_a_teacher_by_those_that_ask() -> None:
    policies = of_kind(rendered(CHART / "ci" / "google.yaml"), "NetworkPolicy")
    people = actors(OWN)
    secure = {name for name, peer in people.items() if may_connect(policies, peer, outside("203.0.113.7"), 443)}
    assert secure & set(OURS_WITH_POLICIES) == set(STORE_USERS)
    identity = {name for name, peer in people.items() if may_connect(policies, peer, outside("169.254.169.254"), 80)}
    assert identity & set(OURS_WITH_POLICIES) == set(STORE_USERS)


def test_everything_that_is_named_narrowly_is_narrow() -> None:
    policies = of_kind(rendered(CHART / "ci" / "everything.yaml"), "NetworkPolicy")
    train, generate, student = stage_pod("train", "team-a"), stage_pod("generate", "team-a"), student_pod("team-b")
    minio, collector = pod("storage"), pod("observability")
    inside, public = outside("10.1.2.3"), outside("203.0.113.7")
    product, other = pod("app", {"team": "product"}), pod("app")
    for source, target, port, is_open in [
        (train, minio, 9000, True),
        (train, minio, 443, False),
        (train, public, 443, True),  # the hub
        (train, inside, 443, False),
        (generate, public, 3128, True),
        (generate, inside, 3128, False),
        (stage_pod("export", "team-a"), public, 443, False),
        (train, collector, 4317, True),
        (chart_pod("controller"), public, 6443, False),
        (chart_pod("controller"), outside("10.96.0.1"), 6443, True),
        (product, student, 50051, True),
        (other, student, 50051, False),
        (student, train, 50051, False),
        (collector, student, 9090, True),
        (pod("monitoring"), student, 9090, False),
    ]:
        assert may_connect(policies, source, target, port) is is_open, (source, target, port)


@pytest.mark.parametrize("stage", STAGES)
def test_no_one_may_open_a_connection_to_a_stage_but_for_metrics(stage: str) -> None:
    policies = of_kind(rendered(CHART / "ci" / "quickstart.yaml"), "NetworkPolicy")
    people = actors(OWN)
    for name, port in itertools.product(people, PORTS):
        if name != stage and (name, port) != ("prometheus", 9090):
            assert not may_connect(policies, people[name], people[stage], port), (name, port)


def test_without_the_switch_there_is_no_policy() -> None:
    assert of_kind(rendered(CHART / "ci" / "minimal.yaml"), "NetworkPolicy") == []
