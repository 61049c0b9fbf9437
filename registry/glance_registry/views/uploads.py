"""Uploads over HTTP: the attempts that own bytes while these are written."""

import orjson
import sqlalchemy as sa
from flask import Blueprint, Response

from glance_common.failpoints import failpoint
from glance_common.model.context import RequestContext
from glance_common.model.operation import Held
from glance_common.model.status import ImageStatus
from glance_common.observability.metrics.catalog import UPLOADS
from glance_registry.db.session import run_transaction
from glance_registry.locations import uploads
from glance_registry.records import rows
from glance_registry.views import parsing
from glance_registry.views.usage import limits

blueprint = Blueprint("uploads", __name__)

ON_FAIL = (ImageStatus.QUEUED, ImageStatus.KILLED)
MAX_LEASE = 86400.0
"""Seconds: a lease that nobody renews must end within a day (promise I7)."""


@blueprint.post("/v1/images/<image_id>/uploads")
def start(image_id: str) -> Response:
    """Begin an upload: the image from queued to saving, and the row that owns the bytes."""
    body = parsing.body()
    body.only("attempt", "store", "size", "lease", "on_fail", "staging", "operation", "limits")
    begin = uploads.Begin(
        attempt=body.uuid("attempt"),
        store=body.text("store"),
        size=body.optional_integer("size"),
        lease=body.number("lease", maximum=MAX_LEASE),
        on_fail=ImageStatus(body.choice("on_fail", ON_FAIL)),
        staging=body.boolean("staging", default=False),
        operation=_held(body),
        limits=limits(body),
    )
    location, image = run_transaction(
        parsing.engine(), _start, parsing.caller(), parsing.path_id(image_id), begin
    )
    failpoint("registry.upload.after-commit")
    return parsing.raw_answer(f'{{"location":{location},"image":{image}}}', 201)


def _start(
    connection: sa.Connection, context: RequestContext, image_id: str, begin: uploads.Begin
) -> tuple[str, str]:
    location = uploads.start(connection, context, image_id, begin)
    text = orjson.dumps(rows.location_document(location)).decode()
    return text, rows.document(connection, context, image_id)


@blueprint.post("/v1/uploads/<attempt>/renew")
def renew(attempt: str) -> Response:
    """Keep the attempt alive."""
    body = parsing.body()
    body.only("lease")
    lease = body.number("lease", maximum=MAX_LEASE)
    run_transaction(parsing.engine(), uploads.renew, parsing.path_id(attempt, "upload"), lease)
    return parsing.answer({"lease": lease})


@blueprint.post("/v1/uploads/<attempt>/commit")
def commit(attempt: str) -> Response:
    """Make the bytes the image's data."""
    body = parsing.body()
    body.only(
        "size", "checksum", "os_hash_algo", "os_hash_value", "virtual_size", "metadata", "operation", "activate",
        "stage_host", "limits",
    )
    content = uploads.Content(
        size=body.integer("size"),
        checksum=body.optional_text("checksum"),
        os_hash_algo=body.optional_text("os_hash_algo"),
        os_hash_value=body.optional_text("os_hash_value"),
        virtual_size=body.optional_integer("virtual_size"),
        metadata=body.mapping("metadata"),
    )
    terms = uploads.Terms(
        operation=_held(body), activate=body.boolean("activate", default=True),
        stage_host=body.optional_text("stage_host", 1000), limits=limits(body),
    )
    image = run_transaction(
        parsing.engine(), _commit, parsing.caller(), parsing.path_id(attempt, "upload"), content, terms
    )
    UPLOADS.labels("committed").inc()
    failpoint("registry.commit.after-commit")
    return parsing.raw_answer(f'{{"image":{image}}}')


def _held(body: parsing.Fields) -> Held | None:
    """Return the operation that writes, None for a plain upload."""
    if body.values.get("operation") is None:
        return None
    given = parsing.Fields(body.mapping("operation"), "operation")
    given.only("id", "token")
    return Held(operation=given.uuid("id"), token=given.uuid("token"))


def _commit(
    connection: sa.Connection, context: RequestContext, attempt: str, content: uploads.Content, terms: uploads.Terms
) -> str:
    image_id = uploads.commit(connection, attempt, content, terms)
    text = rows.document(connection, context, image_id)
    failpoint("registry.commit.before-commit")
    return text


@blueprint.post("/v1/uploads/<attempt>/abort")
def abort(attempt: str) -> Response:
    """End the attempt; the answer says whether the caller may remove its bytes."""
    body = parsing.body()
    body.only("error", "lease")
    lease = body.number("lease", maximum=MAX_LEASE)
    error = body.optional_text("error", 1000)
    claim = run_transaction(
        parsing.engine(), uploads.abort, parsing.path_id(attempt, "upload"), lease, error
    )
    if claim is not None and error is not None:
        # Without an error a reservation ends, which was no upload.
        UPLOADS.labels("aborted").inc()
    failpoint("registry.abort.after-commit")
    return parsing.answer({"aborted": claim is not None, "deletion": claim})
