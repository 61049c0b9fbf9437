"""What a caller can ask to verify, reconcile and repair: pages of locations, verdicts, quarantine, orphans, runs.

Each function is one request, in transactions of its own.
"""

from typing import Any

import orjson
import sqlalchemy as sa

from glance_common.failpoints import failpoint
from glance_common.model.context import RequestContext
from glance_registry.db.session import read, run_transaction
from glance_registry.locations import orphans, purge, quarantine, store_runs, uploads
from glance_registry.records import rows


def page(engine: sa.Engine, wanted: quarantine.CopyQuery) -> list[dict[str, Any]]:
    """Return a page of locations, as ``quarantine.page``."""
    return read(engine, quarantine.page, wanted)


def verified(engine: sa.Engine, location_id: str) -> bool:
    """Record that a copy was found right; return whether it is still in use."""
    return run_transaction(engine, quarantine.verified, location_id)


def put_in_quarantine(engine: sa.Engine, location_id: str, reason: str) -> tuple[dict[str, Any], bool]:
    """Take a copy out of use; return it, and whether this was done now. Raises as ``quarantine.put``."""
    document = run_transaction(engine, quarantine.put, location_id, reason)
    failpoint("registry.quarantine.after-commit")
    return document


def release(engine: sa.Engine, location_id: str) -> dict[str, Any]:
    """Put a copy back into use; raises as ``quarantine.release``."""
    return run_transaction(engine, quarantine.release, location_id)


def discard(engine: sa.Engine, location_id: str, request_id: str | None) -> dict[str, Any]:
    """Give a quarantined copy to purge; raises as ``quarantine.discard``."""
    return run_transaction(engine, quarantine.discard, location_id, request_id)


def quarantined(engine: sa.Engine, limit: int, marker: str | None) -> list[dict[str, Any]]:
    """Return a page of the quarantined locations."""
    return read(engine, quarantine.listed, limit, marker)


def replace(engine: sa.Engine, context: RequestContext, location_id: str, begin: uploads.Begin) -> tuple[str, str]:
    """Begin to replace a quarantined copy; return the documents of the new location and of the image.

    Raises as ``uploads.replace``.
    """
    return run_transaction(engine, _replace, context, location_id, begin)


def _replace(
    connection: sa.Connection, context: RequestContext, location_id: str, begin: uploads.Begin
) -> tuple[str, str]:
    location = uploads.replace(connection, location_id, begin)
    text = orjson.dumps(rows.location_document(location)).decode()
    return text, rows.document(connection, context, location.image_id)


def start_run(engine: sa.Engine, run: tuple[str, str], token: str, lease: float, rest: float) -> str | None:
    """Begin a run over a store; return its cursor. Raises as ``store_runs.start``."""
    return run_transaction(engine, store_runs.start, run, token, lease, rest)


def renew_run(engine: sa.Engine, run: tuple[str, str], token: str, lease: float, cursor: str | None) -> None:
    """Keep a run and note how far it is; raises as ``store_runs.renew``."""
    run_transaction(engine, store_runs.renew, run, token, lease, cursor)


def end_run(engine: sa.Engine, run: tuple[str, str], token: str, *, is_finished: bool) -> None:
    """End a run; raises as ``store_runs.end``."""
    run_transaction(engine, store_runs.end, run, token, is_finished=is_finished)


def record_orphans(engine: sa.Engine, store: str, found: list[orphans.Orphan]) -> int:
    """List objects without an owner; return how many are new."""
    return run_transaction(engine, orphans.record, store, found)


def listed_orphans(engine: sa.Engine, limit: int, marker: str | None, store: str | None) -> list[dict[str, Any]]:
    """Return a page of the listed orphans."""
    return read(engine, orphans.listed, limit, marker, store)


def claim_orphan(engine: sa.Engine, orphan_id: str, token: str, lease: float) -> dict[str, Any]:
    """Let one process remove the bytes of an orphan; raises as ``orphans.claim``."""
    return run_transaction(engine, orphans.claim, orphan_id, token, lease)


def orphan_done(engine: sa.Engine, orphan_id: str, token: str) -> None:
    """Record that the bytes of a claimed orphan are gone."""
    run_transaction(engine, orphans.done, orphan_id, token)


def forget_orphan(engine: sa.Engine, orphan_id: str) -> bool:
    """Take an orphan that is none any more off the list; tell whether it was there."""
    return run_transaction(engine, orphans.forget, orphan_id)


def failed_purges(engine: sa.Engine, limit: int, marker: str | None) -> list[dict[str, Any]]:
    """Return a page of the purges that failed too often."""
    return read(engine, purge.failed, limit, marker)


def replay_purge(engine: sa.Engine, location_id: str, attempt: str) -> dict[str, Any]:
    """Let a purge that failed too often be tried again; raises as ``purge.replay``."""
    return run_transaction(engine, purge.replay, location_id, attempt)
