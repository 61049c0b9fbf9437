"""The flow of location imports: the data of a registered location are read, inspected and hashed (API section 16).

With validation data the image waits in ``importing``: equal digests make it active, others take the location back and
the image is queued again. Without, the image is active already and only gets its digests.
"""

import logging
from collections import deque
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from glance_api.digests import CHECKSUM, Digests
from glance_api.formats import Inspection
from glance_api.imports.contract import ImportFailed
from glance_api.services.attempts import algorithms
from glance_api.services.locations import in_order
from glance_api.streams import Intake, Received
from glance_api.workers.job import Job
from glance_common.image import Image, ImageLocation
from glance_common.stores.contract import StoreError

LOG = logging.getLogger(__name__)


def hash_location(job: Job) -> tuple[str, dict[str, Any] | None]:
    """Give the image of the operation its digests; return message and result of the task. Raises as ``run.Flow``."""
    image = job.glance.registry.images.get(job.context, job.image_id, locations=True)
    expected: dict[str, str] = job.operation.input.get("validation_data") or {}
    algorithm = expected.get("os_hash_algo") or job.glance.settings.hashing_algorithm
    received = _read(job, image, algorithm)
    digest = received.digests[algorithm]
    if expected and digest != expected["os_hash_value"]:
        raise ImportFailed(f"the {algorithm} digest of the data is not the one in validation_data")
    changes: dict[str, Any] = {
        "size": received.size,
        "os_hash_algo": algorithm,
        "os_hash_value": digest,
        "virtual_size": received.virtual_size,
    }
    if CHECKSUM in received.digests:
        changes["checksum"] = received.digests[CHECKSUM]
    job.glance.registry.operations.update(job.context, job.held, changes)
    return "", {"image_id": image.id}


def _read(job: Job, image: Image, algorithm: str) -> Received:
    """Return what is known of the data after reading them; a read that fails is repeated ``http_retries`` times."""
    locations = in_order(job.glance, image.locations)
    if not locations:
        raise ImportFailed("the image has no location any more")
    for attempt in range(1, job.glance.settings.http_retries + 1):
        try:
            return _read_once(job, image, locations[0], algorithm)
        except StoreError as error:
            LOG.warning("try %d to hash the location of image %s failed: %s", attempt, image.id, error)
            if attempt == job.glance.settings.http_retries:
                raise
    raise AssertionError("the last try returns or raises")


def _read_once(job: Job, image: Image, location: ImageLocation, algorithm: str) -> Received:
    settings = job.glance.settings
    digests = Digests(algorithms(settings, algorithm, image.checksum))
    try:
        intake = Intake(
            _pieces(job, location),
            announced=image.size,
            cap=settings.image_size_cap,
            digests=digests,
            inspection=Inspection(image.disk_format or "", image.container_format or "", settings.format_rules),
            still_wanted=job.check,
        )
        deque(intake, maxlen=0)
    finally:
        digests.close()
    return intake.received


def _pieces(job: Job, location: ImageLocation) -> Iterator[bytes]:
    with closing(job.glance.stores.get(location.store).open(location.key)) as blob:
        yield from job.counted(blob)
