"""Deletions over HTTP: what scrubbers may remove, and how that ended."""

from typing import Any

import sqlalchemy as sa
from flask import Blueprint, Response, request

from glance_common.failpoints import failpoint
from glance_common.observability.metrics.catalog import UPLOADS
from glance_registry.db.session import read, run_alone, run_transaction
from glance_registry.locations import purge, purge_fast
from glance_registry.views import parsing
from glance_registry.views.uploads import MAX_LEASE

blueprint = Blueprint("deletions", __name__, url_prefix="/v1/deletions")

MAX_ROWS = 1000


@blueprint.get("")
def due() -> Response:
    """List what a claim would get now."""
    query = parsing.Fields.parse(request.args.get("q", ""), "q")
    query.only("limit", "stores", "scrub_time")
    ids, oldest = read(
        parsing.engine(), purge.due,
        query.integer("limit", 1, MAX_ROWS), query.optional_texts("stores"), query.number("scrub_time"),
    )
    return parsing.poll_answer({"locations": ids, "oldest": oldest}, found=bool(ids))


@blueprint.post("/<location>/claim")
def claim(location: str) -> Response:
    """Give the bytes to one scrubber."""
    body = parsing.body()
    body.only("token", "lease", "stores", "scrub_time")
    wanted = purge.Claim(
        token=body.uuid("token"),
        lease=body.number("lease", maximum=MAX_LEASE),
        stores=body.optional_texts("stores"),
        scrub_time=body.number("scrub_time"),
    )
    document, is_reaped = run_alone(parsing.engine(), _plain_claim, purge.claim, _id(location), wanted)
    if is_reaped:
        UPLOADS.labels("reaped").inc()
    failpoint("registry.claim.after-commit")
    return parsing.answer({"deletion": document})


def _plain_claim(
    connection: sa.Connection, location: str, wanted: purge.Claim
) -> tuple[dict[str, Any], bool] | None:
    document = purge_fast.claim(connection, location, wanted)
    return None if document is None else (document, False)


@blueprint.post("/<location>/renew")
def renew(location: str) -> Response:
    """Keep the claim."""
    body = parsing.body()
    body.only("token", "lease")
    lease = body.number("lease", maximum=MAX_LEASE)
    run_transaction(parsing.engine(), purge.renew, _id(location), body.uuid("token"), lease)
    return parsing.answer({"lease": lease})


@blueprint.post("/<location>/done")
def done(location: str) -> Response:
    """Record that the bytes are gone."""
    body = parsing.body()
    body.only("token")
    token = body.uuid("token")
    is_image_deleted = run_alone(parsing.engine(), purge_fast.done, purge.done, _id(location), token)
    failpoint("registry.done.after-commit")
    return parsing.answer({"image_deleted": is_image_deleted})


@blueprint.post("/<location>/retry")
def retry(location: str) -> Response:
    """Give the claim back after a failure."""
    body = parsing.body()
    body.only("token", "error", "delay", "max_attempts")
    failure = purge.Failure(
        error=body.text("error", 1000),
        delay=body.number("delay"),
        max_attempts=body.integer("max_attempts", 1, 10**6),
    )
    status, attempts = run_transaction(
        parsing.engine(), purge.retry, _id(location), body.uuid("token"), failure
    )
    return parsing.answer({"status": status, "attempts": attempts})


@blueprint.get("/failed")
def failed() -> Response:
    """List what could not be removed too often."""
    query = parsing.Fields.parse(request.args.get("q", ""), "q")
    query.only("limit", "marker")
    marker = None if query.values.get("marker") is None else query.uuid("marker")
    rows = read(parsing.engine(), purge.failed, query.integer("limit", 1, MAX_ROWS), marker)
    return parsing.answer({"locations": rows})


@blueprint.post("/<location>/replay")
def replay(location: str) -> Response:
    """Let a failed removal be tried again."""
    body = parsing.body()
    body.only("attempt")
    row = run_transaction(parsing.engine(), purge.replay, _id(location), body.uuid("attempt"))
    return parsing.answer({"location": row})


def _id(location: str) -> str:
    return parsing.path_id(location, "location")
