"""An attempt to store the data of an image: start, renew, commit, abort (lifecycle sections 2 and 3).

An attempt is one row of the locations table, found by its uuid. A repeated call finds the row as the first call left
it, so that a caller that got no answer asks again without harm. After ``abort`` or the reaper no commit is possible.
"""

from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import sqlalchemy as sa

from glance_common.model import errors
from glance_common.model.context import RequestContext
from glance_common.model.limits import Limits
from glance_common.model.operation import STAGE_HOST_PROPERTY, Held
from glance_common.model.status import ImageStatus, LocationStatus
from glance_registry.db.row_types import ImageRow, LocationRow, one, one_or_none
from glance_registry.db.tables import images, locations, orphans
from glance_registry.quota import usage
from glance_registry.records import import_properties, operations, rows
from glance_registry.records.documents import no_image
from glance_registry.records.visibility import visible_to

_WITHOUT_DATA = (ImageStatus.IMPORTING, ImageStatus.SAVING)
HAS_DATA = (ImageStatus.ACTIVE, ImageStatus.DEACTIVATED)
_TAKES_COPIES = (*_WITHOUT_DATA, *HAS_DATA)
_REMOVABLE = (LocationStatus.REAPING, LocationStatus.DELETING)


@dataclass(frozen=True, slots=True)
class Begin:
    """What an uploader announces: ``size`` in bytes or None, ``lease`` in seconds, the image's status ``on_fail``.

    ``limits`` are those of the image's owner; an announced size is reserved whole.
    """

    attempt: str
    store: str
    size: int | None
    lease: float
    on_fail: ImageStatus
    staging: bool = False
    """The store is a staging store: the bytes wait there for an import."""
    operation: Held | None = None
    """The operation that holds the image, when one writes."""
    limits: Limits | None = None


@dataclass(frozen=True, slots=True)
class Content:
    """What was stored, as it is written into the rows: sizes in bytes, digests in hexadecimal.

    ``key``: where the bytes are, None for the key of the attempt. ``fingerprint``: what downloads are verified by.
    """

    size: int
    checksum: str | None
    os_hash_algo: str | None
    os_hash_value: str | None
    virtual_size: int | None
    metadata: dict[str, Any]
    key: str | None = None
    fingerprint: str | None = None


@dataclass(frozen=True, slots=True)
class Terms:
    """What a commit beyond a plain upload says.

    ``operation`` writes; with ``activate`` the copy is the image's for good, otherwise only when the operation
    succeeds. ``stage_host`` is where clients find the host of staged data. ``limits`` are those of the image's owner.
    """

    operation: Held | None = None
    activate: bool = True
    stage_host: str | None = None
    limits: Limits | None = None


class _OwnedRow(LocationRow):
    """A location with the status of its image."""

    image_status: str


def start(connection: sa.Connection, context: RequestContext, image_id: str, begin: Begin) -> LocationRow:
    """Take the image ``queued -> saving`` and return the new location row, which owns the bytes to come.

    With ``staging`` it is ``queued -> uploading``, without need of formats. An image that an operation holds keeps its
    status; raises Gone when another operation holds it. Raises NotFound for an image that ``context`` does not see,
    StatusConflict unless it is queued, BadRequest without its formats (API section 10.1), Gone when this attempt is
    over already, TooLarge over a limit.
    """
    limits = usage.hold(connection, begin.limits, *usage.WRITTEN, "uploading")
    image = rows.lock_image(connection, images.c.id == image_id, visible_to(context))
    if image is None:
        raise no_image(image_id)
    known = one_or_none(connection, sa.select(locations).where(locations.c.attempt == begin.attempt), LocationRow)
    if known is not None:
        return _begun_before(connection, image, known, begin)
    _take_image(connection, image, begin)
    insert = sa.insert(locations).values(
        id=str(uuid4()),
        image_id=image.id,
        store=begin.store,
        key=_free_key(connection, image.id, begin.store),
        status=LocationStatus.WRITING,
        size=begin.size,
        attempt=begin.attempt,
        on_fail=begin.on_fail,
        lease_until=rows.after(begin.lease),
        staging=begin.staging,
        operation=None if begin.operation is None else begin.operation.operation,
    )
    location = one(connection, insert.returning(locations), LocationRow)
    increase = usage.written(location, begin.size or 0, uploading=int(begin.operation is None))
    usage.enforce(connection, limits, image.owner, increase)
    return location


