"""Jobs of one Distillation in one namespace: started, stopped, observed. It decides nothing; plan() does.

Made anew for every look by the reconciler. What it knows, it reads from the cluster.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog
from google.protobuf import json_format
from google.protobuf.any_pb2 import Any as AnyMessage

from stillhouse.artifacts.store import Store
from stillhouse.controller.cluster.api import JOBS, PODS, WORKLOADS, Conflict, KubernetesApi
from stillhouse.controller.cluster.jobs import (
    SELECTOR,
    TEMPLATE_ANNOTATION,
    Owner,
    job_for,
    student_address,
    ttl_patch,
)
from stillhouse.controller.cluster.observing import Seen, pods_by_job, queue_note, see
from stillhouse.controller.cluster.settings import Settings
from stillhouse.controller.plan import Observation, PlannedStep
from stillhouse.controller.requests import located
from stillhouse.errors import StillhouseError
from stillhouse.spec.models import DistillationSpec

Json = dict[str, Any]

_log = structlog.get_logger("stillhouse.controller")


class ClusterBackend:
    """See the module."""

    def __init__(
        self,
        api: KubernetesApi,
        namespace: str,
        owner: Owner,
        spec: DistillationSpec,
        settings: Settings,
        store: Store,
        *,
        now: float,
        trace_parent: str = "",
    ) -> None:
        """Looks at the namespace once, at `now`. Raises what the API raises."""
        self._api = api
        self._namespace = namespace
        self._owner = owner
        self._spec = spec
        self._settings = settings
        self._store = store
        self._trace_parent = trace_parent
        self._bodies = {job["metadata"]["name"]: job for job in api.list(JOBS, namespace, labels=SELECTOR)}
        pods = pods_by_job(api.list(PODS, namespace, labels=SELECTOR)) if self._bodies else {}
        self.acted = False
        """Whether anything was written: then another look is due."""
        seen = [see(job, pods.get(job["metadata"]["uid"], []), now=now) for job in self._bodies.values()]
        self._jobs = {job.key: job for job in seen}

    @property
    def own(self) -> Mapping[str, Seen]:
        """The Jobs that this Distillation owns, by key; others own some of them too."""
        return {key: job for key, job in self._jobs.items() if self._owner.uid in job.owners}

    def observe(self) -> Mapping[str, Observation]:
        """See Backend. A Job that only others want is none of ours, until we start it."""
        return {key: job.observation for key, job in self.own.items()}

    def start(self, step: PlannedStep) -> None:
        """Makes the Job; joins its owners where it is under way already; makes it anew where it has ended."""
        there = self._jobs.get(step.key)
        self.acted = True
        if there is not None and there.observation.running:
            self._own(there)
            return
        attempt = there.observation.attempts + 1 if there is not None and self._owner.uid in there.owners else 1
        if there is not None:
            # Its name is free only once it is gone; the next look makes it.
            self._api.delete(JOBS, self._namespace, there.name, uid=there.uid)
            _log.info("job forgotten", job=there.name, namespace=self._namespace)
        self._put_request(step)
        job = self._job(step, attempt)
        try:
            self._api.create(JOBS, self._namespace, job)
        except Conflict:
            return  # made meanwhile, or not gone yet: the next look sees which
        _log.info("job made", job=job["metadata"]["name"], namespace=self._namespace, distillation=self._owner.name)

    def stop(self, key: str) -> None:
        """Leaves the Job to its other owners; a Job without any is asked to save a checkpoint and stop."""
        job = self._jobs.get(key)
        if job is None or job.state == "stopping":
            return
        self.acted = True
        others = [
            reference
            for reference in self._bodies[job.name]["metadata"].get("ownerReferences", [])
            if reference["uid"] != self._owner.uid
        ]
        if others:
            self._patch_owners(job, others)
            return
        self._api.delete(JOBS, self._namespace, job.name, foreground=True, uid=job.uid)
        _log.info("job stopped", job=job.name, namespace=self._namespace)

    def forget_outdated(self, step: PlannedStep) -> None:
        """Deletes a Job that would be made otherwise now, if it failed or does not get going: it is made anew.

        Of those who share a Job only the first does so; two with other resources would replace it for ever.
        """
        job = self._jobs.get(step.key)
        if job is None or job.state not in ("failed", "pending", "queued") or job.owners[:1] != (self._owner.uid,):
            return
        if self._job(step, 1)["metadata"]["annotations"][TEMPLATE_ANNOTATION] == job.template:
            return
        self.acted = True
        # What has not failed may just start: its name is free once its pod is gone.
        self._api.delete(JOBS, self._namespace, job.name, foreground=job.state != "failed", uid=job.uid)
        _log.info("job is to be made otherwise", job=job.name, namespace=self._namespace, state=job.state)

    def let_go(self, key: str) -> None:
        """The manifest of a finished Job was read: Kubernetes may delete it after an hour."""
        job = self._jobs.get(key)
        if job is not None and job.state in ("succeeded", "failed") and not job.has_ttl:
            self._api.patch(JOBS, self._namespace, job.name, ttl_patch())

    def note(self, key: str) -> tuple[str, str]:
        """State and words of a Job for a person; both empty where there is none."""
        job = self.own.get(key)
        if job is None:
            return "", ""
        if job.state == "queued" and self._spec.queue:
            why = self._queue_note(job)
            return job.state, f"{job.note}: {why}" if why else job.note
        return job.state, job.note

    def job_name(self, key: str) -> str:
        """Of the Job of that key; empty where there is none."""
        job = self.own.get(key)
        return job.name if job is not None else ""

    def _own(self, job: Seen) -> None:
        if self._owner.uid not in job.owners:
            references = self._bodies[job.name]["metadata"].get("ownerReferences", [])
            self._patch_owners(job, [*references, self._owner.reference()])

    def _patch_owners(self, job: Seen, references: list[Json]) -> None:
        version = self._bodies[job.name]["metadata"]["resourceVersion"]
        body = {"metadata": {"resourceVersion": version, "ownerReferences": references}}
        self._api.patch(JOBS, self._namespace, job.name, body)

    def _job(self, step: PlannedStep, attempt: int) -> Json:
        return job_for(
            step,
            self._spec,
            self._settings,
            owner=self._owner,
            store_uri=self._store.uri,
            request_uri=f"{self._store.uri}/{_request_path(step.key)}",
            attempt=attempt,
            trace_parent=self._trace_parent,
        )

    def _put_request(self, step: PlannedStep) -> None:
        if step.request is None:
            raise ValueError(f"step {step.name} has no request yet")
        packed = AnyMessage()
        packed.Pack(located(step.request, store_uri=self._store.uri, student_address=student_address(step)))
        self._store.put_object(_request_path(step.key), json_format.MessageToJson(packed, sort_keys=True).encode())

    def _queue_note(self, job: Seen) -> str:
        try:
            workloads = self._api.list(WORKLOADS, self._namespace, labels=f"kueue.x-k8s.io/job-uid={job.uid}")
        except StillhouseError:
            return ""  # a courtesy: without Kueue's leave to look there is no reason to give
        return queue_note(workloads[0]) if workloads else ""


def _request_path(key: str) -> str:
    return f"runs/{key}/request.json"
