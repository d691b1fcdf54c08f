"""kopf around the reconciler: it watches, and what it sees becomes names in the queue. Called by `__main__`.

kopf's own timers, daemons and deletion handlers put finalizers on everything; plain events do not.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import kopf
import structlog

from stillhouse.controller.cluster.jobs import MANAGED
from stillhouse.controller.cluster.metrics import ControllerMetrics
from stillhouse.controller.cluster.queue import WorkQueue
from stillhouse.controller.cluster.students import student_name
from stillhouse.errors import TemporaryError

Name = tuple[str, str]
"""Namespace and name of a Distillation."""

_WORKERS = 2
_log = structlog.get_logger("stillhouse.controller")


class Shell:
    """Watches Distillations and what they own; workers look at what changed."""

    def __init__(
        self, reconcile: Callable[[str, str], float | None], metrics: ControllerMetrics, *, workers: int = _WORKERS
    ) -> None:
        """`reconcile(namespace, name)` is one look; see Reconciler."""
        self._reconcile = reconcile
        self._metrics = metrics
        self._workers = workers
        self._queue: WorkQueue[Name] = WorkQueue()
        self._serve: dict[Name, tuple[str, str]] = {}
        """The student that each Distillation feeds, and what it says of serving."""

    def run(self, namespaces: list[str], *, stop: threading.Event, health_port: int) -> None:
        """Until `stop` is set. Raises what ends the watching before that."""
        watching = _Watching(self._registry(), namespaces, health_port, on_end=stop.set)
        threads = [threading.Thread(target=self._work, name=f"worker-{index}") for index in range(self._workers)]
        for thread in [watching, *threads]:
            thread.start()
        stop.wait()
        self._queue.close()
        watching.stop()
        for thread in [watching, *threads]:
            thread.join()
        if watching.error is not None:
            raise watching.error

    def _registry(self) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry)(_log_in)
        labels: dict[str, Any] = dict(MANAGED)
        kopf.on.event("stillhouse.dev", "v1alpha1", "distillations", registry=registry)(self._on_distillation)
        kopf.on.event("batch", "v1", "jobs", labels=labels, registry=registry)(self._on_owned)
        kopf.on.event("apps", "v1", "deployments", labels=labels, registry=registry)(self._on_owned)
        return registry

    async def _on_distillation(
        self, event: kopf.RawEvent, body: kopf.Body, namespace: str | None, name: str, **_: Any
    ) -> None:
        here = (namespace or "", name)
        self._queue.add(here)
        # A pin, a policy, a Distillation that goes: each concerns all who feed the same student.
        before = self._serve.pop(here, None)
        after = (
            None
            if event["type"] == "DELETED"
            else (student_name(body), json.dumps(body["spec"].get("serve"), default=dict))
        )
        if after is not None:
            self._serve[here] = after
        if before == after:
            return
        concerned = {wish[0] for wish in (before, after) if wish is not None}
        for other, (student, _wish) in self._serve.items():
            if other[0] == here[0] and student in concerned:
                self._queue.add(other)

    async def _on_owned(self, body: kopf.Body, namespace: str | None, **_: Any) -> None:
        for owner in body["metadata"].get("ownerReferences", []):
            if owner["kind"] == "Distillation":
                self._queue.add((namespace or "", owner["name"]))

    def _work(self) -> None:
        while (name := self._queue.get()) is not None:
            try:
                with self._metrics.look():
                    again = self._reconcile(*name)
            except TemporaryError as exc:
                seconds = self._queue.failed(name, retry_after_seconds=exc.retry_after_seconds)
                _log.warning("will look again", distillation="/".join(name), seconds=seconds, reason=exc.message)
            except Exception:
                seconds = self._queue.failed(name)
                _log.exception("looking failed", distillation="/".join(name), seconds=seconds)
            else:
                self._queue.done(name, again_seconds=again)


class _Watching(threading.Thread):
    """kopf in a thread of its own: in the main thread it would take the signals, and nobody else would hear of them."""

    def __init__(
        self, registry: kopf.OperatorRegistry, namespaces: list[str], health_port: int, *, on_end: Callable[[], None]
    ) -> None:
        super().__init__(name="watching")
        self.error: Exception | None = None
        self._registry = registry
        self._namespaces = namespaces
        self._health_port = health_port
        self._on_end = on_end
        self._stop_asked: Callable[[], object] = lambda: None
        self._started = threading.Event()

    def run(self) -> None:
        """Watches until `stop`."""
        # It warns of every start outside the main thread, which is where it has to be.
        logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)
        try:
            asyncio.run(self._watch())
        except Exception as exc:
            self.error = exc
        finally:
            self._started.set()
            self._on_end()

    def stop(self) -> None:
        """Asks it to end."""
        self._started.wait()
        with suppress(RuntimeError):  # its loop has ended already
            self._stop_asked()

    async def _watch(self) -> None:
        asked, loop = asyncio.Event(), asyncio.get_running_loop()
        self._stop_asked = lambda: loop.call_soon_threadsafe(asked.set)
        self._started.set()
        await kopf.operator(
            registry=self._registry,
            settings=_settings(),
            namespaces=self._namespaces,
            standalone=True,
            liveness_endpoint=f"http://0.0.0.0:{self._health_port}/healthz",
            stop_flag=asked,
        )


def _log_in(**given: Any) -> kopf.ConnectionInfo | None:
    """In a pod its service account, else the kubeconfig: as `KubernetesApi.connect` does."""
    return kopf.login_with_service_account(**given) or kopf.login_with_kubeconfig(**given)


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    # Looking for new kinds and namespaces takes rights on the whole cluster.
    settings.scanning.disabled = True
    settings.networking.request_timeout = 30
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 330
    return settings
