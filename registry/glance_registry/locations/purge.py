"""The purge of bytes: what is due, who has claimed it, and how it ended (lifecycle section 4).

A claim is a token with a lease. Only its holder may remove the bytes and say ``done`` or ``retry``; after the lease
another may claim the row. Every call may be repeated with the same token.
"""

from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import sqlalchemy as sa

from glance_common.model import errors
from glance_common.model.status import ImageStatus, LocationStatus
from glance_registry.db.row_types import ImageRow, LocationRow, StandingRow, every, one
from glance_registry.db.tables import images, locations
from glance_registry.records import rows as owners

LATE_PASS_DELAYS = {2: 3600.0, 1: 23 * 3600.0}
"""Seconds to the next late pass, by how many are left: one hour and one day after the key was first deleted."""

LATE_PASSES = len(LATE_PASS_DELAYS)
"""How often a key is deleted again when a process whose lease ran out may still touch it."""

ABANDONED = 7200.0
"""Seconds after its lease that a dead upload holds its image when no scrubber reaps it."""

_CLAIMED = (LocationStatus.DELETING, LocationStatus.REAPING)


@dataclass(frozen=True, slots=True)
class PurgeClaim:
    """A scrubber's request: ``lease`` and its own ``scrub_time`` in seconds, and the ``stores`` that it works (None =
    all)."""

    token: str
    lease: float
    stores: list[str] | None
    scrub_time: float


@dataclass(frozen=True, slots=True)
class Failure:
    """A purge that failed: text without credentials, seconds to wait, and how many failures are allowed."""

    error: str
    delay: float
    max_attempts: int


def due(
    connection: sa.Connection, limit: int, stores: list[str] | None, scrub_time: float
) -> tuple[list[str], float]:
    """Return the ids of at most ``limit`` due locations, oldest first, and how many seconds the first is late."""
    since = sa.func.coalesce(locations.c.not_before, locations.c.lease_until)
    age = sa.func.extract("epoch", sa.func.now() - sa.func.greatest(locations.c.not_before, locations.c.lease_until))
    select = sa.select(locations.c.id, age.label("age")).join(images, images.c.id == locations.c.image_id)
    if stores is not None:
        select = select.where(locations.c.store.in_(stores))
    rows = connection.execute(select.where(owners.is_due(scrub_time)).order_by(since).limit(limit)).all()
    return [row.id for row in rows], float(max((row.age for row in rows), default=0))


@dataclass(frozen=True, slots=True)
class Backlog:
    """How the purges get on: rows due now, seconds since the first of them is due, rows given up."""

    due: int
    oldest: float
    failed: int


MOST_COUNTED = 100_000
"""Due rows are counted up to here, so that a large backlog does not burden the database more than a small one."""


def backlog(connection: sa.Connection) -> Backlog:
    """Return how many rows are due or given up, for operators."""
    late = sa.func.extract("epoch", sa.func.now() - sa.func.greatest(locations.c.not_before, locations.c.lease_until))
    rows = (
        sa.select(late.label("late"))
        .join(images, images.c.id == locations.c.image_id)
        .where(owners.is_due(scrub_time=0))
        .limit(MOST_COUNTED)
        .subquery()
    )
    count, oldest = connection.execute(sa.select(sa.func.count(), sa.func.max(rows.c.late)).select_from(rows)).one()
    failed_rows = sa.select(sa.func.count()).where(locations.c.status == LocationStatus.FAILED)
    return Backlog(count, float(oldest or 0), connection.execute(failed_rows).scalar_one())


def claim(connection: sa.Connection, location_id: str, wanted: PurgeClaim) -> tuple[dict[str, Any], bool]:
    """Give the bytes of a location to ``wanted.token``: the point of no return for restore.

    Returns the claim, and whether it ended an upload whose lease had run out. Raises NotFound without such a row,
    Conflict with ``details["reason"]`` when it is not due, held by another, or not in one of the stores.
    """
    found = owners.lock_owner(connection, locations.c.id == location_id)
    if found is None:
        raise errors.NotFound(f"No location found with ID {location_id}")
    image, location = found
    if wanted.stores is not None and location.store not in wanted.stores:
        raise errors.Conflict(f"location {location_id} is in the store {location.store}", reason="other_store")
    held = {"token": wanted.token, "lease_until": owners.after(wanted.lease)}
    if _holds(location, wanted.token):
        owners.change_location(connection, location, **held)
    else:
        _check_due(connection, location, wanted.scrub_time)
        _take(connection, image, location, held)
    return owners.deletion_document(location, wanted.token), location.status == LocationStatus.WRITING


