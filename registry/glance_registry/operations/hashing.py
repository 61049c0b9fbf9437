"""A registered location whose data are hashed in the background: the location and its operation begin in one step.

So there is never a location that waits for an operation which does not exist, nor the other way round. With validation
data the image is ``importing`` until the digests were found right, and its only location is the operation's to take
back; without, the image is active at once and the operation only adds the digests (API section 16). The image names the
algorithm from the beginning. Where nothing is to be hashed, the operation is finished when it begins.
"""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from glance_common.model import errors
from glance_common.model.context import RequestContext
from glance_common.model.operation import PATIENCE, OnFail, OperationKind
from glance_common.model.status import ImageStatus
from glance_registry.db.tables import images
from glance_registry.locations import edit
from glance_registry.locations.edit import Edit
from glance_registry.operations import lifecycle
from glance_registry.quota import usage
from glance_registry.records import rows, sizes
from glance_registry.records.documents import no_image
from glance_registry.records.visibility import visible_to


@dataclass(frozen=True, slots=True)
class Hashing:
    """The operation ``id``: ``input`` as the task shows it, ``ttl`` hours to show it after its end.

    ``before_active``: the image becomes active only when the operation succeeds. ``is_done``: nothing is to be hashed.
    """

    id: str
    input: dict[str, Any]
    ttl: int
    before_active: bool
    is_done: bool = False


def begin(
    connection: sa.Connection, context: RequestContext, image_id: str, wanted: Edit, hashing: Hashing
) -> str:
    """Give a queued image its first location and make the operation that hashes the data; return the document.

    Raises as ``locations.edit`` and ``operations.create``.
    """
    if hashing.before_active:
        _wait(connection, context, image_id, wanted, hashing)
        return edit.document(connection, context, image_id)
    document = edit.edit(connection, context, image_id, wanted)
    write = lifecycle.record_done if hashing.is_done else lifecycle.create
    write(connection, context, _operation(image_id, hashing, ImageStatus.ACTIVE, None))
    return document


def _wait(
    connection: sa.Connection, context: RequestContext, image_id: str, wanted: Edit, hashing: Hashing
) -> None:
    limits = usage.hold(connection, wanted.limits, *usage.MEASURES)
    image = rows.lock_image(connection, images.c.id == image_id, visible_to(context))
    if image is None:
        raise no_image(image_id)
    if image.write_attempt == wanted.attempt:
        return
    if image.row_version != wanted.row_version:
        raise edit.changed(image_id)
    if len(wanted.add) != 1:
        raise errors.BadRequest("add must hold the one location whose data are to be hashed", field="add")
    rows.check_formats(image, wanted.changes)
    used_before, size_before = usage.before(connection, limits, image), sizes.read(connection, image_id)
    lifecycle.create(
        connection, context, _operation(image_id, hashing, ImageStatus.QUEUED, ImageStatus.IMPORTING)
    )
    edit.add(connection, image.id, wanted.add[0], operation=hashing.id)
    sizes.check_growth(connection, image_id, size_before, wanted.largest)
    algorithm = {name: value for name, value in wanted.data.items() if name == "os_hash_algo"}
    rows.change_image(connection, image, size=wanted.add[0].size, write_attempt=wanted.attempt, **algorithm)
    usage.enforce_change(connection, limits, image_id, image.owner, used_before)


def _operation(
    image_id: str, hashing: Hashing, allowed: ImageStatus, status: ImageStatus | None
) -> lifecycle.Wanted:
    return lifecycle.Wanted(
        id=hashing.id,
        image_id=image_id,
        values={
            "kind": OperationKind.LOCATION_IMPORT,
            "input": hashing.input,
            "ttl": hashing.ttl,
            "on_fail": OnFail.QUEUED,
            "patience": PATIENCE,
        },
        stores=[],
        allowed=[allowed],
        image_status=status,
    )
