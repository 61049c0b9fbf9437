"""The end of an operation: the registry decides it, other services are told what became of task and image."""

import logging
from typing import Any

from glance_api.background.job import Job
from glance_api.services.events import images, tasks
from glance_common.model.errors import GlanceError, NotFound
from glance_common.model.image import Image
from glance_common.model.operation import Operation
from glance_common.model.status import ImageStatus, OperationStatus

LOG = logging.getLogger(__name__)

_WAITING = (ImageStatus.IMPORTING, ImageStatus.SAVING)


def finish(job: Job, *, success: bool, message: str, result: dict[str, Any] | None = None) -> None:
    """End the operation. Raises GlanceError when the registry does not, as its client says."""
    before = _image(job)
    ended = job.services.registry.operations.finish(
        job.context, job.held, success=success, message=message, result=result
    )
    if ended.cancelled:
        # The request that deleted the image has told it.
        return
    tasks.ended(job.services, job.context, ended)
    if before is not None:
        _tell_image(job, ended, before)


def ended_by_others(job: Job) -> None:
    """Send ``task.failure`` when the service ended the task. Send nothing when another worker continues it."""
    tasks.look_up(job.services, job.context, job.operation.id, _failed)


def _failed(*told: Any) -> None:
    task: Operation = told[-1]
    if not task.cancelled:
        tasks.ended(*told)


def _image(job: Job) -> Image | None:
    """Return the operation's image, None when no notification would be sent."""
    services = job.services
    if not any(services.notifications.wants(event) for event in images.ENDS):
        return None
    try:
        # An operation that makes its image learns the image's id only after the claim.
        image_id = job.operation.image_id or services.registry.operations.get(job.context, job.operation.id).image_id
        return None if image_id is None else services.registry.images.get(job.context, image_id)
    except GlanceError as error:
        LOG.info("no notification about the end of operation %s: %s", job.operation.id, error.message)
        return None


def _tell_image(job: Job, ended: Operation, before: Image) -> None:
    try:
        image = job.services.registry.images.get(job.context, before.id)
    except NotFound:
        if ended.status is OperationStatus.FAILURE:
            # It was made for this operation, and goes with it at once.
            images.image_deleted(job.services, job.context, before, may_return=False)
        return
    except GlanceError as error:
        LOG.info("no notification about the end of image %s's import: %s", before.id, error.message)
        return
    if before.status in _WAITING and image.status is ImageStatus.ACTIVE:
        images.image_activated(job.services, job.context, image)
    images.image_updated(job.services, job.context, image)
