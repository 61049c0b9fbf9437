"""Keeps a claim alive while a removal takes its time."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context

from glance_common.model.context import RequestContext
from glance_common.model.errors import GlanceError, Gone
from glance_common.model.image import Deletion
from glance_common.registry_client.deletions import DeletionsClient

LOG = logging.getLogger(__name__)


@contextmanager
def renewed(deletions: DeletionsClient, context: RequestContext, deletion: Deletion, lease: int) -> Iterator[None]:
    """Renew the claim three times within its ``lease`` seconds, as long as the block runs.

    A lease lost nevertheless is no reason to stop: whoever claims the row then removes the same bytes.
    """
    over = threading.Event()

    def run() -> None:
        while not over.wait(lease / 3):
            try:
                deletions.renew(context, deletion.location, deletion.token, lease=lease)
            except Gone:
                if not over.is_set():
                    LOG.warning("the claim on location %s ran out before the removal ended", deletion.location)
                return
            except GlanceError as error:
                if not over.is_set():
                    LOG.warning("the claim on location %s was not renewed: %s", deletion.location, error)
            except Exception:
                LOG.exception("the claim on location %s was not renewed", deletion.location)

    # With the context variables of this thread: the lines carry its request id.
    threading.Thread(target=copy_context().run, args=(run,), name="claim-lease", daemon=True).start()
    try:
        yield
    finally:
        over.set()
