"""One operation in the hands of a worker: whether it is still wanted, and how far it is."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from glance_api.background.inquiry import Inquiry
from glance_api.content.signatures import Verification
from glance_api.imports.contract import ImportFailed
from glance_api.services.collaborators import Services
from glance_api.services.store_errors import as_api_error
from glance_common.leases import Lease
from glance_common.model.context import RequestContext
from glance_common.model.errors import GlanceError, Gone, Unavailable
from glance_common.model.operation import Held, Operation
from glance_common.stores.contract import StoreError

DEFECT = "the service met an unexpected condition; its log has the details under the request id"

TELL_EVERY = 60.0
"""Seconds between two progress messages (API section 11.2)."""

_MIB = 1024 * 1024


class Stopped(Exception):
    """This process ends: the operation is given back to others."""


class Progress:
    """Counts copied bytes of all threads of an operation, and words the message about them."""

    def __init__(self) -> None:
        self._copied = 0
        self._told_at = float("-inf")
        self._lock = threading.Lock()

    def add(self, size: int) -> None:
        """Count ``size`` bytes more."""
        with self._lock:
            self._copied += size

    def message(self) -> str | None:
        """Return what to tell users now, None when they were told less than a minute ago."""
        with self._lock:
            if not self._copied or time.monotonic() - self._told_at < TELL_EVERY:
                return None
            self._told_at = time.monotonic()
            return f"Copied {self._copied // _MIB} MiB"


@dataclass(frozen=True, slots=True)
class Job:
    """What a flow works with: the operation, who asked for it, and whether to go on."""

    services: Services
    operation: Operation
    held: Held
    context: RequestContext
    lease: Lease
    progress: Progress
    inquiry: Inquiry
    stopping: Callable[[], bool]

    def check(self) -> None:
        """Raise Gone when the operation was ended from outside or taken over, Stopped when this process ends.

        Asks the registry about twice a second: a delete of the image does not wait for the next renewal (I7).
        """
        if self.stopping():
            raise Stopped
        self.inquiry()
        self.lease.check()

    @property
    def verification(self) -> Verification | None:
        """What the data of a signed image are verified with; None for the others.

        It was kept when the request was made; later changes of the image's properties have no effect.
        """
        kept = self.operation.signature
        return None if kept is None else Verification.from_document(kept)

    @property
    def image_id(self) -> str:
        """The image that the operation works on. Raises Gone when it has none."""
        if self.operation.image_id is None:
            raise Gone(f"the operation {self.operation.id} has no image")
        return self.operation.image_id

    def counted(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the pieces as long as the operation is wanted, and count them."""
        for piece in pieces:
            self.check()
            self.progress.add(len(piece))
            yield piece

    def is_failure(self, error: BaseException) -> bool:
        """Say whether ``error`` means that the work cannot be done. Other errors mean that the work is no longer
        wanted, that this process ends, that the registry is down, or that there is a defect."""
        if self.lease.lost is not None or not isinstance(error, ImportFailed | StoreError | GlanceError):
            return False
        # A store that does not answer has failed. A registry that does not answer decides nothing.
        return not isinstance(error, Unavailable) or isinstance(error.__cause__, StoreError)


def explain(error: BaseException) -> str:
    """Return what a task's message says of ``error``: never a path, an address or a secret (S-02)."""
    if isinstance(error, ImportFailed):
        return str(error)
    if isinstance(error, StoreError):
        return as_api_error(error, "the store").message
    if isinstance(error, GlanceError) and error.code != 500:
        return error.message
    return DEFECT
