"""What an owner uses, and the limits that no transaction may exceed (configuration section 9, promise I5).

Usage is computed from the rows and stored nowhere, so nothing can drift. A transaction that increases it takes the
owner's lock before any row (``hold``), does its work, and compares what is used then (``enforce``). The lock is free
again when the commit can be seen, so the next one counts it. What decreases usage needs no lock. Without limits nothing
is computed.

Bytes count as soon as they are reserved: the size of a row that is being written is what its writer may write. Those
of an attempt that never committed count until they are removed, also when their image is deleted: otherwise an owner
could delete image after image under running uploads and fill the store beyond every quota (S-11). Committed bytes of a
deleted image do not count. Rows whose purge failed too often, and copies in quarantine, do not either: they wait for an
operator, not the owner, and the copy that replaces a damaged one must fit into a quota that was full.
Staged bytes count on their own, as do images that are copied into more stores.
"""

from typing import Any

import sqlalchemy as sa

from glance_common.model import errors
from glance_common.model.limits import KINDS, Limits, Usage
from glance_common.model.status import LocationStatus
from glance_registry.db.row_types import ImageRow, LocationRow
from glance_registry.db.tables import images, locations
from glance_registry.records import rows

# As the indexes of these rows say it (db/tables.py).
_UNFINISHED = sa.literal_column(
    "(locations.on_fail IS NOT NULL AND locations.status IN ('writing','pending_delete','deleting','reaping'))",
    sa.Boolean,
)
_COPYING = sa.literal_column(
    "(images.status = 'active' AND images.properties ->> 'os_glance_importing_to_stores' <> '')", sa.Boolean
)
_IN_TRANSFER = sa.or_(sa.literal_column("images.status IN ('saving','uploading','importing')", sa.Boolean), _COPYING)

WRITTEN = ("size", "stage")
"""The fields of ``Usage`` that a writer of bytes may increase."""

_LOCK_SPACE = "glance usage"


def hold(connection: sa.Connection, limits: Limits | None, *measures: str) -> Limits | None:
    """Take the owner's lock until the transaction ends, and return the limits of ``measures``; None without any.

    To be called before the first row is locked: then no transaction that holds a row waits for the lock.
    """
    relevant = limits.about(*measures) if limits is not None else None
    if relevant is not None:
        key = sa.func.hashtext(sa.literal(relevant.owner))
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtext(_LOCK_SPACE), key)))
    return relevant


def enforce(connection: sa.Connection, limits: Limits | None, owner: str | None, increase: Usage) -> None:
    """Raise TooLarge when this transaction, which has added ``increase``, exceeds one of the held ``limits``.

    Raises Conflict when the image belongs to another than the one whose limits were sent.
    """
    if limits is None:
        return
    _check_owner(limits, owner)
    increased = [name for name, kind in KINDS.items() if name in limits.values and getattr(increase, kind.measure) > 0]
    used = _compute(connection, images.c.owner == limits.owner, {KINDS[name].measure for name in increased})
    for name in increased:
        wanted = getattr(increase, KINDS[name].measure)
        _compare(name, limits.values[name], getattr(used, KINDS[name].measure) - wanted, wanted)


def reserve(connection: sa.Connection, attempt: str, at_least: int, at_most: int, limits: Limits | None) -> int:
    """Let a running attempt write up to ``at_most`` bytes in all, or as many as there is room for; return how many.

    Raises TooLarge without room for ``at_least``, Gone when the attempt is over, Conflict for limits of another owner.
    """
    held = hold(connection, limits, *WRITTEN)
    found = rows.lock_owner(connection, locations.c.attempt == attempt)
    if found is None or found[1].status != LocationStatus.WRITING:
        raise errors.Gone("the upload is over: it was aborted or given up, or its image was deleted")
    image, location = found
    reserved = location.size or 0
    if reserved >= at_least:
        return reserved
    granted = at_most
    measure = _measure_of(location)
    held = held.about(measure) if held is not None else None
    if held is not None:
        _check_owner(held, image.owner)
        used = getattr(_compute(connection, images.c.owner == held.owner, {measure}), measure)
        for name, limit in held.values.items():
            _compare(name, limit, used, at_least - reserved)
            granted = min(granted, reserved + limit * KINDS[name].factor - used)
    rows.change_location(connection, location, size=granted)
    return granted


