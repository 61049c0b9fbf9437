"""The flow behind POST /v2/images/{id}/import (API section 11.2): to the staging store, through the plugins, to stores.

Every step can be done again by another worker: what is stored stays where it is, what is staged on this node is used.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from glance_api.background.flows import staged
from glance_api.background.flows.copies import Opener, Plan, SourceFailed, fill
from glance_api.background.flows.places import path_of
from glance_api.background.flows.room import work_room
from glance_api.background.flows.task_steps import TaskTools
from glance_api.background.job import Job
from glance_api.clients.key_manager import Credentials
from glance_api.content.signatures import Signature, Verification
from glance_api.content.streams import DamagedData, verified
from glance_api.imports.contract import ImportChanges, ImportFailed, ImportSource, Plugin
from glance_api.imports.request import COPY, DIRECT, DOWNLOAD, ImportInput, ImportRequest
from glance_api.imports.sources import glance_download, web_download
from glance_api.imports.sources.glance_download import DownloadRules, Remote, find_endpoint
from glance_api.services import data, keys
from glance_api.services.attempts import Formats
from glance_api.services.collaborators import Services
from glance_common.fetch.url_session import UrlSession
from glance_common.model.image import Image, ImageLocation
from glance_common.stores.contract import Blob, StoreError


@dataclass(frozen=True, slots=True)
class ImportParts:
    """What imports are made of, as configured; ``tools`` are for tasks of type import."""

    plugins: tuple[Plugin, ...]
    session: UrlSession
    rules: DownloadRules
    tools: TaskTools


def import_image(parts: ImportParts, job: Job) -> tuple[str, dict[str, Any] | None]:
    """Import the data of an image and return message and result of its task. Raises as ``run.Flow``."""
    image = job.services.registry.images.get(job.context, job.image_id, locations=True)
    asked = ImportInput.from_document(job.operation.input)
    is_copy = asked.request.method == COPY
    failures = _copy(job, image, asked) if is_copy else _through_staging(parts, job, image, asked)
    return "; ".join(["not stored everywhere", *failures.values()]) if failures else "", {"image_id": image.id}


def _through_staging(parts: ImportParts, job: Job, image: Image, asked: ImportInput) -> dict[str, str]:
    # The plugins write beside the staged data, so that moving a result is no copy.
    staging = job.services.staging
    with work_room(job, staging, image) as room:
        file, image = _staged(parts, job, image, asked)
        signed = _verification(job, image, asked.request)
        ready = staged.prepare(job, image, file, room, parts.plugins, signed)
        source = partial(staged.open_file, staging, ready.path)
        parallel = job.services.settings.imports.max_parallel_stores
        return fill(job, ready.image, _plan(asked, ready.size, [source], parallel=parallel, signed=signed))


def _verification(job: Job, image: Image, request: ImportRequest) -> Verification | None:
    """Return what verifies the data: by the signature of the request, or by another one that came with the data."""
    kept = job.verification
    signature = Signature.of(image.properties) if request.method == DOWNLOAD else None
    if signature is None or (kept is not None and kept.signature == signature):
        return kept
    return keys.verification(job.services.keys, _credentials(job), image.properties)


def _staged(parts: ImportParts, job: Job, image: Image, asked: ImportInput) -> tuple[staged.StagedFile, Image]:
    """Return the staged data, and the image with what their source knows about it."""
    request, staging, facts = asked.request, job.services.staging, ImportChanges()
    # As they were when the import was asked for: an earlier attempt may have changed the image since.
    formats = Formats(asked.disk_format or "", asked.container_format or "")
    data = staged.staged_before(job, staging)
    if request.method == DIRECT:
        if data is None:
            raise ImportFailed("there are no staged data of this image on this node")
    elif request.method == DOWNLOAD:
        # Formats and properties come with the data, so these are always fetched anew.
        data, image, facts = staged.download(job, image, staging, _remote(parts, job, request))
        formats = Formats(image.disk_format or "", image.container_format or "")
    elif data is None:
        source = web_download.open_source(parts.session, request.uri, cap=job.services.settings.image_size_cap)
        data, image, facts = staged.download(job, image, staging, source)
    return staged.StagedFile(path_of(staging, data.key), data.size, formats, facts), image


def _remote(parts: ImportParts, job: Job, request: ImportRequest) -> AbstractContextManager[ImportSource]:
    credentials = _credentials(job)
    endpoint = find_endpoint(credentials.catalog, request.glance_region, request.glance_service_interface)
    return glance_download.open_source(
        Remote(endpoint, credentials.token or ""), request.glance_image_id, parts.rules
    )


def _credentials(job: Job) -> Credentials:
    credentials = job.services.work.kept(job.operation.id)
    if credentials is None:
        raise ImportFailed("the process that knew the caller's token has ended; the import has to be asked for again")
    return credentials


def _plan(
    asked: ImportInput, size: int, sources: Sequence[Opener], *, parallel: int, signed: Verification | None = None
) -> Plan:
    """Return the plan for the stores of the operation's input."""
    return Plan(asked.stores, asked.request.all_stores_must_succeed, parallel, size, sources, signed)


def _copy(job: Job, image: Image, asked: ImportInput) -> dict[str, str]:
    """Copy an active image to further stores, straight from a store that has it (S-71)."""
    sources = [partial(_open_copy, job, image, location) for location in _by_preference(job.services, image)]
    return fill(job, image, _plan(asked, image.size or 0, sources, parallel=1))


def _by_preference(services: Services, image: Image) -> list[ImageLocation]:
    """Return the locations to copy from: the default store first, then by weight."""
    weights = {store.id: store.weight for store in services.stores} | {services.stores.default.id: float("inf")}
    return sorted(image.locations, key=lambda location: -weights.get(location.store, 0))


@contextmanager
def _open_copy(job: Job, image: Image, location: ImageLocation) -> Iterator[Iterable[bytes]]:
    unreadable = f"the copy in store {location.store} cannot be read"
    try:
        blob = job.services.stores.get(location.store).open(location.key)
    except StoreError as error:
        raise SourceFailed(unreadable) from error
    with closing(blob):
        if blob.size not in (0, image.size):
            raise SourceFailed(f"the copy in store {location.store} has not the size of the image")
        yield _right(job, image, location, _pieces(blob, unreadable))


def _right(job: Job, image: Image, location: ImageLocation, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the pieces of a copy, all of them only when they are the data; a damaged copy goes out of use (I8)."""
    proof = data.proof_of(image, location.fingerprint)
    if proof is None or image.size is None:
        yield from pieces
        return
    try:
        yield from verified(pieces, image.size, *proof)
    except DamagedData as error:
        data.found_damaged(job.services, job.context, location.id, error.damage, str(error))
        raise SourceFailed(f"the copy in store {location.store} is damaged") from error


def _pieces(blob: Blob, unreadable: str) -> Iterator[bytes]:
    try:
        yield from blob
    except StoreError as error:
        raise SourceFailed(unreadable) from error
