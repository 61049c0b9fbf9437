"""Runs over all that a store holds: one process at a time, and a cursor where the next one goes on.

A run is named by what it does (``verify``, ``reconcile``) and its store. Its process holds it by a token with a lease.
Every call may be repeated with the same token.
"""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from glance_common.model import errors
from glance_registry.db.tables import store_runs
from glance_registry.records.rows import after

KINDS = ("verify", "reconcile")

_COLUMNS = store_runs.c


def start(connection: sa.Connection, run: tuple[str, str], token: str, lease: float, rest: float) -> str | None:
    """Give the run (kind, store) to ``token`` for ``lease`` seconds; return the key behind which it goes on.

    Raises Conflict with the reason ``running`` while another process holds it, and ``not_due`` when the last one came
    to its end less than ``rest`` seconds ago.
    """
    kind, store = run
    connection.execute(insert(store_runs).values(kind=kind, store=store).on_conflict_do_nothing())
    is_running = sa.and_(_COLUMNS.lease_until > sa.func.now(), _COLUMNS.token != token)
    is_resting = sa.and_(_COLUMNS.cursor.is_(None), _COLUMNS.finished_at > after(-rest))
    select = sa.select(
        _COLUMNS.cursor, _COLUMNS.token,
        sa.func.coalesce(is_running, sa.false()).label("running"),
        sa.func.coalesce(is_resting, sa.false()).label("resting"),
    )
    row = connection.execute(select.where(*_named(run)).with_for_update()).one()
    if row.running:
        raise errors.Conflict(f"another process is at the {kind} run of store {store}", reason="running")
    if row.resting and row.token != token:
        raise errors.Conflict(f"the {kind} run of store {store} is not due yet", reason="not_due")
    values = {"token": token, "lease_until": after(lease)}
    if row.cursor is None:
        values["started_at"] = sa.func.now()
    connection.execute(sa.update(store_runs).where(*_named(run)).values(values))
    cursor: str | None = row.cursor
    return cursor


def renew(connection: sa.Connection, run: tuple[str, str], token: str, lease: float, cursor: str | None) -> None:
    """Hold the run for ``lease`` more seconds, and note that it has come to ``cursor`` (None = as before).

    Raises Gone when another process has taken it over.
    """
    values = {"lease_until": after(lease)}
    update = sa.update(store_runs).where(*_named(run), _COLUMNS.token == token, _COLUMNS.lease_until.is_not(None))
    if cursor is not None:
        update = update.values(cursor=cursor)
    if not connection.execute(update.values(values)).rowcount:
        raise _lost(run)


def end(connection: sa.Connection, run: tuple[str, str], token: str, *, is_finished: bool) -> None:
    """Give the run back; when it ``is_finished``, the next one begins at the start. Raises as ``renew``."""
    update = sa.update(store_runs).where(*_named(run), _COLUMNS.token == token).values(lease_until=None)
    if is_finished:
        update = update.values(cursor=None, finished_at=sa.func.now())
    if not connection.execute(update).rowcount:
        raise _lost(run)


def _named(run: tuple[str, str]) -> tuple[sa.ColumnElement[bool], ...]:
    return _COLUMNS.kind == run[0], _COLUMNS.store == run[1]


def _lost(run: tuple[str, str]) -> errors.Gone:
    return errors.Gone(f"another process has taken over the {run[0]} run of store {run[1]}")
