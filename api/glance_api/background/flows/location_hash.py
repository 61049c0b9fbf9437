"""The flow of location imports: the data of a registered location are read, inspected and hashed (API section 16).

With validation data the image waits in ``importing``: equal digests make it active, others take the location back and
the image is queued again. Without, the image is active already, by what its beginning showed, and gets its digests;
data that turn out to be unsafe or others than were registered deactivate it (S-34, S-36).
"""

import logging
from collections import deque
from collections.abc import Iterator
from contextlib import closing
from typing import Any
from uuid import uuid4

from glance_api.background.job import Job
from glance_api.content.formats import Inspection
from glance_api.content.streams import Received, StreamChecks, UploadStream
from glance_api.imports.contract import ImportFailed
from glance_api.services.attempts import algorithms
from glance_api.services.events import images
from glance_api.services.locations.read import in_order
from glance_common.digests import CHECKSUM, Digests
from glance_common.model.errors import BadRequest, StatusConflict, TooLarge, UnsupportedMediaType
from glance_common.model.image import Image, ImageLocation
from glance_common.model.operation import REFUSED_PROPERTY
from glance_common.model.status import ImageStatus
from glance_common.observability.metrics.catalog import DATA_REFUSED
from glance_common.stores.contract import StoreError

LOG = logging.getLogger(__name__)

LONGEST_REASON = 255
"""Characters of the property that holds the reason; the task has the whole text."""


class DataRefused(ImportFailed):
    """The data are unsafe, or are not those that were registered."""


def hash_location(job: Job) -> tuple[str, dict[str, Any] | None]:
    """Give the image of the operation its digests; return message and result of the task. Raises as ``run.Flow``."""
    image = job.services.registry.images.get(job.context, job.image_id, locations=True)
    location = _first(job, image)
    try:
        changes = _content(job, image, location)
    except DataRefused as error:
        if image.status is not ImageStatus.IMPORTING:
            _deactivate(job, image, location.store, str(error))
        raise
    if REFUSED_PROPERTY in image.properties:
        # An earlier attempt found something else there.
        changes["properties"] = {REFUSED_PROPERTY: None}
    job.services.registry.operations.update(job.context, job.held, changes)
    return "", {"image_id": image.id}


def _first(job: Job, image: Image) -> ImageLocation:
    locations = in_order(job.services, image.locations)
    if not locations:
        raise ImportFailed("the image has no location any more")
    return locations[0]


def _content(job: Job, image: Image, location: ImageLocation) -> dict[str, Any]:
    """Return what the registry is told of the data. Raises DataRefused, StoreError."""
    expected: dict[str, str] = job.operation.input.get("validation_data") or {}
    # The one that the image names since its registration, whatever this process is configured to.
    algorithm = expected.get("os_hash_algo") or image.os_hash_algo or job.services.settings.hashing_algorithm
    try:
        received = _read(job, image, location, algorithm)
    except (UnsupportedMediaType, BadRequest, TooLarge) as error:
        raise DataRefused(error.message) from error
    digest = received.digests[algorithm]
    if expected and digest != expected["os_hash_value"]:
        raise DataRefused(f"the {algorithm} digest of the data is not the one in validation_data")
    changes: dict[str, Any] = {
        "size": received.size,
        "os_hash_algo": algorithm,
        "os_hash_value": digest,
        "virtual_size": received.virtual_size,
    }
    if CHECKSUM in received.digests:
        changes["checksum"] = received.digests[CHECKSUM]
    for name in ("os_hash_value", "checksum"):
        if getattr(image, name) not in (None, changes.get(name)):
            raise DataRefused(f"the {name} of the data is not the one of the image")
    return changes


def _deactivate(job: Job, image: Image, store: str, reason: str) -> None:
    """Deactivate the image and show its owner the reason. Raises GlanceError."""
    LOG.error("image %s is deactivated: %s", image.id, reason)
    # The reason is written first: an owner cannot activate an image that has one.
    properties = {REFUSED_PROPERTY: reason[:LONGEST_REASON]}
    job.services.registry.operations.update(job.context, job.held, {"properties": properties})
    try:
        closed = job.services.registry.images.set_status(
            job.context, image.id, str(uuid4()), [ImageStatus.ACTIVE], ImageStatus.DEACTIVATED
        )
    except StatusConflict as conflict:
        LOG.info("image %s is not active any more: %s", image.id, conflict.message)
        return
    DATA_REFUSED.labels(store).inc()
    images.image_updated(job.services, job.context, closed)


def _read(job: Job, image: Image, location: ImageLocation, algorithm: str) -> Received:
    """Return what is known of the data after reading them; a read that fails is repeated ``http_retries`` times."""
    for attempt in range(1, job.services.settings.http_retries + 1):
        job.check()
        try:
            return _read_once(job, image, location, algorithm)
        except StoreError as error:
            LOG.warning("try %d to hash the location of image %s failed: %s", attempt, image.id, error)
            if attempt == job.services.settings.http_retries:
                raise
    raise AssertionError("the last try returns or raises")


def _read_once(job: Job, image: Image, location: ImageLocation, algorithm: str) -> Received:
    settings = job.services.settings
    digests = Digests(algorithms(settings, algorithm, image.checksum))
    try:
        intake = UploadStream(
            _pieces(job, location),
            announced=image.size,
            cap=settings.image_size_cap,
            digests=digests,
            inspection=Inspection(image.disk_format or "", image.container_format or "", settings.format_rules),
            checks=StreamChecks(job.check),
        )
        deque(intake, maxlen=0)
    finally:
        digests.close()
    return intake.received


def _pieces(job: Job, location: ImageLocation) -> Iterator[bytes]:
    with closing(job.services.stores.get(location.store).open(location.key)) as blob:
        yield from job.counted(blob)
