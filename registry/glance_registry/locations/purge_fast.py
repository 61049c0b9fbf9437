"""Claim and done of the usual purge in one round trip each, and usual refusals after one read without a lock.

Usual is what waits in ``pending_delete`` since its image was deleted and was never claimed, or in ``deleting`` since a
claim was given back, and later the claim on it. For all else the functions here change nothing: ``purge`` knows those
cases and repeated calls.

``claim_many`` and ``done_many`` do the same for many locations in one transaction. They wait for no lock: what another
transaction holds is left out, so that one image cannot hold up the others.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any

import sqlalchemy as sa

from glance_common.model.status import ImageStatus, LocationStatus
from glance_registry.db.prepared import Prepared
from glance_registry.db.row_types import ClaimedRow, StandingRow
from glance_registry.db.tables import images, locations
from glance_registry.locations import purge
from glance_registry.locations.purge import PurgeClaim
from glance_registry.records import rows as owners

# Parts of the statements, which have a parameter for every other value.
_ZERO: sa.ColumnElement[int] = sa.literal_column("0", sa.Integer())


def claim(connection: sa.Connection, location_id: str, wanted: PurgeClaim) -> dict[str, Any] | None:
    """Give the bytes of a location that is due to ``wanted.token`` and return the claim; None when it is not usual.

    Raises Conflict as ``deletions.claim`` when another holds the claim or the bytes are gone.
    """
    statements = _statements()
    rows = statements.look.run(connection, {"ids": _listed([location_id])})
    found = rows[0] if rows else None
    if found is None or (wanted.stores is not None and found.store not in wanted.stores):
        return None
    if not _is_usual(found):
        if _is_refused(found, wanted):
            raise purge.refused(found, found.is_leased)
        return None
    claimed = statements.claim.run(connection, _claim_values([location_id], wanted), after=statements.lock)
    return owners.deletion_document(claimed[0], wanted.token) if claimed else None


def claim_many(
    connection: sa.Connection, location_ids: list[str], wanted: PurgeClaim
) -> tuple[list[dict[str, Any]], list[str]]:
    """Give the bytes of those locations to ``wanted.token`` whose claim is usual.

    Returns their claims, and the ids of those that are refused. Whatever is in neither is to be claimed by itself.
    """
    statements = _statements()
    found = statements.look.run(connection, {"ids": _listed(location_ids)})
    refused = [row.id for row in found if _is_refused(row, wanted) or _is_elsewhere(row, wanted)]
    usual = [row.id for row in found if _is_usual(row) and not _is_elsewhere(row, wanted)]
    free = _free(connection, usual)
    if not free:
        return [], refused
    claimed = statements.claim.run(connection, _claim_values(free, wanted))
    return [owners.deletion_document(row, wanted.token) for row in claimed], refused


def done(connection: sa.Connection, location_id: str, token: str) -> bool | None:
    """Record that the bytes are gone; return whether the image is deleted with them, None when it is not usual."""
    statements = _statements()
    values = {"ids": _listed([location_id]), "held": token}
    ended = statements.done.run(connection, values, after=statements.lock)
    return ended[0].is_image_deleted if ended else None


def done_many(connection: sa.Connection, location_ids: list[str], token: str) -> list[str]:
    """Record that the bytes of those locations are gone whose end is usual; return their ids."""
    free = _free(connection, location_ids)
    if not free:
        return []
    return [row.id for row in _statements().done.run(connection, {"ids": _listed(free), "held": token})]


def _free(connection: sa.Connection, location_ids: list[str]) -> list[str]:
    """Lock the images of locations, but for those that another transaction holds; return the locations."""
    if not location_ids:
        return []
    return [row[0] for row in _statements().lock_free.run(connection, {"ids": _listed(location_ids)})]


def _is_usual(found: "_Look") -> bool:
    return found.status == LocationStatus.PENDING_DELETE or (
        found.status == LocationStatus.DELETING and found.is_free and found.late_passes == 0
    )


def _is_refused(found: "_Look", wanted: PurgeClaim) -> bool:
    # A lock would cost the refusal a write to the disk, and what was true at the read is as true an answer.
    return found.token != wanted.token and (found.is_leased or found.is_over)


def _is_elsewhere(found: "_Look", wanted: PurgeClaim) -> bool:
    return wanted.stores is not None and found.store not in wanted.stores


def _claim_values(location_ids: list[str], wanted: PurgeClaim) -> dict[str, Any]:
    return {
        "ids": _listed(location_ids), "new_token": wanted.token, "lease": timedelta(seconds=wanted.lease),
        "kept": timedelta(seconds=-wanted.scrub_time), "stores": wanted.stores,
    }


def _listed(location_ids: Iterable[str]) -> str:
    """Return uuids as PostgreSQL writes an array: the driver's own form would be an array of texts."""
    return f"{{{','.join(location_ids)}}}"


class _Look(StandingRow):
    """How a location stands: no lease is written down (``is_free``), a remover holds it (``is_leased``), nothing is
    ever to be removed again (``is_over``)."""

    store: str
    token: str | None
    is_free: bool
    is_leased: bool
    is_over: bool


class _Ended:
    """A location whose bytes are gone."""

    id: str
    is_image_deleted: bool


@dataclass(frozen=True, slots=True)
class _Statements:
    look: Prepared[_Look]
    lock: Prepared[tuple[str]]
    lock_free: Prepared[tuple[str]]
    claim: Prepared[ClaimedRow]
    done: Prepared[_Ended]