def replace(connection: sa.Connection, location_id: str, begin: Begin) -> LocationRow:
    """Begin an attempt to write a good copy in place of a quarantined one, in the same store, under a key of its own.

    The image keeps its status. No limit is asked: a copy in quarantine does not count, the one that replaces it does.
    Raises NotFound, Conflict unless the location is quarantined and its image has data, Conflict with the reason
    ``replaced`` when another copy replaces it already, Gone when this attempt is over.
    """
    found = rows.lock_owner(connection, locations.c.id == location_id)
    if found is None:
        raise errors.NotFound(f"No location found with ID {location_id}")
    image, damaged = found
    known = one_or_none(connection, sa.select(locations).where(locations.c.attempt == begin.attempt), LocationRow)
    if known is not None:
        return _begun_before(connection, image, known, begin)
    if damaged.status != LocationStatus.QUARANTINED or image.status not in HAS_DATA:
        raise errors.Conflict(
            f"location {location_id} is {damaged.status} and its image {image.status}", reason=str(damaged.status)
        )
    if replaced_by(connection, location_id) is not None:
        raise errors.Conflict(f"location {location_id} is replaced by another copy already", reason="replaced")
    insert = sa.insert(locations).values(
        id=str(uuid4()), image_id=image.id, store=damaged.store, key=_free_key(connection, image.id, damaged.store),
        status=LocationStatus.WRITING, size=image.size, attempt=begin.attempt, on_fail=begin.on_fail,
        lease_until=rows.after(begin.lease), replaces=location_id,
    )
    return one(connection, insert.returning(locations), LocationRow)


def replaced_by(connection: sa.Connection, location_id: str) -> str | None:
    """Return a live location that stands in for a quarantined one of a locked image, None without any.

    Any copy of ours in the same store does, also one that was not written for this purpose: a store has one at most.
    """
    live = (LocationStatus.WRITING, LocationStatus.ACTIVE)
    damaged = locations.alias("damaged")
    select = sa.select(locations.c.id).where(
        damaged.c.id == location_id, locations.c.image_id == damaged.c.image_id, locations.c.store == damaged.c.store,
        locations.c.id != damaged.c.id, locations.c.status.in_(live), ~locations.c.external, ~locations.c.staging,
    )
    return connection.scalars(select.limit(1)).first()


def _take_image(connection: sa.Connection, image: ImageRow, begin: Begin) -> None:
    if begin.operation is not None:
        operations.check_held(connection, image.id, begin.operation)
    else:
        rows.set_image(connection, image, ImageStatus.UPLOADING if begin.staging else ImageStatus.SAVING)
    if begin.staging:
        return
    if image.status not in _TAKES_COPIES and begin.operation is not None:
        raise rows.status_conflict(ImageStatus(image.status), ImageStatus.ACTIVE)
    rows.check_formats(image)


def _begun_before(
    connection: sa.Connection, image: ImageRow, location: LocationRow, begin: Begin
) -> LocationRow:
    if location.image_id != image.id:
        raise errors.Conflict(f"the attempt {begin.attempt} belongs to another image")
    if location.status != LocationStatus.WRITING:
        raise _over(location, image)
    rows.change_location(connection, location, lease_until=rows.after(begin.lease))
    return location


