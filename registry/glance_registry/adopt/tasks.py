"""Tasks of the other installation as operations that have ended.

None is carried on: what worked on it is there, and so are its files. The workers here never see it.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import orjson
import sqlalchemy as sa

from glance_common.model.operation import OperationKind
from glance_common.model.status import OperationStatus
from glance_registry.adopt.places import CannotCome
from glance_registry.adopt.reading import Row
from glance_registry.adopt.translation import Values, canonical, clean, document, moment
from glance_registry.adopt.writing import rows_of

TTL = 48
"""Hours that a task is shown after its end when it does not say so itself: the default of the original."""

INTERRUPTED = "The task did not end before its installation was taken over."
_ENDED = (OperationStatus.SUCCESS, OperationStatus.FAILURE)

_COLUMNS = {
    "id": "uuid", "kind": "text", "image_id": "uuid", "owner": "text", "user_id": "text", "request_id": "text",
    "status": "text", "input": "jsonb", "result": "jsonb", "message": "text", "created_at": "timestamptz",
    "updated_at": "timestamptz", "expires_at": "timestamptz", "ttl": "integer",
}
_NAMES = ", ".join(_COLUMNS)
_SELECTED = ", ".join(
    "(SELECT i.id FROM images i WHERE i.id = r.image_id)" if name == "image_id" else f"r.{name}" for name in _COLUMNS
)
_CHANGING = ("image_id", "status", "input", "result", "message", "updated_at", "expires_at")
_WRITE = sa.text(f"""
    INSERT INTO operations AS o ({_NAMES}, deadline, on_fail)
    SELECT {_SELECTED}, r.updated_at, 'queued' FROM {rows_of(_COLUMNS)} ORDER BY r.id
    ON CONFLICT (id) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in _CHANGING)}
    WHERE o.attempts = 0 AND o.host IS NULL AND o.status IN ('success', 'failure')
        AND ({", ".join(f"o.{name}" for name in _CHANGING)})
        IS DISTINCT FROM ({", ".join(f"excluded.{name}" for name in _CHANGING)})
    RETURNING CAST(o.id AS text), xmax = 0
""")  # noqa: S608 - names of this file


def task(row: Row, now: datetime) -> tuple[Values, str | None] | None:
    """Return a task as columns, and what does not come as it is; None for one that is not shown any more at ``now``.

    Raises CannotCome.
    """
    try:
        kind = OperationKind(row.type)
    except ValueError:
        raise CannotCome(f"tasks of the type {row.type[:40]} are not known") from None
    ended_at = row.updated_at or row.created_at
    expires_at = row.expires_at or ended_at + timedelta(hours=TTL)
    if expires_at <= now and row.status in _ENDED:
        return None
    has_ended = row.status in _ENDED
    given, result = document(row.input, "the input of a task"), document(row.result, "the result of a task")
    values = {
        "id": canonical(row.id), "kind": kind, "image_id": _image_id(row, given, result), "owner": row.owner,
        "user_id": row.user_id, "request_id": row.request_id,
        "status": row.status if has_ended else OperationStatus.FAILURE,
        "input": given if isinstance(given, dict) else {}, "result": result if isinstance(result, dict) else None,
        "message": clean(row.message or "") if has_ended else INTERRUPTED,
        "created_at": moment(row.created_at), "updated_at": moment(ended_at),
        "expires_at": moment(expires_at if has_ended else now + timedelta(hours=TTL)), "ttl": TTL,
    }
    return values, None if has_ended else f"the task is {row.status[:40]} there: it comes as failed"


def write(connection: sa.Connection, rows: Sequence[Values]) -> dict[str, bool]:
    """Write tasks; return the ids of those that are new (True) or changed."""
    found = connection.execute(_WRITE, {"rows": orjson.dumps(list(rows)).decode()})
    return {row[0]: row[1] for row in found}


def _image_id(row: Row, *documents: Any) -> str | None:
    """Return the image of a task; older schemas told it in input or result only."""
    named = [row.image_id, *(each.get("image_id") for each in documents if isinstance(each, dict))]
    for each in named:
        if isinstance(each, str):
            try:
                return canonical(each)
            except CannotCome:
                continue
    return None