@cache
def _statements() -> _Statements:
    return _Statements(
        look=Prepared(_look(), named=True), lock=Prepared(_lock()), lock_free=Prepared(_lock_free()),
        claim=Prepared(_claim(), named=True), done=Prepared(_done(), named=True),
    )


def _status(status: ImageStatus | LocationStatus) -> sa.ColumnElement[str]:
    return sa.literal_column(f"'{status}'", sa.Text())


def _named() -> sa.ColumnElement[bool]:
    return locations.c.id == sa.any_(sa.bindparam("ids", type_=sa.ARRAY(locations.c.id.type)))


def _look() -> sa.Select[Any]:
    """Return how locations stand, as ``_Look`` says."""
    claimed = [_status(status) for status in (LocationStatus.DELETING, LocationStatus.REAPING, LocationStatus.DELETED)]
    is_leased = sa.and_(locations.c.status.in_(claimed), locations.c.lease_until > sa.func.now())
    is_over = sa.and_(
        locations.c.status == _status(LocationStatus.DELETED),
        locations.c.late_passes == _ZERO,
        locations.c.lease_until.is_(None),
    )
    return sa.select(
        sa.cast(locations.c.id, sa.Text).label("id"), locations.c.store, locations.c.status, locations.c.late_passes,
        sa.cast(locations.c.token, sa.Text).label("token"), locations.c.lease_until.is_(None).label("is_free"),
        sa.func.coalesce(is_leased, sa.false()).label("is_leased"), is_over.label("is_over"),
    ).where(_named())


def _lock() -> sa.Select[Any]:
    """Return the lock of the image of one location, which comes first, as everywhere."""
    owner = sa.select(locations.c.image_id).where(_named()).scalar_subquery()
    return sa.select(images.c.id).where(images.c.id == owner).with_for_update(key_share=True)


def _lock_free() -> sa.Select[Any]:
    """Return the lock of the images of many locations, without those that are locked; it selects the locations."""
    select = sa.select(sa.cast(locations.c.id, sa.Text)).join(images, images.c.id == locations.c.image_id)
    return select.where(_named()).with_for_update(key_share=True, of=images, skip_locked=True)


def _claim() -> sa.UpdateBase:
    stores = sa.bindparam("stores", type_=sa.ARRAY(sa.Text))
    return (
        sa.update(locations)
        .where(
            _named(),
            images.c.id == locations.c.image_id,
            sa.or_(
                locations.c.status == _status(LocationStatus.DELETING),
                sa.and_(
                    locations.c.status == _status(LocationStatus.PENDING_DELETE),
                    owners.is_kept_no_longer(sa.func.now() + sa.bindparam("kept", type_=sa.Interval)),
                ),
            ),
            locations.c.late_passes == _ZERO,
            locations.c.lease_until.is_(None),
            locations.c.not_before <= sa.func.now(),
            sa.or_(sa.cast(stores, sa.ARRAY(sa.Text)).is_(None), locations.c.store == sa.any_(stores)),
        )
        .values(
            status=_status(LocationStatus.DELETING),
            token=sa.bindparam("new_token", type_=locations.c.token.type),
            lease_until=sa.func.now() + sa.bindparam("lease", type_=sa.Interval),
        )
        .returning(
            sa.cast(locations.c.id, sa.Text).label("id"), sa.cast(locations.c.image_id, sa.Text).label("image_id"),
            locations.c.store, locations.c.key, locations.c.attempts, locations.c.request_id,
        )
    )


def _done() -> sa.Select[Any]:
    """Return the statement that ends locations, and each image with the last of its own."""
    gone = (
        sa.update(locations)
        .where(
            _named(),
            locations.c.token == sa.bindparam("held", type_=locations.c.token.type),
            locations.c.status == _status(LocationStatus.DELETING),
            locations.c.late_passes == _ZERO,
        )
        .values(
            status=_status(LocationStatus.DELETED),
            deleted_at=sa.func.coalesce(locations.c.deleted_at, sa.func.now()),
            lease_until=sa.null(), not_before=sa.null(), attempts=_ZERO,
        )
        .returning(locations.c.id, locations.c.image_id)
        .cte("gone")
    )
    other = locations.alias("other")
    others = sa.exists().where(
        other.c.image_id == images.c.id,
        other.c.id.not_in(sa.select(gone.c.id)),
        other.c.status != _status(LocationStatus.DELETED),
    )
    ended = (
        sa.update(images)
        .where(
            images.c.id == gone.c.image_id,
            images.c.status == _status(ImageStatus.PENDING_DELETE),
            sa.not_(others),
        )
        .values(
            status=_status(ImageStatus.DELETED),
            updated_at=sa.func.now(),
            row_version=images.c.row_version + sa.literal_column("1", sa.Integer()),
        )
        .returning(images.c.id)
        .cte("ended")
    )
    # The image as it was before this statement.
    before = images.alias("before")
    was_deleted = before.c.status == _status(ImageStatus.DELETED)
    is_deleted = sa.or_(was_deleted, before.c.id.in_(sa.select(ended.c.id)))
    columns: list[sa.ColumnElement[Any]] = [
        sa.cast(gone.c.id, sa.Text).label("id"), is_deleted.label("is_image_deleted"),
    ]
    return sa.select(*columns).select_from(gone).join(before, before.c.id == gone.c.image_id)