def _take(connection: sa.Connection, image: ImageRow, location: LocationRow, held: dict[str, Any]) -> None:
    if location.lease_until is not None:
        # It ran out while a process held it that may still wake up: a writer that would leave bytes behind, or a
        # scrubber that would take the bytes of the key's next owner. Until the late passes are over the key gets no
        # next owner.
        held = {**held, "late_passes": LATE_PASSES}
    match location.status:
        case LocationStatus.WRITING:
            owners.set_location(connection, location, LocationStatus.REAPING, **held)
            owners.fail_image(connection, image, location)
        case LocationStatus.PENDING_DELETE:
            owners.set_location(connection, location, LocationStatus.DELETING, **held)
        case _:
            owners.change_location(connection, location, **held)


def _check_due(connection: sa.Connection, location: LocationRow, scrub_time: float) -> None:
    select = (
        sa.select(locations.c.id)
        .join(images, images.c.id == locations.c.image_id)
        .where(locations.c.id == location.id, owners.is_due(scrub_time))
    )
    if connection.execute(select).one_or_none() is not None:
        return
    is_leased = sa.select(locations.c.id).where(
        locations.c.id == location.id, locations.c.lease_until > sa.func.now()
    )
    raise refused(location, connection.execute(is_leased).one_or_none() is not None)


def refused(location: StandingRow, is_leased: bool) -> errors.Conflict:
    """Return the error that says why ``location`` cannot be claimed now."""
    reason = _refusal(location, is_leased)
    return errors.Conflict(f"location {location.id} cannot be claimed: {reason}", reason=reason)


def _refusal(location: StandingRow, is_leased: bool) -> str:
    match location.status:
        case LocationStatus.ACTIVE:
            return "in_use"
        case LocationStatus.FAILED | LocationStatus.QUARANTINED:
            return str(location.status)
        case LocationStatus.DELETED if location.late_passes == 0:
            return "gone"
        case LocationStatus.WRITING | LocationStatus.PENDING_DELETE if is_leased:
            return "writing"
    return "claimed" if is_leased else "not_due"


def abandoned(connection: sa.Connection) -> list[str]:
    """Return the locations of uploads that died long ago and were not reaped: no scrubber works their store."""
    select = sa.select(locations.c.id).where(_is_abandoned())
    return list(connection.scalars(select.order_by(locations.c.position).limit(100)))


def _is_abandoned() -> sa.ColumnElement[bool]:
    # The second condition is written as in ix_locations_due.
    since = sa.func.coalesce(locations.c.not_before, locations.c.lease_until)
    return sa.and_(locations.c.status == LocationStatus.WRITING, since <= owners.after(-ABANDONED))


def give_up(connection: sa.Connection, location_id: str) -> None:
    """Free the image of an abandoned upload; what it left waits for a scrubber that works the store (promise I7)."""
    found = owners.lock_owner(connection, locations.c.id == location_id)
    still = sa.select(locations.c.id).where(locations.c.id == location_id, _is_abandoned())
    if found is None or connection.scalar(still) is None:
        return
    image, location = found
    # The lease stays, expired: who claims the row sees that its writer may still wake up.
    owners.set_location(connection, location, LocationStatus.REAPING)
    owners.fail_image(connection, image, location)


def renew(connection: sa.Connection, location_id: str, token: str, lease: float) -> None:
    """Hold the claim for ``lease`` more seconds from now; raise Gone when it is over or another's.

    One statement without the image's lock: it changes nothing but the lease, and only while the claim is held.
    """
    update = sa.update(locations).where(
        locations.c.id == location_id, locations.c.token == token, locations.c.lease_until.is_not(None)
    )
    if not connection.execute(update.values(lease_until=owners.after(lease))).rowcount:
        raise _lost(location_id)


