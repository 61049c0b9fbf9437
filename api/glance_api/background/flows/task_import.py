"""The flow of tasks of type import: a new image from a URL (lifecycle section 6)."""

from contextlib import suppress
from functools import partial
from typing import Any
from uuid import UUID, uuid5

from glance_api.background.flows import staged
from glance_api.background.flows.copies import Plan, fill
from glance_api.background.flows.image_import import ImportParts
from glance_api.background.flows.places import path_of
from glance_api.background.flows.room import work_room
from glance_api.background.job import Job
from glance_api.imports.sources import web_download
from glance_api.services import images
from glance_api.services.attempts import Formats
from glance_api.services.images import NewImage
from glance_common.model.errors import Duplicate
from glance_common.model.image import Image
from glance_common.model.property_names import FIELDS

ASSUMED = {"disk_format": "qcow2", "container_format": "bare"}
"""Formats of an image about which the task says nothing."""


def import_task(parts: ImportParts, job: Job) -> tuple[str, dict[str, Any] | None]:
    """Make an image, fill it, and return message and result of the task. Raises as ``run.Flow``."""
    image = _image(job)
    store = job.services.task_store
    data = staged.staged_before(job, store)
    if data is None:
        uri: str = job.operation.input["import_from"]
        cap = job.services.settings.image_size_cap
        source = web_download.open_source(parts.session, uri, cap=cap)
        data, image, _ = staged.download(job, image, store, source)
    with work_room(job, store, image) as room:
        asked = _new_image(job)
        formats = Formats(str(asked.fields["disk_format"]), str(asked.fields["container_format"]))
        file = staged.StagedFile(path_of(store, data.key), data.size, formats)
        steps = parts.tools.steps(is_admin=job.context.is_admin)
        ready = staged.prepare(job, image, file, room, steps, job.verification)
        sources = [partial(staged.open_file, store, ready.path)]
        fill(job, ready.image, Plan((job.services.stores.default.id,), True, 1, ready.size, sources, job.verification))
    return "", {"image_id": image.id}


def _image(job: Job) -> Image:
    """Return the image of the task, which the first attempt makes and gives to the operation."""
    wanted = _new_image(job)
    # An earlier attempt may have made it.
    with suppress(Duplicate):
        images.create(job.services, job.context, wanted)
    image_id = str(wanted.fields["id"])
    store = job.services.stores.default.id
    job.services.registry.operations.attach(job.context, job.held, image_id, stores=[store])
    return job.services.registry.images.get(job.context, image_id, locations=True)


def _new_image(job: Job) -> NewImage:
    asked: dict[str, Any] = job.operation.input["image_properties"]
    fields = {name: value for name, value in asked.items() if name in FIELDS and name != "tags"}
    # The same for every attempt, so that none makes a second image.
    made = {"id": str(uuid5(UUID(job.operation.id), "image"))}
    return NewImage(
        {**({} if asked else ASSUMED), **fields, **made},
        {name: value for name, value in asked.items() if name not in FIELDS},
        asked.get("tags", ()),
    )
