"""`stillhouse run FILE --cluster`: uploads what the file names here, applies it, and follows it to its outcome."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from stillhouse.cli.cluster import Cluster, condition, explained
from stillhouse.cli.errors import say_error
from stillhouse.cli.tables import console, facts_table, remarks
from stillhouse.errors import EXIT_CHECK_FAILED, EXIT_DONE, EXIT_PERMANENT, EXIT_TEMPORARY

if TYPE_CHECKING:
    from stillhouse.controller.uploads import LocalSource, Upload
    from stillhouse.spec.models import Distillation

Json = dict[str, Any]

FIELD_MANAGER = "stillhouse-cli"


def run_on_cluster(cluster: Cluster, distillation: Distillation, *, store: str | None, follow: bool) -> int:
    """The exit code: as that of a run on this machine, and 0 for one that is only begun."""
    screen, name = console(), distillation.metadata.name
    body = submit(cluster, distillation, store=store, screen=screen)
    screen.print(f"run    {name} in namespace {cluster.namespace}", soft_wrap=True, markup=False)
    if not follow:
        print_ways(screen, cluster, name)
        return EXIT_DONE
    return follow_to_end(cluster, body["metadata"]["name"], screen)


def submit(cluster: Cluster, distillation: Distillation, *, store: str | None, screen: Console) -> Json:
    """Uploads and applies; the object as the cluster has it.

    Raises what the uploads, the store and the cluster raise.
    """
    from stillhouse.controller.cluster.api import DISTILLATIONS
    from stillhouse.controller.uploads import document_of, local_sources

    spec = distillation.spec
    sources = local_sources(spec, Path.cwd())
    uploads = _upload(cluster, distillation, sources, store, screen) if sources else []
    document = document_of(distillation, uploads)
    if store:
        from stillhouse.cli.cluster_store import store_uri

        document["spec"]["store"] = store_uri(cluster, flag=store, spec=None)
    # Said in any case: `stop` has set it, and the same command goes on.
    document["spec"]["suspend"] = spec.suspend
    document["metadata"]["namespace"] = cluster.namespace
    _remark_teacher_files(distillation)
    with explained(cluster):
        return cluster.api.apply(DISTILLATIONS, cluster.namespace, document, manager=FIELD_MANAGER)


def follow_to_end(cluster: Cluster, name: str, screen: Console) -> int:
    """Shows it until it has ended; Ctrl-C leaves it running. Returns the exit code."""
    from stillhouse.cli.cluster_follow import Follower
    from stillhouse.cli.progress import view_for
    from stillhouse.rpc.process import stop_on_signals

    with stop_on_signals() as stopping, view_for(screen) as view:
        ended = Follower(cluster, name, remarks()).follow(view, stopping.event)
    if ended is None:
        screen.print(f"\n{name} goes on in the cluster", markup=False)
        print_ways(screen, cluster, name)
        return stopping.exit_code
    return conclude(screen, cluster, ended)


def conclude(screen: Console, cluster: Cluster, body: Json) -> int:
    """Says how it ended; the exit code."""
    name, status = body["metadata"]["name"], body["status"]
    match status["stage"]:
        case "Suspended":
            screen.print(f"run {name} is suspended (spec.suspend)", markup=False)
            print_resume(screen, cluster, name)
            return EXIT_DONE
        case "Invalid":
            say_error(f"{name}: {status.get('message', '')}")
            return EXIT_PERMANENT
        case "Failed":
            return _failed(cluster, name, status)
    screen.print()
    print_facts(screen, body)
    screen.print(f"\nchat with it:  stillhouse chat {name}{cluster.options}", markup=False, soft_wrap=True)
    screen.print(f"report:        stillhouse report {name}{cluster.options}", markup=False, soft_wrap=True)
    return EXIT_DONE if status["stage"] == "Succeeded" else EXIT_CHECK_FAILED


def print_facts(screen: Console, body: Json) -> None:
    """What came of it so far: records, score, gates, what is served, cost."""
    status, evaluated, serving = body.get("status", {}), condition(body, "Evaluated"), condition(body, "Serving")
    gap = f", gap {status['gap']} to the teacher" if "gap" in status else ""
    said = {
        "records": str(status["records"]) if "records" in status else "",
        "score": f"{status['score']}{gap}" if "score" in status else "",
        "gates": evaluated.get("message", "") if evaluated.get("status") == "True" else "",
        "served": _serving(serving) if serving.get("reason") != "NoModel" else "",
        "cost": f"${float(status['costUsd']):.2f}" if "costUsd" in status else "",
        "model": f"sha256:{status['modelSha256']}" if "modelSha256" in status else "",
    }
    screen.print(facts_table((name, words) for name, words in said.items() if words))
    stages = (body["spec"]["dataset"].get("teacher") or {}).get("stages", [])
    if "score" in status and any(stage.get("provider") == "emulator" for stage in stages):
        from stillhouse.cli.summary import EMULATED

        screen.print(EMULATED, markup=False, soft_wrap=True)


def print_ways(screen: Console, cluster: Cluster, name: str) -> None:
    """How to follow and to stop it."""
    screen.print(f"follow it:  stillhouse status {name} --watch{cluster.options}", markup=False, soft_wrap=True)
    screen.print(f"stop it:    stillhouse stop {name}{cluster.options}", markup=False, soft_wrap=True)


def print_resume(screen: Console, cluster: Cluster, name: str) -> None:
    """How a suspended one goes on."""
    kubectl = f"kubectl{f' --context {cluster.context}' if cluster.context else ''} -n {cluster.namespace}"
    screen.print(
        f"resume it:  stillhouse run FILE{cluster.options}\n"
        f'       or:  {kubectl} patch distillation {name} --type merge -p \'{{"spec":{{"suspend":false}}}}\'',
        markup=False,
        soft_wrap=True,
    )


def _upload(
    cluster: Cluster, distillation: Distillation, sources: Sequence[LocalSource], store: str | None, screen: Console
) -> list[Upload]:
    from stillhouse.cli.cluster_store import opened_store, store_uri
    from stillhouse.controller.runs import run_name
    from stillhouse.controller.uploads import remember, upload

    uri = store_uri(cluster, flag=store, spec=distillation.spec.store)
    uploads = []
    with opened_store(cluster, uri) as opened:
        screen.print(f"store  {uri}", soft_wrap=True, markup=False)
        for source in sources:
            made = upload(source, opened)
            uploads.append(made)
            size = f"{made.size_bytes / 1e6:,.1f} MB"
            screen.print(f"upload {source.uri}, {size}, as sha256:{made.sha256[:12]}", soft_wrap=True, markup=False)
        remember(opened, run_name(cluster.namespace, distillation.metadata.name), uploads)
    return uploads


def _remark_teacher_files(distillation: Distillation) -> None:
    for stage in distillation.spec.teacher_stages:
        if stage.import_ is None and stage.provider == "gguf":
            remarks().print(
                f"the teacher {stage.model} is a file, which is not uploaded: the pod of stage generate must find it "
                "there (spec.resources.generate.podPatch mounts a volume)",
                markup=False,
                soft_wrap=True,
            )


def _failed(cluster: Cluster, name: str, status: Json) -> int:
    from stillhouse.controller.plan import GAVE_UP

    failed = [step for step in status.get("steps", []) if step["state"] == "failed"]
    for step in failed:
        say_error(f"{step['name']}: {step.get('message', '')}")
        say_error(f"its log: stillhouse logs {name} {step['name']}{cluster.options}")
    temporary = bool(failed) and all(f"({GAVE_UP} " in step.get("message", "") for step in failed)
    return EXIT_TEMPORARY if temporary else EXIT_PERMANENT


def _serving(serving: Json) -> str:
    message = serving.get("message", "")
    if serving.get("status") == "True":
        return f"yes: {message}" if message else "yes"
    if serving.get("reason") == "RollingOut":
        return f"soon: {message}"
    return message if serving.get("status") == "Unknown" else f"no: {message}"