def renew_many(connection: sa.Connection, location_ids: list[str], token: str, lease: float) -> None:
    """Hold those of the claims for ``lease`` more seconds that are the token's; ``done`` tells of the others.

    A row that another transaction holds is left out: two that lock many rows in different orders would wait for each
    other.
    """
    _change_held(connection, location_ids, token, lease_until=owners.after(lease))


def release(connection: sa.Connection, location_ids: list[str], token: str) -> None:
    """Give claims back whose bytes were not touched; another may claim the rows at once. Leaves out as
    ``renew_many``."""
    # A row without both times would never be due: what was a dead upload has only the lease.
    due_since = sa.func.coalesce(locations.c.not_before, sa.func.now())
    _change_held(connection, location_ids, token, lease_until=None, not_before=due_since)


def _change_held(connection: sa.Connection, location_ids: list[str], token: str, **values: Any) -> None:
    held = sa.select(locations.c.id).where(
        locations.c.id.in_(location_ids), locations.c.token == token, locations.c.lease_until.is_not(None)
    )
    free = held.with_for_update(skip_locked=True).cte("free")
    update = sa.update(locations).where(locations.c.id.in_(sa.select(free.c.id)))
    connection.execute(update.values(**values))


def done(connection: sa.Connection, location_id: str, token: str) -> bool:
    """Record that the store holds nothing under the key; return whether the image is deleted with it.

    The image goes with its last row that is not ``deleted``. The key of a writer that may still be alive gets its late
    passes. Also accepted after the lease, as long as no other process claimed the row. Raises Gone when one did.
    """
    image, location = _lock(connection, location_id, token)
    match location.status:
        case status if status in _CLAIMED:
            owners.set_location(
                connection, location, LocationStatus.DELETED,
                deleted_at=sa.func.coalesce(locations.c.deleted_at, sa.func.now()), **_rest(location.late_passes),
            )
        case LocationStatus.DELETED if location.lease_until is not None:
            left = location.late_passes - 1
            owners.change_location(connection, location, late_passes=left, **_rest(left))
        case LocationStatus.DELETED:
            pass
        case _:
            raise _lost(location_id)
    return _finish_image(connection, image)


def _rest(late_passes: int) -> dict[str, Any]:
    """Return what a row says when no process holds it and ``late_passes`` are to come."""
    delay = LATE_PASS_DELAYS.get(late_passes)
    return {
        "lease_until": None,
        "not_before": None if delay is None else owners.after(delay),
        "attempts": 0,
    }


def _finish_image(connection: sa.Connection, image: ImageRow) -> bool:
    if image.status == ImageStatus.PENDING_DELETE:
        remaining = sa.select(locations.c.id).where(
            locations.c.image_id == image.id, locations.c.status != LocationStatus.DELETED
        )
        if connection.execute(remaining.limit(1)).one_or_none() is not None:
            return False
        owners.set_image(connection, image, ImageStatus.DELETED)
        return True
    return bool(image.status == ImageStatus.DELETED)


def retry(connection: sa.Connection, location_id: str, token: str, failure: Failure) -> tuple[str, int]:
    """Give the claim back after a failed purge; return the row's status and how many purges failed.

    The next claim is possible ``delay`` seconds from now. After ``max_attempts`` failures the row is ``failed`` until
    an operator replays it; a late pass is given up instead, because the key was deleted once already. Raises Gone when
    the claim is another's.
    """
    _, location = _lock(connection, location_id, token)
    if location.lease_until is None:
        # A repeated call: the claim was given back before.
        return str(location.status), int(location.attempts)
    attempts = location.attempts + 1
    failed = {"attempts": attempts, "last_error": failure.error, "lease_until": None}
    if attempts < failure.max_attempts:
        owners.change_location(connection, location, not_before=owners.after(failure.delay), **failed)
        return str(location.status), attempts
    if location.status == LocationStatus.DELETED:
        left = location.late_passes - 1
        owners.change_location(connection, location, late_passes=left, last_error=failure.error, **_rest(left))
        return str(location.status), 0
    owners.set_location(connection, location, LocationStatus.FAILED, **failed)
    return str(LocationStatus.FAILED), attempts