def _free_key(connection: sa.Connection, image_id: str, store: str) -> str:
    """Return the image id, the name that operators look for, or ``<id>.<n>`` while that key is taken.

    A key stays taken while bytes may be under it, and until the late passes of an expired lease are over.
    """
    owned = _keys_of(locations, store, image_id).where(
        sa.or_(locations.c.status != LocationStatus.DELETED, locations.c.late_passes > 0)
    )
    taken: set[str] = set(connection.scalars(sa.union_all(owned, _keys_of(orphans, store, image_id))))
    key, number = image_id, 0
    while key in taken:
        number += 1
        key = f"{image_id}.{number}"
    return key


def _keys_of(table: sa.Table, store: str, image_id: str) -> sa.Select[tuple[str]]:
    columns = table.c
    is_of_image = sa.or_(columns.key == image_id, columns.key.startswith(f"{image_id}.", autoescape=True))
    return sa.select(columns.key).where(columns.store == store, is_of_image)


def renew(connection: sa.Connection, attempt: str, lease: float) -> None:
    """Let the writer live for ``lease`` more seconds from now; raise Gone when the attempt is over.

    One statement without the image's lock: it changes nothing but the lease, and only while the row is ``writing``.
    """
    update = sa.update(locations).where(
        locations.c.attempt == attempt, locations.c.status == LocationStatus.WRITING
    )
    if connection.execute(update.values(lease_until=rows.after(lease))).rowcount:
        return
    select = (
        sa.select(locations, images.c.status.label("image_status"))
        .join(images, images.c.id == locations.c.image_id)
        .where(locations.c.attempt == attempt)
    )
    row = one_or_none(connection, select, _OwnedRow)
    raise _unknown(attempt) if row is None else _gone(row, ImageStatus(row.image_status))


def commit(connection: sa.Connection, attempt: str, content: Content, terms: Terms) -> str:
    """Make the location and its image active in one step; return the image's id.

    Staged data make the location ``staged`` and leave the image's status; so does a copy that is not to activate.
    An expired lease is no obstacle as long as the attempt was not reaped. Raises Gone when the image was deleted or the
    attempt was aborted or reaped, Duplicate when another row owns the bytes under ``content.key``, TooLarge when more
    bytes than were reserved exceed a limit; then the caller asks ``abort`` whether it may remove its bytes.
    """
    limits = usage.hold(connection, terms.limits, *usage.WRITTEN)
    image, location = _lock(connection, attempt)
    if location.on_fail is None:
        return str(image.id)
    if location.status != LocationStatus.WRITING:
        raise _over(location, image)
    if location.replaces is not None:
        _check_replacement(image, location, content)
    elif location.operation is not None:
        _commit_copy(connection, image, location, content, terms)
    elif image.status != (ImageStatus.UPLOADING if location.staging else ImageStatus.SAVING):
        raise _over(location, image)
    elif location.staging:
        host = {} if terms.stage_host is None else {STAGE_HOST_PROPERTY: terms.stage_host}
        rows.change_image(connection, image, size=content.size, properties={**image.properties, **host})
    else:
        rows.set_image(connection, image, ImageStatus.ACTIVE, **_data_of(content))
    rows.set_location(
        connection, location, LocationStatus.STAGED if location.staging else LocationStatus.ACTIVE,
        size=content.size, metadata=content.metadata, lease_until=None, on_fail=None,
        key=content.key or location.key, fingerprint=content.fingerprint,
        operation=None if terms.activate else location.operation,
    )
    usage.enforce(connection, limits, image.owner, usage.written(location, content.size - (location.size or 0)))
    return str(image.id)


