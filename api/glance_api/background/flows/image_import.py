"""The flow behind POST /v2/images/{id}/import (API section 11.2): to the staging store, through the plugins, to stores.

Every step can be done again by another worker: what is stored stays where it is, what is staged on this node is used.
"""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from glance_api.background.flows import staged
from glance_api.background.flows.copies import Plan, SourceFailed, fill
from glance_api.background.flows.places import path_of
from glance_api.background.flows.room import work_room
from glance_api.background.flows.task_steps import TaskTools
from glance_api.background.job import Job
from glance_api.clients.key_manager import Credentials
from glance_api.content.signatures import Signature, Verification
from glance_api.imports.contract import ImportFailed, ImportSource, Plugin
from glance_api.imports.sources import glance_download, web_download
from glance_api.imports.sources.glance_download import DownloadRules, Remote
from glance_api.services import keys
from glance_api.services.attempts import Formats
from glance_api.services.collaborators import Services
from glance_api.services.imports import COPY, DOWNLOAD
from glance_api.services.staging import DIRECT
from glance_common.fetch.url_session import UrlSession
from glance_common.model.image import Image, ImageLocation
from glance_common.model.operation import StagedData
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
    method: str = job.operation.input["import_req"]["method"]["name"]
    failures = _copy(job, image) if method == COPY else _through_staging(parts, job, image, method)
    return "; ".join(["not stored everywhere", *failures.values()]) if failures else "", {"image_id": image.id}


def _through_staging(parts: ImportParts, job: Job, image: Image, method: str) -> dict[str, str]:
    # The plugins write beside the staged data, so that moving a result is no copy.
    staging = job.services.staging
    with work_room(job, staging, image) as room:
        data, image, formats = _staged(parts, job, image, method)
        path = path_of(staging, data.key)
        signed = _verification(job, image, method)
        ready = staged.prepare(job, image, formats, path, data.size, room, parts.plugins, signed)
        source = partial(staged.open_file, staging, ready.path)
        parallel = job.services.settings.imports.max_parallel_stores
        return fill(job, ready.image, plan_of(job, ready.size, source, parallel=parallel, signed=signed))


def _verification(job: Job, image: Image, method: str) -> Verification | None:
    """Return what verifies the data: by the signature of the request, or by another one that came with the data."""
    kept = job.verification
    signature = Signature.of(image.properties) if method == DOWNLOAD else None
    if signature is None or (kept is not None and kept.signature == signature):
        return kept
    remote = _known(job)
    return keys.verification(job.services, Credentials(remote.token, remote.catalog), image.properties)


def _staged(parts: ImportParts, job: Job, image: Image, method: str) -> tuple[StagedData, Image, Formats]:
    # As they were when the import was asked for: an earlier attempt may have changed the image since.
    asked = job.operation.input
    formats = Formats(asked.get("disk_format") or "", asked.get("container_format") or "")
    known = staged.staged_before(job, job.services.staging)
    if method == DIRECT:
        if known is None:
            raise ImportFailed("there are no staged data of this image on this node")
        return known, image, formats
    if method == DOWNLOAD:
        # Formats and properties come with the data, so these are always fetched anew.
        data, changed = staged.download(job, image, job.services.staging, _remote(parts, job))
        return data, changed, Formats(changed.disk_format or "", changed.container_format or "")
    if known is not None:
        return known, image, formats
    data, changed = staged.download(job, image, job.services.staging, _web(parts, job))
    return data, changed, formats


def _web(parts: ImportParts, job: Job) -> AbstractContextManager[ImportSource]:
    uri: str = job.operation.input["import_req"]["method"]["uri"]
    return web_download.open_source(parts.session, uri, cap=job.services.settings.image_size_cap)


def _remote(parts: ImportParts, job: Job) -> AbstractContextManager[ImportSource]:
    image_id: str = job.operation.input["import_req"]["method"]["glance_image_id"]
    return glance_download.open_source(_known(job), image_id, parts.rules)


def _known(job: Job) -> Remote:
    remote = job.services.work.kept(job.operation.id)
    if remote is None:
        raise ImportFailed("the process that knew the caller's token has ended; the import has to be asked for again")
    return remote


def plan_of(job: Job, size: int, *sources: Any, parallel: int, signed: Verification | None = None) -> Plan:
    """Return the plan that the input of the operation describes."""
    asked = job.operation.input
    must_succeed: bool = asked["import_req"].get("all_stores_must_succeed", True)
    return Plan(tuple(asked["backend"]), must_succeed, parallel, size, sources, signed)


def _copy(job: Job, image: Image) -> dict[str, str]:
    """Copy an active image to further stores, straight from a store that has it (S-71)."""
    sources = [partial(_open_copy, job.services, image, location) for location in _by_preference(job.services, image)]
    return fill(job, image, plan_of(job, image.size or 0, *sources, parallel=1))


def _by_preference(services: Services, image: Image) -> list[ImageLocation]:
    """Return the locations to copy from: the default store first, then by weight."""
    weights = {store.id: store.weight for store in services.stores} | {services.stores.default.id: float("inf")}
    return sorted(image.locations, key=lambda location: -weights.get(location.store, 0))


@contextmanager
def _open_copy(services: Services, image: Image, location: ImageLocation) -> Iterator[Iterable[bytes]]:
    unreadable = f"the copy in store {location.store} cannot be read"
    try:
        blob = services.stores.get(location.store).open(location.key)
    except StoreError as error:
        raise SourceFailed(unreadable) from error
    with closing(blob):
        if blob.size not in (0, image.size):
            raise SourceFailed(f"the copy in store {location.store} has not the size of the image")
        yield _pieces(blob, unreadable)


def _pieces(blob: Blob, unreadable: str) -> Iterator[bytes]:
    try:
        yield from blob
    except StoreError as error:
        raise SourceFailed(unreadable) from error