def owed(connection: sa.Connection, store: str) -> list[str]:
    """Return the locations in ``store`` whose bytes may be removed now or could not be removed, in no order."""
    may_go = sa.or_(owners.is_due(scrub_time=0), locations.c.status == LocationStatus.FAILED)
    select = sa.select(locations.c.id).join(images, images.c.id == locations.c.image_id)
    return list(connection.scalars(select.where(locations.c.store == store, may_go)))


def write_off(connection: sa.Connection, location_id: str) -> bool:
    """Record an ``owed`` location as gone without asking its store, which is lost; return whether this was done now.

    A claim that a scrubber holds is left alone: then the store is not lost.
    """
    found = owners.lock_owner(connection, locations.c.id == location_id)
    still = sa.select(locations.c.id).join(images, images.c.id == locations.c.image_id).where(
        locations.c.id == location_id,
        sa.or_(owners.is_due(scrub_time=0), locations.c.status == LocationStatus.FAILED),
    )
    if found is None or connection.scalar(still) is None:
        return False
    token = str(uuid4())
    if found[1].status == LocationStatus.FAILED:
        replay(connection, location_id, token)
    claim(connection, location_id, PurgeClaim(token, lease=60, stores=None, scrub_time=0))
    done(connection, location_id, token)
    # No upload will write there again either.
    connection.execute(
        sa.update(locations).where(locations.c.id == location_id).values(late_passes=0, not_before=None)
    )
    return True


def failed(connection: sa.Connection, limit: int, marker: str | None) -> list[dict[str, Any]]:
    """Return at most ``limit`` rows whose purge failed too often, by id, after ``marker``."""
    select = sa.select(locations).where(locations.c.status == LocationStatus.FAILED)
    if marker is not None:
        select = select.where(locations.c.id > marker)
    rows = every(connection, select.order_by(locations.c.id).limit(limit), LocationRow)
    return [_failed_document(row) for row in rows]


def _failed_document(location: LocationRow) -> dict[str, Any]:
    return owners.deletion_document(location, location.token) | {
        "status": str(location.status),
        "last_error": location.last_error,
    }


def replay(connection: sa.Connection, location_id: str, attempt: str) -> dict[str, Any]:
    """Make a failed row claimable again, now and with no failures counted; return it.

    A row that is being removed or is gone already is returned as it is: an earlier call may have done it. Raises
    NotFound without such a row, Conflict when its bytes are not to be removed.
    """
    found = owners.lock_owner(connection, locations.c.id == location_id)
    if found is None:
        raise errors.NotFound(f"No location found with ID {location_id}")
    image, location = found
    if location.status not in (LocationStatus.FAILED, LocationStatus.DELETED, *_CLAIMED):
        raise errors.Conflict(f"location {location_id} is {location.status}, not failed", reason=str(location.status))
    if location.status == LocationStatus.FAILED:
        is_hidden = image.status in (ImageStatus.PENDING_DELETE, ImageStatus.DELETED)
        owners.set_location(
            connection, location, LocationStatus.DELETING if is_hidden else LocationStatus.REAPING,
            token=attempt, lease_until=None, not_before=sa.func.now(), attempts=0,
        )
    replayed = one(connection, sa.select(locations).where(locations.c.id == location_id), LocationRow)
    return _failed_document(replayed)


def _holds(location: LocationRow, token: str) -> bool:
    return location.token == token and location.lease_until is not None


def _lock(connection: sa.Connection, location_id: str, token: str) -> tuple[ImageRow, LocationRow]:
    found = owners.lock_owner(connection, locations.c.id == location_id)
    if found is None or found[1].token != token:
        raise _lost(location_id)
    return found


def _lost(location_id: str) -> errors.Gone:
    return errors.Gone(f"the claim on location {location_id} is over or another's")