def _commit_copy(
    connection: sa.Connection, image: ImageRow, location: LocationRow, content: Content, terms: Terms
) -> None:
    """Write to the image what a new copy of an operation changes there; raise Gone when the operation lost it.

    The first copy says what the data are, every other one must be the same: Conflict when it is not.
    """
    assert location.operation is not None, "an operation makes the copy"
    if terms.operation is None or terms.operation.operation != location.operation:
        raise operations.lost(location.operation)
    operations.check_held(connection, image.id, terms.operation)
    if location.staging:
        return
    values: dict[str, Any] = {"properties": import_properties.stored(image.properties, location.store)}
    if image.checksum is None and image.os_hash_value is None and image.status in _WITHOUT_DATA:
        values |= _data_of(content)
        values["virtual_size"] = image.virtual_size if content.virtual_size is None else content.virtual_size
    else:
        _check_same(image, content)
    if terms.activate and image.status in _WITHOUT_DATA:
        rows.set_image(connection, image, ImageStatus.ACTIVE, **values)
    else:
        rows.change_image(connection, image, **values)


def _check_replacement(image: ImageRow, location: LocationRow, content: Content) -> None:
    """Raise Gone when the image was deleted meanwhile, Conflict for other data than the image has."""
    if image.status not in HAS_DATA:
        raise _over(location, image)
    _check_same(image, content)


def _data_of(content: Content) -> dict[str, Any]:
    return {
        "size": content.size,
        "virtual_size": content.virtual_size,
        "checksum": content.checksum,
        "os_hash_algo": content.os_hash_algo,
        "os_hash_value": content.os_hash_value,
    }


def _check_same(image: ImageRow, content: Content) -> None:
    pairs = [("size", content.size), ("checksum", content.checksum)]
    if content.os_hash_algo == image.os_hash_algo:
        pairs.append(("os_hash_value", content.os_hash_value))
    for name, found in pairs:
        known = getattr(image, name)
        if known is not None and found != known:
            raise errors.Conflict(
                f"{name} of the copy is {found}, of image {image.id} it is {known}", reason="differs"
            )


def abort(connection: sa.Connection, attempt: str, lease: float, error: str | None) -> dict[str, Any] | None:
    """End the attempt so that no commit is possible any more; return the claim with which its bytes may be removed.

    The claim is held by the attempt itself, for ``lease`` seconds. None means that there is nothing for the caller to
    remove: another one has claimed the bytes, they are gone, or the attempt never began. Raises Conflict when it was
    committed. ``error`` is for the operator and must not hold credentials.
    """
    found = rows.lock_owner(connection, locations.c.attempt == attempt)
    if found is None:
        return None
    image, location = found
    if location.on_fail is None:
        raise errors.Conflict("the upload was committed before", reason="committed")
    claim = {"token": attempt, "lease_until": rows.after(lease)}
    match location.status:
        case LocationStatus.WRITING:
            rows.set_location(connection, location, LocationStatus.REAPING, last_error=error, **claim)
            rows.fail_image(connection, image, location)
        case LocationStatus.PENDING_DELETE:
            rows.set_location(connection, location, LocationStatus.DELETING, last_error=error, **claim)
        case status if status in _REMOVABLE and location.token == attempt and location.lease_until is not None:
            rows.change_location(connection, location, **claim)
        case _:
            return None
    return rows.deletion_document(location, attempt)


def _lock(connection: sa.Connection, attempt: str) -> tuple[ImageRow, LocationRow]:
    found = rows.lock_owner(connection, locations.c.attempt == attempt)
    if found is None:
        raise _unknown(attempt)
    return found


def _unknown(attempt: str) -> errors.Gone:
    return errors.Gone(f"no upload with the attempt {attempt} was ever begun", reason="unknown")


def _over(location: LocationRow, image: ImageRow) -> errors.Gone:
    return _gone(location, ImageStatus(image.status))


def _gone(location: LocationRow, image_status: ImageStatus) -> errors.Gone:
    """Return the error that says why the attempt of ``location`` is over."""
    if location.on_fail is None:
        return errors.Gone("the upload was committed before", reason="committed")
    if image_status in (ImageStatus.PENDING_DELETE, ImageStatus.DELETED):
        return errors.Gone("the image was deleted while its data were uploaded", reason="deleted")
    if location.token == location.attempt:
        return errors.Gone("the upload was aborted", reason="aborted")
    return errors.Gone("the upload did not renew its lease in time and was given up", reason="reaped")
