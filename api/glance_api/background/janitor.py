"""The staging stores of this node, kept clean: no other node can reach them (lifecycle section 5, S-78).

Also what this process could not tell stores before.
"""

import logging
import re
import time
from collections.abc import Callable
from uuid import uuid4

from glance_api.imports.work import sweep_work
from glance_api.services import access
from glance_api.services.collaborators import Services
from glance_common.leases import LeaseKeeper
from glance_common.model.context import RequestContext, system_context
from glance_common.model.errors import NotFound, Unavailable, is_row_held
from glance_common.observability.log_context import working_for
from glance_common.purge import NEVER, Outcome, Purger, Verdict, error_text
from glance_common.stores.contract import StoreError

LOG = logging.getLogger(__name__)

BATCH = 100
"""Removals between two looks for operations."""

LEASE = 60
"""Seconds that a claim on staged bytes lasts: their removal is one unlink."""

RETRY_AFTER = 60.0
"""Seconds until what failed is tried again."""

WORK_EVERY = 30.0
"""Seconds between two looks for work folders of dead processes. One look at the start is not enough: workers that a
reload replaces go on for a while, and may be killed after their successors have looked."""

_UUID = r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
_RESIDUE = re.compile(rf"({_UUID})(\.[^/]+)?")


class Janitor:
    """Removes what is due in the staging stores, what dead imports left, once also what no record knows.

    Gives signs of life, and mends lists.
    """

    def __init__(self, services: Services, stopping: Callable[[], bool]) -> None:
        self._services = services
        self._stopping = stopping
        self._stores = {store.id: store for store in (services.staging, services.task_store)}
        self._purger = Purger(
            services.registry.deletions, self._stores.__getitem__, _later, LeaseKeeper(LEASE)
        )
        self._sweep_at = dict.fromkeys(self._stores, float("-inf"))
        self._work_at = float("-inf")
        self._told_of_work: dict[str, dict[str, str]] = {}

    def __call__(self) -> None:
        """Do what is to be done now. Raises GlanceError when the registry does not answer."""
        for store in [store for store, due in self._sweep_at.items() if due <= time.monotonic()]:
            self._sweep_at[store] = float("inf") if self._sweep(store) else time.monotonic() + RETRY_AFTER
        if self._work_at <= time.monotonic():
            self._work_at = time.monotonic() + WORK_EVERY
            for store in self._stores:
                self._sweep_work(store)
        context = system_context(f"req-{uuid4()}")
        if self._services.work.keeps:
            # All workers may be busy for longer than others wait for this process.
            work = self._services.work
            work.forget_all_but(self._services.registry.operations.alive(context, work.process))
        access.mend(self._services, context, self._stopping)
        due = self._services.registry.deletions.due(context, limit=BATCH, stores=list(self._stores))
        for location in due.locations:
            if self._stopping():
                return
            self._purge(context, location)

    def _purge(self, context: RequestContext, location: str) -> None:
        try:
            purged = self._purger.purge(context, location, str(uuid4()), stores=list(self._stores))
        except Unavailable as error:
            if not is_row_held(error):
                raise
            # A later round will meet it; the others need not wait for that.
            LOG.warning("the staged data at location %s are not removed now: %s", location, error.message)
            return
        if purged is None:
            return
        with working_for(purged.deletion.request_id or context.request_id):
            if purged.outcome is Outcome.RETRY:
                LOG.error(
                    "staged data of image %s cannot be removed now: %s", purged.deletion.image_id, purged.verdict.error
                )
            elif purged.outcome is Outcome.NOT_OURS:
                LOG.debug("another process has removed the staged data %s as well", purged.deletion.key)

    def _sweep(self, store: str) -> bool:
        """Remove files named after images that are gone; False when it was not possible.

        A directory that is down or exchanged is left alone: the files in another one are not ours.
        """
        directory = self._stores[store].directory
        try:
            self._stores[store].check()
            files = [path for path in directory.iterdir() if _RESIDUE.fullmatch(path.name)]
        except StoreError as error:
            LOG.warning("the staging directory cannot be looked through: %s", error)
            return False
        except OSError as error:
            LOG.warning("the staging directory %s cannot be looked through: %s", directory, error.strerror)
            return False
        for path in files:
            # One that cannot be removed must not keep this process from its operations.
            try:
                if path.is_file() and not path.is_symlink() and self._is_gone(path.name[:36].lower()):
                    path.unlink(missing_ok=True)
                    LOG.info("removed %s from the staging directory: its image is gone", path.name)
            except OSError as error:
                LOG.warning("%s cannot be removed from the staging directory: %s", path.name, error.strerror)
        return True

    def _sweep_work(self, store: str) -> None:
        """Remove the work folders of dead processes, unless the directory is down or exchanged.

        A reason why something cannot be removed is logged when it is new, not at every look.
        """
        directory = self._stores[store].directory
        try:
            self._stores[store].check()
            failed = {
                name: f"the work folder {name} of a dead import in {directory} cannot be removed: {reason}"
                for name, reason in sweep_work(directory).failed.items()
            }
        except StoreError as error:
            failed = {"": f"work folders of dead imports cannot be looked for: {error}"}
        except OSError as error:
            failed = {"": f"work folders of dead imports in {directory} cannot be removed: {error.strerror}"}
        told = self._told_of_work.get(store, {})
        for name, text in failed.items():
            if told.get(name) != text:
                LOG.warning("%s", text)
        self._told_of_work[store] = failed

    def _is_gone(self, image_id: str) -> bool:
        try:
            self._services.registry.images.get(system_context(f"req-{uuid4()}"), image_id)
        except NotFound:
            return True
        return False


def _later(error: Exception, _attempts: int) -> Verdict:
    """Never give up: the directory comes back, or the operator is told every time."""
    return Verdict(Outcome.RETRY, error_text(error), RETRY_AFTER, NEVER)
