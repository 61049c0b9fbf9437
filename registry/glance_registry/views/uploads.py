"""Uploads over HTTP: the attempts that own bytes while these are written."""

from flask import Blueprint, Response

from glance_common.model.operation import Held
from glance_common.model.status import ImageStatus
from glance_registry.locations import uploads, use_cases
from glance_registry.views import parsing
from glance_registry.views.usage import limits

blueprint = Blueprint("uploads", __name__)

ON_FAIL = (ImageStatus.QUEUED, ImageStatus.KILLED)
MAX_LEASE = 86400.0
"""Seconds: a lease that is not renewed must end within a day (promise I7)."""


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
    location, image = use_cases.start_upload(
        parsing.engine(), parsing.caller(), parsing.path_id(image_id), begin
    )
    return parsing.raw_answer(f'{{"location":{location},"image":{image}}}', 201)


@blueprint.post("/v1/uploads/<attempt>/renew")
def renew(attempt: str) -> Response:
    """Keep the attempt alive."""
    body = parsing.body()
    body.only("lease")
    lease = body.number("lease", maximum=MAX_LEASE)
    use_cases.renew_upload(parsing.engine(), parsing.path_id(attempt, "upload"), lease)
    return parsing.answer({"lease": lease})


@blueprint.post("/v1/uploads/<attempt>/commit")
def commit(attempt: str) -> Response:
    """Make the bytes the image's data."""
    body = parsing.body()
    body.only(
        "size", "checksum", "os_hash_algo", "os_hash_value", "virtual_size", "metadata", "operation", "activate",
        "stage_host", "key", "fingerprint", "limits",
    )
    content = uploads.Content(
        size=body.integer("size"),
        checksum=body.optional_text("checksum"),
        os_hash_algo=body.optional_text("os_hash_algo"),
        os_hash_value=body.optional_text("os_hash_value"),
        virtual_size=body.optional_integer("virtual_size"),
        metadata=body.mapping("metadata"),
        key=body.text("key", parsing.MAX_KEY) if body.values.get("key") is not None else None,
        fingerprint=body.optional_text("fingerprint", 100),
    )
    terms = uploads.Terms(
        operation=_held(body), activate=body.boolean("activate", default=True),
        stage_host=body.optional_text("stage_host", 1000), limits=limits(body),
    )
    image = use_cases.commit_upload(
        parsing.engine(), parsing.caller(), parsing.path_id(attempt, "upload"), content, terms
    )
    return parsing.raw_answer(f'{{"image":{image}}}')


def _held(body: parsing.Fields) -> Held | None:
    """Return the operation that writes, None for a plain upload."""
    if body.values.get("operation") is None:
        return None
    given = parsing.Fields(body.mapping("operation"), "operation")
    given.only("id", "token")
    return Held(operation=given.uuid("id"), token=given.uuid("token"))


@blueprint.post("/v1/uploads/<attempt>/abort")
def abort(attempt: str) -> Response:
    """End the attempt; the answer says whether the caller may remove its bytes."""
    body = parsing.body()
    body.only("error", "lease")
    lease = body.number("lease", maximum=MAX_LEASE)
    error = body.optional_text("error", 1000)
    claim = use_cases.abort_upload(parsing.engine(), parsing.path_id(attempt, "upload"), lease, error)
    return parsing.answer({"aborted": claim is not None, "deletion": claim})
