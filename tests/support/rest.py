"""Which rows of a deployment are not at rest, which never would be, and which wait for longer than a test can."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg2.extensions

Row = dict[str, Any]

_WAITING = "l.status IN ('writing', 'reaping', 'deleting') OR (l.status = 'pending_delete' AND NOT i.delayed)"
_LIVE = "status IN ('pending', 'processing')"
_LATE = "l.status = 'deleted' AND l.late_passes > 0"


def unsettled(connection: psycopg2.extensions.connection) -> list[Row]:
    """Return the rows that are in a transient state, all at one moment: work goes from one table to the next."""
    joined = "locations l JOIN images i ON i.id = l.image_id"
    statements = (
        f"SELECT l.*, i.status AS image_status FROM {joined} WHERE {_WAITING} OR ({_LATE})",
        "SELECT id, status FROM images WHERE status IN ('saving', 'importing')",
        f"SELECT * FROM operations WHERE {_LIVE}",
    )
    rows: list[Row] = []
    with connection.cursor() as cursor:
        cursor.execute("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        for statement in statements:
            cursor.execute(statement)
            rows += [dict(row) for row in cursor.fetchall()]
    return rows


def check_deadlines(query: Callable[[str], list[Row]]) -> None:
    """I7: every transient state ends by itself, and within a day."""
    endless = query(
        f"SELECT l.* FROM locations l JOIN images i ON i.id = l.image_id WHERE ({_WAITING} OR ({_LATE})) AND"
        " coalesce(greatest(l.lease_until, l.not_before), 'infinity') > now() + interval '1 day'"
    )
    assert not endless, f"rows that would wait for ever: {endless}"
    orphans = query(
        "SELECT i.id FROM images i WHERE status = 'saving' AND NOT EXISTS"
        " (SELECT FROM locations l WHERE l.image_id = i.id AND l.status = 'writing')"
    )
    assert not orphans, f"saving images without an upload: {orphans}"
    forgotten = query(
        f"SELECT id FROM images WHERE status = 'importing' AND id NOT IN"
        f" (SELECT image_id FROM operations WHERE {_LIVE} AND image_id IS NOT NULL)"
    )
    assert not forgotten, f"importing images without work on it: {forgotten}"
    unbounded = query(f"SELECT * FROM operations WHERE {_LIVE} AND deadline > now() + interval '1 day'")
    assert not unbounded, f"operations that would wait for ever: {unbounded}"


def bring_forward(execute: Callable[[str], int]) -> None:
    """Cut short what waits for minutes or hours: retries, late passes, and the 120 s of an aborted upload.

    So is the wait for a process that alone can do an operation; one that lives shows it every five seconds.
    """
    execute(
        f"UPDATE locations l SET not_before = now() FROM images i WHERE i.id = l.image_id AND l.lease_until IS NULL"
        f" AND l.not_before > now() + interval '1 s' AND ({_WAITING} OR ({_LATE}))"
    )
    execute("UPDATE locations SET lease_until = now() + interval '3 s' WHERE lease_until > now() + interval '10 s'")
    execute(
        f"UPDATE operations SET lease_until = now() + interval '3 s'"
        f" WHERE lease_until > now() + interval '10 s' AND {_LIVE}"
    )
    execute(
        f"UPDATE operations SET deadline = now() + interval '10 s'"
        f" WHERE deadline > now() + interval '15 s' AND host LIKE 'process:%' AND {_LIVE}"
    )
