"""What a caller can ask about bytes: uploads, purges and the identities of stores.

Each function is one request, in transactions of its own.
"""

from typing import Any

import orjson
import sqlalchemy as sa

from glance_common.failpoints import failpoint
from glance_common.model.context import RequestContext
from glance_common.observability.metrics.catalog import UPLOADS
from glance_registry.db.session import read, run_alone, run_transaction
from glance_registry.locations import purge, purge_fast, store_identity, uploads
from glance_registry.records import rows


def start_upload(
    engine: sa.Engine, context: RequestContext, image_id: str, begin: uploads.Begin
) -> tuple[str, str]:
    """Begin an upload; return the documents of its location and of the image. Raises as ``uploads.start``."""
    documents = run_transaction(engine, _start, context, image_id, begin)
    failpoint("registry.upload.after-commit")
    return documents


def _start(
    connection: sa.Connection, context: RequestContext, image_id: str, begin: uploads.Begin
) -> tuple[str, str]:
    location = uploads.start(connection, context, image_id, begin)
    text = orjson.dumps(rows.location_document(location)).decode()
    return text, rows.document(connection, context, image_id)


def renew_upload(engine: sa.Engine, attempt: str, lease: float) -> None:
    """Keep an upload alive for ``lease`` seconds; raises as ``uploads.renew``."""
    run_transaction(engine, uploads.renew, attempt, lease)


def commit_upload(
    engine: sa.Engine, context: RequestContext, attempt: str, content: uploads.Content, terms: uploads.Terms
) -> str:
    """Make the bytes of an upload the image's data; return the image's document. Raises as ``uploads.commit``."""
    document = run_transaction(engine, _commit, context, attempt, content, terms)
    UPLOADS.labels("committed").inc()
    failpoint("registry.commit.after-commit")
    return document


def _commit(
    connection: sa.Connection, context: RequestContext, attempt: str, content: uploads.Content, terms: uploads.Terms
) -> str:
    image_id = uploads.commit(connection, attempt, content, terms)
    text = rows.document(connection, context, image_id)
    failpoint("registry.commit.before-commit")
    return text


def abort_upload(engine: sa.Engine, attempt: str, lease: float, error: str | None) -> dict[str, Any] | None:
    """End an upload; return the claim on its bytes, None without. Raises as ``uploads.abort``."""
    claimed = run_transaction(engine, uploads.abort, attempt, lease, error)
    if claimed is not None and error is not None:
        # Without an error a reservation ends, which was no upload.
        UPLOADS.labels("aborted").inc()
    failpoint("registry.abort.after-commit")
    return claimed


def due(
    engine: sa.Engine, limit: int, stores: list[str] | None, scrub_time: float
) -> tuple[list[str], float]:
    """Return the locations that a claim would get now, and by how many seconds the first is late."""
    return read(engine, purge.due, limit, stores, scrub_time)


def claim(engine: sa.Engine, location_id: str, wanted: purge.PurgeClaim) -> dict[str, Any]:
    """Give the bytes of a location to one scrubber and return the claim; raises as ``purge.claim``."""
    document, is_reaped = run_alone(engine, _usual_claim, purge.claim, location_id, wanted)
    if is_reaped:
        UPLOADS.labels("reaped").inc()
    failpoint("registry.claim.after-commit")
    return document


def _usual_claim(
    connection: sa.Connection, location_id: str, wanted: purge.PurgeClaim
) -> tuple[dict[str, Any], bool] | None:
    document = purge_fast.claim(connection, location_id, wanted)
    return None if document is None else (document, False)


def claim_many(
    engine: sa.Engine, location_ids: list[str], wanted: purge.PurgeClaim
) -> tuple[list[dict[str, Any]], list[str]]:
    """Give the bytes of many locations to one scrubber; return the claims and what is refused.

    Whatever is in neither needs a claim of its own.
    """
    ended = run_transaction(engine, purge_fast.claim_many, location_ids, wanted)
    failpoint("registry.claim.after-commit")
    return ended


def renew_claims(engine: sa.Engine, location_ids: list[str], token: str, lease: float) -> None:
    """Hold claims for ``lease`` more seconds."""
    run_transaction(engine, purge.renew_many, location_ids, token, lease)


def release_claims(engine: sa.Engine, location_ids: list[str], token: str) -> None:
    """Give claims back whose bytes were not touched."""
    run_transaction(engine, purge.release, location_ids, token)


def renew_claim(engine: sa.Engine, location_id: str, token: str, lease: float) -> None:
    """Hold a claim for ``lease`` more seconds; raises as ``purge.renew``."""
    run_transaction(engine, purge.renew, location_id, token, lease)


def done(engine: sa.Engine, location_id: str, token: str) -> bool:
    """Record that claimed bytes are gone; return whether the image is deleted with them. Raises as ``purge.done``."""
    is_image_deleted = run_alone(engine, purge_fast.done, purge.done, location_id, token)
    failpoint("registry.done.after-commit")
    return is_image_deleted


def done_many(engine: sa.Engine, location_ids: list[str], token: str) -> list[str]:
    """Record that claimed bytes of many locations are gone; return those for which it is recorded.

    Whatever is not among them needs a call of its own.
    """
    ended = run_transaction(engine, purge_fast.done_many, location_ids, token)
    failpoint("registry.done.after-commit")
    return ended


def retry(engine: sa.Engine, location_id: str, token: str, failure: purge.Failure) -> tuple[str, int]:
    """Give a claim back after a failure; return the row's status and its failures. Raises as ``purge.retry``."""
    return run_transaction(engine, purge.retry, location_id, token, failure)


def known_identities(engine: sa.Engine, store: str) -> dict[str, str]:
    """Return the uuid of each place of a store, but for places that belong to another store."""
    return read(engine, store_identity.known, store)


def register_identity(engine: sa.Engine, store: str, place: str, identity: str) -> str:
    """Write the uuid of a place, once; return the one that it has. Raises Conflict when it is another store's."""
    return run_transaction(engine, store_identity.register, store, place, identity)
