"""Data that wait on this node for the stores: where they come from, and what the plugins make of them."""

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from glance_api.background.flows.copies import SourceFailed
from glance_api.background.flows.places import directory_of
from glance_api.background.flows.room import WorkRoom
from glance_api.background.job import Job
from glance_api.content.formats import UNINSPECTED
from glance_api.content.signatures import Verification
from glance_api.content.streams import Received
from glance_api.imports.contract import ImageFacts, ImportChanges, ImportFailed, ImportSource, Plugin, Work
from glance_api.imports.inspection import inspect_file, unreadable
from glance_api.services import attempts
from glance_api.services.attempts import Data, Formats
from glance_api.services.collaborators import Staging
from glance_api.services.events import images
from glance_common.failpoints import failpoint
from glance_common.model.image import Image
from glance_common.model.limits import Limits
from glance_common.model.operation import StagedData
from glance_common.registry_client.uploads import UploadResult, UploadStart
from glance_common.stores.contract import Stored

PIECE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class StagedFile:
    """Staged data in a local file: ``size`` bytes that are declared to be of ``formats``.

    ``facts`` is what their source knows about the image; its properties are not written to the image yet.
    """

    path: Path
    size: int
    formats: Formats
    facts: ImportChanges = field(default_factory=ImportChanges)


@dataclass(frozen=True, slots=True)
class Ready:
    """Data ready for the stores: a local file and the image that it is the data of."""

    path: Path
    size: int
    image: Image


def staged_before(job: Job, store: Staging) -> StagedData | None:
    """Return what is in this node's ``store`` already, by the client or by an earlier attempt; None without."""
    mine = [data for data in job.operation.staged if data.store == store.id]
    return mine[-1] if mine else None


def download(
    job: Job, image: Image, store: Staging, opened: AbstractContextManager[ImportSource]
) -> tuple[StagedData, Image, ImportChanges]:
    """Stage what a source gives in ``store``; return it, ``image`` with what the source knows about it, and that.

    Of that only the formats are written now, without which no image has data. The rest is written by ``prepare``. The
    registry takes both back when the import fails. Raises ImportFailed, TooLarge.
    """
    operations = job.services.registry.operations
    with opened as source:
        # Data of an earlier attempt, maybe of another node, make room for these.
        changed = operations.unstage(job.context, job.held) if job.operation.staged else None
        formats = _document(replace(source.facts, properties={}))
        if formats or changed is None:
            changed = operations.update(job.context, job.held, formats)
            images.image_updated(job.services, job.context, changed)
        # An earlier attempt may have filled some of the stores.
        image = changed._replace(
            locations=image.locations, properties={**changed.properties, **source.facts.properties}
        )
        return _stage(job, store, image, source), image, source.facts


def _stage(job: Job, store: Staging, image: Image, source: ImportSource) -> StagedData:
    services, attempt, limits = job.services, str(uuid4()), job.services.limits.of(image.owner)
    start = UploadStart(store.id, source.announced, services.leases.seconds, staging=True, operation=job.held)
    begun = services.registry.uploads.start(job.context, image.id, attempt, start, limits=limits)
    data = Data(job.counted(source.pieces), source.announced, None, (), limits=limits)
    received = attempts.write(services, job.context, begun, store, data, partial(_commit, job, attempt, limits))
    failpoint("api.import.staged")
    return StagedData(begun.location.id, store.id, begun.location.key, received.size)


def _commit(job: Job, attempt: str, limits: Limits | None, stored: Stored, received: Received) -> None:
    result = UploadResult(received.size, stored.metadata)
    job.services.registry.uploads.commit(job.context, attempt, result, operation=job.held, limits=limits)


def prepare(
    job: Job, image: Image, file: StagedFile, room: WorkRoom, plugins: Sequence[Plugin], signed: Verification | None
) -> Ready:
    """Inspect staged data, let the plugins work on them; write down what these changed, and what the source knew.

    Nothing reads staged data before: neither a plugin, nor a tool, nor a store (S-34, S-39). The plugins may write in
    ``room``. Data of a signed image are not changed: its users verify them again. Raises ImportFailed, TooLarge,
    UnsupportedMediaType.
    """
    path, formats = file.path, file.formats
    if _size(path) != file.size:
        raise ImportFailed("the staged data are not complete any more; they have to be staged again")
    _inspect(job, path, formats)
    facts = ImageFacts(image.id, formats.disk, formats.container, image.properties, job.context.roles)
    all_changes = file.facts
    for plugin in plugins:
        job.check()
        changes = plugin.apply(facts, path, Work(room.folder, job.check, room))
        if signed and changes.path:
            raise ImportFailed(f"the image is signed, but {plugin.name} would change its data")
        if changes.path is not None:
            room.replace(path, changes.path)
            path = changes.path
        all_changes = _both(all_changes, changes)
        facts = replace(
            facts,
            disk_format=changes.disk_format or facts.disk_format,
            container_format=changes.container_format or facts.container_format,
            properties={**facts.properties, **changes.properties},
        )
    room.hand_over()
    document = _document(all_changes)
    if document:
        changed = job.services.registry.operations.update(job.context, job.held, document)
        images.image_updated(job.services, job.context, changed)
        image = changed._replace(locations=image.locations)
    return Ready(path, _size(path), image)


def _inspect(job: Job, path: Path, formats: Formats) -> None:
    """Raise UnsupportedMediaType for unsafe data.

    Whether they are of the declared format is for plugins and stores to check: a plugin may unpack or convert them, a
    task may find out what they are. Formats that cannot be inspected are checked now, as no plugin looks at those.
    """
    disk = formats.disk if formats.disk in UNINSPECTED else "raw"
    container = formats.container or "bare"
    inspect_file(path, disk, job.services.settings.format_rules, job.check, container)


def _both(first: ImportChanges, second: ImportChanges) -> ImportChanges:
    return ImportChanges(
        path=second.path or first.path,
        disk_format=second.disk_format or first.disk_format,
        container_format=second.container_format or first.container_format,
        properties={**first.properties, **second.properties},
        virtual_size=first.virtual_size if second.virtual_size is None else second.virtual_size,
    )


def _document(changes: ImportChanges) -> dict[str, Any]:
    """Return the changes as the registry takes them."""
    fields = {
        "disk_format": changes.disk_format,
        "container_format": changes.container_format,
        "virtual_size": changes.virtual_size,
        "properties": dict(changes.properties) or None,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _size(path: Path) -> int:
    try:
        return os.path.getsize(path)
    except OSError as error:
        raise unreadable(error) from None


@contextmanager
def open_file(store: Staging, path: Path) -> Iterator[Iterator[bytes]]:
    """Open a file in the directory of ``store`` as a source of copies. Raises SourceFailed, Unavailable."""
    directory_of(store)
    try:
        file = path.open("rb", buffering=0)
    except OSError:
        raise SourceFailed("the staged data cannot be read") from None
    with file:
        yield _pieces(file.fileno())


def _pieces(descriptor: int) -> Iterator[bytes]:
    while True:
        try:
            piece = os.read(descriptor, PIECE)
        except OSError:
            raise SourceFailed("the staged data cannot be read") from None
        if not piece:
            return
        yield piece