def written(location: LocationRow, size: int, *, uploading: int = 0) -> Usage:
    """Return the increase when ``size`` bytes more are written, or reserved, in the row ``location``."""
    return Usage(**{_measure_of(location): size}, uploading=uploading)


def before(connection: sa.Connection, limits: Limits | None, image: ImageRow) -> Usage:
    """Return what a locked image adds to the usage of the limits' owner so far, for ``enforce_change``."""
    return Usage() if limits is None or image.owner != limits.owner else of_image(connection, image.id)


def enforce_change(
    connection: sa.Connection, limits: Limits | None, image_id: str, owner: str | None, used_before: Usage
) -> None:
    """Raise as ``enforce`` for a transaction after which an image, now ``owner``'s, uses more than ``used_before``."""
    if limits is None:
        return
    after = of_image(connection, image_id)
    increase = {name: getattr(after, name) - getattr(used_before, name) for name in MEASURES}
    enforce(connection, limits, owner, Usage(**increase))


def of_owner(connection: sa.Connection, owner: str) -> Usage:
    """Return everything that ``owner`` uses now."""
    return _compute(connection, images.c.owner == owner, set(MEASURES))


def of_image(connection: sa.Connection, image_id: str) -> Usage:
    """Return what one image adds to its owner's usage."""
    return _compute(connection, images.c.id == image_id, set(MEASURES))


def _measure_of(location: LocationRow) -> str:
    return "stage" if location.staging else "size"


def _check_owner(limits: Limits, owner: str | None) -> None:
    if owner != limits.owner:
        raise errors.Conflict("the image got another owner meanwhile; try again", reason="owner")


def _compare(name: str, limit: int, used: int, wanted: int) -> None:
    kind = KINDS[name]
    if used + wanted <= limit * kind.factor:
        return
    raise errors.TooLarge(
        f"{name} is exceeded: the limit is {limit} {kind.unit}, {_amount(used, kind.factor)} are used "
        f"and {_amount(wanted, kind.factor)} more are wanted",
        limit=name,
    )


def _amount(number: int, factor: int) -> str:
    return f"{number / factor:.6g}" if number % factor else str(number // factor)


def _compute(connection: sa.Connection, whose: sa.ColumnElement[bool], measures: set[str]) -> Usage:
    """Return these fields of the usage of all images that meet ``whose``; the others are 0."""
    if not measures:
        return Usage()
    columns = [MEASURES[name](whose).label(name) for name in sorted(measures)]
    row = connection.execute(sa.select(*columns)).mappings().one()
    return Usage(**{name: int(value) for name, value in row.items()})


def _size(whose: sa.ColumnElement[bool]) -> sa.ColumnElement[Any]:
    # Two sums, as each has an index of its own: the many rows at rest, and the few of attempts.
    at_rest = sa.and_(images.c.listed, locations.c.status == LocationStatus.ACTIVE)
    return _sum(whose, at_rest) + _sum(whose, _UNFINISHED, sa.not_(locations.c.staging))


def _stage(whose: sa.ColumnElement[bool]) -> sa.ColumnElement[Any]:
    staged = locations.c.status == LocationStatus.STAGED
    copied = sa.select(sa.func.coalesce(sa.func.sum(images.c.size), 0)).where(whose, _COPYING)
    return _sum(whose, staged) + _sum(whose, _UNFINISHED, locations.c.staging) + copied.scalar_subquery()


def _sum(*conditions: sa.ColumnElement[bool]) -> sa.ColumnElement[Any]:
    join = locations.join(images, images.c.id == locations.c.image_id)
    select = sa.select(sa.func.coalesce(sa.func.sum(locations.c.size), 0)).select_from(join)
    return select.where(*conditions).scalar_subquery()


def _images(whose: sa.ColumnElement[bool]) -> sa.ColumnElement[Any]:
    return sa.select(sa.func.count()).select_from(images).where(whose, images.c.listed).scalar_subquery()


def _uploading(whose: sa.ColumnElement[bool]) -> sa.ColumnElement[Any]:
    select = sa.select(sa.func.count()).select_from(images)
    return select.where(whose, _IN_TRANSFER).scalar_subquery()


MEASURES = {"size": _size, "stage": _stage, "images": _images, "uploading": _uploading}
"""How each field of ``Usage`` is computed."""
