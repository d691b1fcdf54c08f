"""The chart renders with every kind of installation, to objects that Kubernetes knows and its strictest rules admit."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from rendered_chart import (
    CHART,
    NAMESPACE,
    ROOT,
    VALUES_FILES,
    Json,
    needs_helm,
    of_kind,
    pod_specs,
    rendered,
    run_helm,
)
from stillhouse.controller.cluster.settings import Settings

pytestmark = needs_helm

EVERY_INSTALLATION = pytest.mark.parametrize("values", VALUES_FILES, ids=lambda path: path.stem)
EVERYTHING = CHART / "ci" / "everything.yaml"
QUICKSTART = CHART / "ci" / "quickstart.yaml"
# Of operators and of this chart itself: no schema of theirs comes with Kubernetes.
FOREIGN = {"ServiceMonitor", "PodMonitor", "PrometheusRule"}


@EVERY_INSTALLATION
def test_every_object_is_one_that_kubernetes_knows(values: Path) -> None:
    for entry in rendered(values):
        if entry["kind"] not in FOREIGN:
            kubernetes_validate.validate(entry, kubernetes_validate.latest_version(), strict=True)


@EVERY_INSTALLATION
def test_every_pod_is_as_the_restricted_standard_wants_it(values: Path) -> None:
    pods = list(pod_specs(rendered(values)))
    assert len(pods) >= 2
    for title, spec in pods:
        assert spec["securityContext"]["runAsNonRoot"] is True, title
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, title
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys(), title
        assert all(
            volume.keys() & {"emptyDir", "configMap", "secret", "persistentVolumeClaim"} for volume in spec["volumes"]
        )
        for container in [*spec["containers"], *spec.get("initContainers", [])]:
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False, title
            assert security["readOnlyRootFilesystem"] is True, title
            assert security["capabilities"] == {"drop": ["ALL"]}, title
            assert container["resources"]["limits"], title


@EVERY_INSTALLATION
def test_only_the_controller_and_the_install_test_have_a_token_of_the_api(values: Path) -> None:
    having = {
        title.rpartition("-")[2] for title, spec in pod_specs(rendered(values)) if spec["automountServiceAccountToken"]
    }
    assert having == {"controller", "test"}
    assert all(
        account["automountServiceAccountToken"] is False for account in of_kind(rendered(values), "ServiceAccount")
    )


@EVERY_INSTALLATION
def test_the_controller_understands_its_settings(values: Path) -> None:
    (config,) = [entry for entry in of_kind(rendered(values), "ConfigMap") if "settings.yaml" in entry["data"]]
    settings = Settings.model_validate(yaml.safe_load(config["data"]["settings.yaml"]))
    accounts = {
        (entry["metadata"]["namespace"], entry["metadata"]["name"])
        for entry in of_kind(rendered(values), "ServiceAccount")
    }
    for namespace in settings.namespaces:
        assert (namespace, settings.service_accounts.teacher) in accounts
        assert (namespace, settings.service_accounts.stage) in accounts


@EVERY_INSTALLATION
def test_whatever_an_object_refers_to_is_rendered_or_the_users_own(values: Path) -> None:
    objects = rendered(values)
    made = {(entry["kind"], entry["metadata"].get("namespace"), entry["metadata"]["name"]) for entry in objects}
    given = set(strings_in(yaml.safe_load(values.read_text())))
    for _, spec in pod_specs(objects):
        assert ("ServiceAccount", NAMESPACE, spec["serviceAccountName"]) in made
        for volume in spec["volumes"]:
            if "configMap" in volume:
                assert ("ConfigMap", NAMESPACE, volume["configMap"]["name"]) in made
            if "secret" in volume:
                assert volume["secret"]["secretName"] in given
        for container in spec["containers"]:
            for source in container.get("envFrom", []):
                name = source["secretRef"]["name"]
                assert name in given or ("Secret", NAMESPACE, name) in made


def strings_in(value: Any) -> Iterator[str]:
    if isinstance(value, dict | list):
        for entry in value.values() if isinstance(value, dict) else value:
            yield from strings_in(entry)
    elif isinstance(value, str):
        yield value


def leaves_of(value: Json, path: str = "") -> Iterator[str]:
    for key, entry in value.items():
        if isinstance(entry, dict) and entry:
            yield from leaves_of(entry, f"{path}{key}.")
        else:
            yield path + key


def test_the_values_files_use_every_switch() -> None:
    """A switch is a leaf named `enabled` or `install`."""
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    used = {leaf for path in VALUES_FILES for leaf in leaves_of(yaml.safe_load(path.read_text()))}
    switches = {leaf for leaf in leaves_of(defaults) if leaf.endswith((".enabled", ".install"))}
    assert switches - used == set()


FREE = {"resources", "requests", "limits", "labels", "annotations", "nodeSelector"}


def paths_of(node: Json, children: Callable[[Json], Json], path: str = "") -> set[str]:
    """Every path below `node`; what lies below a part that users fill as they like is left out."""
    found: set[str] = set()
    for key, entry in children(node).items():
        found.add(path + key)
        if key not in FREE and isinstance(entry, dict):
            found |= paths_of(entry, children, f"{path}{key}.")
    return found


def test_values_and_schema_name_the_same_things() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())

    def properties(node: Json) -> Json:
        if "$ref" in node:
            node = schema["definitions"][node["$ref"].rpartition("/")[2]]
        named: Json = node.get("properties", {})
        return named

    values = yaml.safe_load((CHART / "values.yaml").read_text())
    optional = {"global"}
    peers = re.compile(r"^networkPolicy\.\w+\.(from|to)\.")
    assert paths_of(values, lambda node: node) == {
        path for path in paths_of(schema, properties) - optional if not peers.match(path)
    }


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("contoller.replicas=0", "contoller"),
        ("controller.replicas=2", "replicas"),
        ("services.scorer.enabledd=true", "enabledd"),
        ("store.uri=file:///tmp", "uri"),
        ("store.accessKeyId=key", "secretAccessKey"),
        ("image.pullPolicy=Sometimes", "pullPolicy"),
        ("networkPolicy.teacher.port=443", "port"),
        ("networkPolicy.metrics.from[0].namespace=monitoring", "namespace"),
        ("jobs.resources.training.limits.cpu=1", "training"),
        ("rpc.clientCertificates=true", "tlsSecret"),
        ("emulator.faults=some", "faults"),
        ("namespaces={Team_A}", "namespaces"),
    ],
)
def test_a_typing_error_in_the_values_is_refused_by_name(setting: str, named: str) -> None:
    done = run_helm("template", "x", str(CHART), "--set", "store.uri=s3://bucket", "--set", setting)
    assert done.returncode != 0
    assert named in done.stderr


def test_an_installation_without_a_store_says_what_to_set() -> None:
    done = run_helm("template", "x", str(CHART))
    assert done.returncode != 0
    assert "set store.uri" in done.stderr


def test_a_change_of_settings_restarts_the_controller_and_nothing_else_does() -> None:
    def checksum(*settings: str) -> str:
        (deployment,) = of_kind(rendered(QUICKSTART, *settings), "Deployment", "stillhouse-controller")
        return str(deployment["spec"]["template"]["metadata"]["annotations"]["checksum/settings"])

    assert checksum() == checksum("services.scorer.enabled=false")
    assert checksum() != checksum("jobs.perDistillation=3")


def test_what_students_need_to_start_again_outlives_the_release() -> None:
    kept = {
        (entry["kind"], entry["metadata"]["name"])
        for entry in rendered(QUICKSTART)
        if entry["metadata"].get("annotations", {}).get("helm.sh/resource-policy") == "keep"
    }
    assert kept - {("CustomResourceDefinition", "distillations.stillhouse.dev")} == {
        ("ServiceAccount", "stillhouse-stage"),
        ("Secret", "stillhouse-store"),
        ("PersistentVolumeClaim", "stillhouse-object-store"),
    }


def test_no_secret_is_written_where_the_user_names_one() -> None:
    assert of_kind(rendered(EVERYTHING), "Secret") == []


def test_the_controller_has_rights_only_where_it_watches() -> None:
    objects = rendered(EVERYTHING)
    assert {role["metadata"]["namespace"] for role in of_kind(objects, "Role")} == {"team-a", "team-b"}
    # Only what adds Distillations to the roles that people have anyway.
    for role in of_kind(objects, "ClusterRole"):
        assert any("aggregate-to-" in label for label in role["metadata"]["labels"])
        assert {resource for rule in role["rules"] for resource in rule["resources"]} == {"distillations"}
    assert of_kind(objects, "ClusterRoleBinding") == []
    for binding in of_kind(objects, "RoleBinding"):
        assert binding["subjects"] == [
            {"kind": "ServiceAccount", "name": "stillhouse-controller", "namespace": NAMESPACE}
        ]


def test_every_right_has_its_reason() -> None:
    text = (CHART / "templates" / "rbac.yaml").read_text()
    rules = re.findall(r"(?:^  # .*\n)?^  - apiGroups:", text.partition("rules:")[2], re.MULTILINE)
    assert len(rules) >= 9
    assert all(rule.lstrip().startswith("#") for rule in rules)


def test_the_controller_may_not_read_secrets_logs_or_what_pods_do_inside() -> None:
    rules = of_kind(rendered(EVERYTHING), "Role")[0]["rules"]
    named = {resource for rule in rules for resource in rule["resources"]}
    assert not named & {"secrets", "pods/log", "pods/exec", "pods/portforward", "configmaps", "serviceaccounts", "*"}
    assert all("*" not in rule["verbs"] for rule in rules)


def test_queues_are_read_only_where_they_are() -> None:
    def groups(path: Path) -> set[str]:
        return {group for rule in of_kind(rendered(path), "Role")[0]["rules"] for group in rule["apiGroups"]}

    assert "kueue.x-k8s.io" in groups(EVERYTHING)
    assert "kueue.x-k8s.io" not in groups(QUICKSTART)


def test_the_charts_version_is_the_packages() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert chart["appVersion"] == project["version"]


def test_the_controller_changes_only_what_it_has_to() -> None:
    rules = of_kind(rendered(EVERYTHING), "Role")[0]["rules"]
    rights = {resource: set(rule["verbs"]) for rule in rules for resource in rule["resources"]}
    assert rights["distillations"] == {"get", "list", "watch", "patch"}
    assert rights["pods"] == {"get", "list", "watch"}
    assert rights["events"] == {"create", "patch"}


def test_alerts_and_dashboard_read_only_metrics_that_someone_writes() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "services" / "stillhouse").rglob("*.py"))
    (rule,) = of_kind(rendered(EVERYTHING), "PrometheusRule")
    expressions = [alert["expr"] for group in rule["spec"]["groups"] for alert in group["rules"]]
    dashboard = json.loads((CHART / "files" / "dashboard.json").read_text())
    expressions += [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    named = set(re.findall(r"\bstillhouse_(?!dev_)\w+", " ".join(expressions)))
    assert named
    for metric in named:
        assert re.sub(r"_(bucket|count|sum)$", "", metric) in sources, metric


def test_the_dashboard_is_what_grafanas_sidecar_finds() -> None:
    (config,) = of_kind(rendered(EVERYTHING), "ConfigMap", "stillhouse-dashboard")
    assert config["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(config["data"]["stillhouse.json"])["title"] == "Stillhouse"
