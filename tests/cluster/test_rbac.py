"""Who may do what, asked of the API server: controller, teacher and stages, in their own namespace and outside."""

from __future__ import annotations

import pytest
from kubernetes import client

from cluster_installation import Installation

pytestmark = pytest.mark.cluster

EVERYTHING = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
WRITES = ("create", "update", "patch", "delete", "deletecollection")
Rule = tuple[str, str, tuple[str, ...]]
"""Group, resource (with its subresource), verbs."""

CONTROLLER_MAY: list[Rule] = [
    ("stillhouse.dev", "distillations", ("get", "list", "watch", "patch")),
    ("stillhouse.dev", "distillations/status", ("patch", "update")),
    ("stillhouse.dev", "distillations/finalizers", ("update",)),
    ("batch", "jobs", ("create", "get", "list", "watch", "patch", "delete")),
    ("", "pods", ("get", "list", "watch")),
    ("apps", "deployments", ("get", "list", "watch", "create", "patch", "delete")),
    ("", "services", ("get", "list", "watch", "create", "patch", "delete")),
    ("policy", "poddisruptionbudgets", ("get", "list", "watch", "create", "patch", "delete")),
    ("", "events", ("create", "patch")),
    ("kueue.x-k8s.io", "workloads", ("get", "list")),
]
CONTROLLER_MAY_NOT: list[Rule] = [
    ("stillhouse.dev", "distillations", ("create", "update", "delete", "deletecollection")),
    ("", "secrets", EVERYTHING),
    ("", "configmaps", EVERYTHING),
    ("", "serviceaccounts", (*EVERYTHING, "impersonate")),
    ("", "serviceaccounts/token", ("create",)),
    ("", "pods", WRITES),
    ("", "pods/exec", ("create", "get")),
    ("", "pods/attach", ("create", "get")),
    ("", "pods/portforward", ("create", "get")),
    ("", "pods/log", ("get",)),
    ("", "pods/ephemeralcontainers", ("update", "patch")),
    ("", "pods/eviction", ("create",)),
    ("", "services/proxy", ("get", "create")),
    ("", "persistentvolumeclaims", EVERYTHING),
    ("batch", "cronjobs", EVERYTHING),
    ("apps", "daemonsets", EVERYTHING),
    ("apps", "statefulsets", EVERYTHING),
    ("rbac.authorization.k8s.io", "roles", (*WRITES, "escalate")),
    ("rbac.authorization.k8s.io", "rolebindings", (*WRITES, "bind")),
    ("networking.k8s.io", "networkpolicies", EVERYTHING),
]
CLUSTER_WIDE: list[Rule] = [
    ("", "nodes", EVERYTHING),
    ("", "nodes/proxy", ("get", "create")),
    ("", "namespaces", EVERYTHING),
    ("", "persistentvolumes", EVERYTHING),
    ("apiextensions.k8s.io", "customresourcedefinitions", EVERYTHING),
    ("rbac.authorization.k8s.io", "clusterroles", (*WRITES, "escalate", "bind")),
    ("rbac.authorization.k8s.io", "clusterrolebindings", WRITES),
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations", EVERYTHING),
    ("certificates.k8s.io", "certificatesigningrequests", EVERYTHING),
    ("stillhouse.dev", "distillations", EVERYTHING),
    ("batch", "jobs", EVERYTHING),
    ("", "pods", EVERYTHING),
    ("", "secrets", EVERYTHING),
]
OTHER_NAMESPACES = ("default", "kube-system")


def allowed(installation: Installation, account: str, rules: list[Rule], namespace: str) -> set[str]:
    """Of what the rules name, what that account may do; an empty namespace stands for all of them."""
    reviews = client.AuthorizationV1Api(installation.core.api_client)
    found = set()
    for group, resource, verbs in rules:
        name, _, subresource = resource.partition("/")
        for verb in verbs:
            asked = {"group": group, "resource": name, "subresource": subresource, "verb": verb, "namespace": namespace}
            review = reviews.create_subject_access_review(
                {
                    "apiVersion": "authorization.k8s.io/v1",
                    "kind": "SubjectAccessReview",
                    "spec": {
                        "user": f"system:serviceaccount:{installation.namespace}:{account}",
                        "groups": [
                            "system:serviceaccounts",
                            f"system:serviceaccounts:{installation.namespace}",
                            "system:authenticated",
                        ],
                        "resourceAttributes": asked,
                    },
                }
            )
            if review.status.allowed:
                found.add(f"{verb} {resource} ({group or 'core'})")
    return found


def named(rules: list[Rule]) -> set[str]:
    return {f"{verb} {resource} ({group or 'core'})" for group, resource, verbs in rules for verb in verbs}


def test_the_controller_may_do_its_work_in_its_namespace(installation: Installation) -> None:
    assert allowed(installation, "stillhouse-controller", CONTROLLER_MAY, installation.namespace) == named(
        CONTROLLER_MAY
    )


def test_the_controller_may_do_nothing_else_there(installation: Installation) -> None:
    assert allowed(installation, "stillhouse-controller", CONTROLLER_MAY_NOT, installation.namespace) == set()


@pytest.mark.parametrize("namespace", OTHER_NAMESPACES)
def test_the_controller_may_do_nothing_in_another_namespace(installation: Installation, namespace: str) -> None:
    assert allowed(installation, "stillhouse-controller", CONTROLLER_MAY + CONTROLLER_MAY_NOT, namespace) == set()


@pytest.mark.parametrize("account", ["stillhouse-controller", "stillhouse-teacher", "stillhouse-stage"])
def test_nobody_may_do_anything_in_the_whole_cluster(installation: Installation, account: str) -> None:
    assert allowed(installation, account, CLUSTER_WIDE, namespace="") == set()


@pytest.mark.parametrize("account", ["stillhouse-teacher", "stillhouse-stage"])
def test_teachers_and_stages_may_do_nothing_at_all(installation: Installation, account: str) -> None:
    for namespace in (installation.namespace, *OTHER_NAMESPACES):
        assert allowed(installation, account, CONTROLLER_MAY + CONTROLLER_MAY_NOT, namespace) == set()
