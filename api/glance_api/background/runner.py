"""Claims operations and runs them to an end that the registry knows: done, failed with a reason, or given back."""

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any
from uuid import uuid4

from glance_api.background import completion
from glance_api.background.inquiry import Inquiry
from glance_api.background.job import DEFECT, Job, Progress, Stopped, explain
from glance_api.background.shares import Shares
from glance_api.services.collaborators import Services
from glance_api.services.events import tasks
from glance_common.failpoints import failpoint
from glance_common.fetch import deadlines
from glance_common.leases import LeaseKeeper
from glance_common.model.context import RequestContext, system_context
from glance_common.model.errors import GlanceError, Gone, Unavailable
from glance_common.model.operation import Held, Operation, OperationKind
from glance_common.observability.log_context import working_for
from glance_common.observability.metrics.catalog import OPERATIONS, OPERATIONS_RUNNING

LOG = logging.getLogger(__name__)

Flow = Callable[[Job], tuple[str, dict[str, Any] | None]]
"""Does the work of one kind of operation; returns the message and the result of the task.

Raises ImportFailed, GlanceError or StoreError with a reason for users, and whatever ``Job.check`` raises.
"""


Claimed = tuple[Operation, Held]


class Operations:
    """Everything that one process does with operations; ``flows`` do the work of each kind."""

    def __init__(
        self, services: Services, flows: Mapping[OperationKind, Flow], *, lease: int, stopping: Callable[[], bool]
    ) -> None:
        self._services = services
        self._flows = flows
        self._stopping = stopping
        self._leases = LeaseKeeper(lease)
        self._shares = Shares(services.settings.imports.workers_per_project)

    def claim(self) -> Claimed | None:
        """Claim the oldest operation that this process can do, of projects that have not used up their share.

        None without one. The caller has to ``run`` or to ``leave`` what it gets. Raises GlanceError.
        """
        hosts = [self._services.staging.id]
        if self._services.work.keeps:
            hosts.insert(0, self._services.work.process)
        for host in hosts:
            token = str(uuid4())
            operation = self._services.registry.operations.claim(
                system_context(f"req-{uuid4()}"), token, host=host, lease=self._leases.seconds,
                without=self._shares.used_up(),
            )
            if operation is not None:
                self._shares.begin(operation.owner)
                return operation, Held(operation.id, token)
        return None

    def run(self, claimed: Claimed) -> None:
        """Work on a claimed operation and end it, unless it was ended by others; then all that it did is undone."""
        operation, held = claimed
        try:
            self._run(operation, held)
        finally:
            self._shares.end(operation.owner)

    def leave(self, claimed: Claimed) -> None:
        """Leave a claimed operation that cannot be run here to its lease; another claim takes it over then."""
        operation, _ = claimed
        self._shares.end(operation.owner)
        LOG.warning("operation %s is left to its lease: it cannot be run here now", operation.id)

    def _run(self, operation: Operation, held: Held) -> None:
        with working_for(operation.request_id):
            LOG.info("operation %s (%s) begins, attempt %d", operation.id, operation.kind, operation.attempts)
            progress, outcome, started = Progress(), "left", time.monotonic()
            OPERATIONS_RUNNING.labels(operation.kind.value).inc()
            context = operation.context()
            if operation.attempts == 1:
                tasks.begun(self._services, context, operation)
            try:
                renew = partial(self._renew, context, held, progress)
                with self._leases.keep(context, renew, f"operation {operation.id}") as lease:
                    failpoint("api.operation.claimed")
                    inquiry = Inquiry(self._services.registry.operations, operation.id, lease)
                    outcome = self._work(
                        Job(self._services, operation, held, context, lease, progress, inquiry, self._stopping)
                    )
            except GlanceError as error:
                self._leave(context, held, error)
            finally:
                OPERATIONS_RUNNING.labels(operation.kind.value).dec()
                OPERATIONS.labels(operation.kind.value, outcome).observe(time.monotonic() - started)

    def _renew(self, context: RequestContext, held: Held, progress: Progress) -> None:
        """Hold the operation for another lease and tell its progress. Raises Gone when it is over."""
        message = progress.message()
        if not self._services.registry.operations.renew(context, held, lease=self._leases.seconds, message=message):
            raise Gone("the image was deleted, or the task was ended by others")

    def _leave(self, context: RequestContext, held: Held, error: GlanceError) -> None:
        """Leave the operation to its lease: the worker that claims it then begins where the registry says it is.

        Until then its task says why it does not get on, where the registry can be told.
        """
        LOG.warning("operation %s is left to its lease: %s", held.operation, error.message)
        with suppress(GlanceError):
            self._services.registry.operations.renew(context, held, lease=self._leases.seconds, message=error.message)

    def _work(self, job: Job) -> str:
        """Run the flow and tell the registry how it ended; return that in a word, for the metrics.

        Raises GlanceError when the registry does not answer.
        """
        try:
            # Waits for other servers check the job too.
            with deadlines.within(still_wanted=job.check):
                message, result = self._flows[job.operation.kind](job)
        except Stopped:
            self._services.registry.operations.release(job.context, job.held)
            LOG.info("operation %s is given back: this process ends", job.operation.id)
            return "given_back"
        except Exception as error:
            return self._fail(job, error)
        failpoint("api.operation.before-finish")
        completion.finish(job, success=True, message=message, result=result)
        self._end(job, "success")
        return "success"

    def _fail(self, job: Job, error: Exception) -> str:
        if job.lease.lost is not None:
            LOG.info("operation %s is over: %s", job.operation.id, job.lease.lost.message)
            self._services.work.forget(job.operation.id)
            completion.ended_by_others(job)
            return "lost"
        if isinstance(error, Unavailable) and not job.is_failure(error):
            # A later try can succeed.
            raise error
        message = explain(error)
        if message == DEFECT:
            LOG.error("operation %s met a defect", job.operation.id, exc_info=error)
        completion.finish(job, success=False, message=message)
        self._end(job, f"failure: {message}")
        return "failure"

    def _end(self, job: Job, how: str) -> None:
        self._services.work.forget(job.operation.id)
        LOG.info("operation %s ends: %s", job.operation.id, how)
        # What was staged is to be removed now, by the housekeeping.
        self._services.work.wake()

