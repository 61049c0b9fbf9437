"""The work folder of one import, and the room that its owner's quotas and the disk have for what is made there (S-40).

What a plugin makes lies in the staging directory until the stores have it, so it counts as staged data; and it is to
become the data of the image, so the quota of stored data must have room for it too. For each of the two an attempt in
the staging store holds a reservation, which grows in steps before the bytes are written. No data are ever under the
keys of these attempts: their end, or their lease when this process dies, gives the room back.
"""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import uuid4

from glance_api.background.flows.places import directory_of
from glance_api.background.job import Job
from glance_api.imports.output import NO_SPACE
from glance_api.imports.work import work_folder
from glance_api.services import attempts
from glance_api.services.collaborators import Staging
from glance_api.services.quotas import Reservation
from glance_common.model.errors import GlanceError, TooLarge
from glance_common.model.image import Image, Upload
from glance_common.model.limits import KINDS
from glance_common.registry_client.uploads import UploadStart

LOG = logging.getLogger(__name__)

STAGE, SIZE = "stage", "size"
"""The fields of ``Usage`` that count what is made: as staged data, and as data to be stored."""


@contextmanager
def work_room(job: Job, store: Staging, image: Image) -> Iterator["WorkRoom"]:
    """Make a work folder beside the staged data of ``image`` for the block; its room is given back after its files.

    Raises Unavailable when the staging directory is missing, exchanged, or cannot be written.
    """
    charges = {measure: _Charge(job, store, image, measure) for measure in (STAGE, SIZE)}
    try:
        with work_folder(directory_of(store)) as folder:
            yield WorkRoom(job, image, folder, charges)
    finally:
        for charge in charges.values():
            charge.end()


class WorkRoom:
    """What plugins may write; fulfils ``contract.Room`` for the one that runs."""

    def __init__(self, job: Job, image: Image, folder: Path, charges: Mapping[str, "_Charge"]) -> None:
        self.folder = folder
        self._job = job
        self._owner = image.owner
        self._charges = charges
        self._kept = 0
        self._spare = job.services.settings.imports.min_free_space

    def cover(self, size: int, *, wait: bool = True) -> None:
        """See the contract; ``size`` is that of the result of the plugin that runs."""
        self._check_disk()
        # An earlier result lies beside this one, but only one of them goes to the stores.
        self._charges[STAGE].cover(self._kept + size, wait=wait)
        self._charges[SIZE].cover(size, wait=wait)

    def left(self) -> int | None:
        """See the contract."""
        limits = self._job.services.limits.of(self._owner)
        limits = limits.about(*self._charges) if limits is not None else None
        if limits is None:
            return None
        used = self._job.services.registry.usage.of_owner(self._job.context, limits.owner)
        room: list[int] = []
        for name, value in limits.values.items():
            kind = KINDS[name]
            others = getattr(used, kind.measure) - self._charges[kind.measure].reserved
            room.append(value * kind.factor - others - (self._kept if kind.measure == STAGE else 0))
        return max(min(room), 0)

    def replace(self, old: Path, new: Path) -> None:
        """Go on with the result ``new`` in place of ``old``, which is removed unless it is the staged data."""
        if old.parent == self.folder:
            old.unlink()
        self._kept = new.stat().st_size

    def hand_over(self) -> None:
        """Let the attempts in the stores reserve for themselves what was reserved as data of the image."""
        self._charges[SIZE].end()

    def _check_disk(self) -> None:
        disk = os.statvfs(self.folder)
        free = disk.f_bavail * disk.f_frsize
        if free < self._spare:
            LOG.error("%s has %d free bytes, [import_tools] min_free_space is %d", self.folder, free, self._spare)
            raise TooLarge(NO_SPACE)


class _Charge:
    """The reservation of one measure of usage, made when it is needed first; nothing without limits."""

    def __init__(self, job: Job, store: Staging, image: Image, measure: str) -> None:
        self._job = job
        self._store = store
        self._image = image
        self._measure = measure
        self._is_begun = False
        self._upload: Upload | None = None
        self._reservation: Reservation | None = None
        self._kept_alive = ExitStack()

    @property
    def reserved(self) -> int:
        """The bytes that are reserved now."""
        return 0 if self._reservation is None else self._reservation.reserved

    def cover(self, size: int, *, wait: bool) -> None:
        """Reserve ``size`` bytes in all. Raises as ``Reservation.cover``."""
        if not self._is_begun:
            self._begin()
        if self._reservation is not None:
            self._reservation.cover(size, wait=wait)

    def _begin(self) -> None:
        job, services = self._job, self._job.services
        limits = services.limits.of(self._image.owner)
        if limits is not None and self._measure == SIZE:
            limits = limits.about(SIZE)
        if limits is not None:
            start = UploadStart(
                self._store.id, None, services.leases.seconds, staging=self._measure == STAGE, operation=job.held
            )
            upload = services.registry.uploads.start(
                job.context, self._image.id, str(uuid4()), start, limits=limits
            )
            self._kept_alive.enter_context(attempts.kept_alive(services, job.context, upload))
            self._upload = upload
            self._reservation = Reservation(services, job.context, upload, limits)
        self._is_begun = True

    def end(self) -> None:
        """Give everything back; what the registry does not take now it takes when the lease is over."""
        self._kept_alive.close()
        upload, self._upload, self._reservation = self._upload, None, None
        if upload is None:
            return
        registry, context = self._job.services.registry, self._job.context
        try:
            ended = registry.uploads.abort(context, upload.attempt)
            if ended is not None:
                registry.deletions.done(context, ended.location, ended.token)
        except GlanceError as error:
            LOG.warning("the reservation %s ends with its lease: %s", upload.attempt, error.message)
