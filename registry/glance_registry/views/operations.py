"""Operations over HTTP (docs/registry-protocol.md)."""

from flask import Blueprint, Response

from glance_common.model import errors
from glance_common.model.operation import PATIENCE, Held, OnFail, OperationKind
from glance_common.model.status import ImageStatus
from glance_registry.operations import lifecycle, use_cases
from glance_registry.views import parsing
from glance_registry.views.uploads import MAX_LEASE
from glance_registry.views.usage import limits

blueprint = Blueprint("operations", __name__)

MAX_MESSAGE = 1000
MAX_RESULT = 16 * 1024
MAX_SIGNATURE = 64 * 1024
"""Bytes: a certificate and what it is to verify."""
BESIDE_IMAGE = 16 * 1024
"""Bytes of the input of an operation beside the image that it may describe."""
MAX_TTL = 24 * 365 * 100
"""Hours."""
MAX_WITHOUT = 256
"""Projects that a claim may leave out: as many as a process may have workers."""
ENTERED = (ImageStatus.IMPORTING, ImageStatus.SAVING)
"""What an image may become when an operation begins with it. From both it can go to every ``on_fail``."""


@blueprint.post("/v1/operations")
def create() -> Response:
    """Make an operation and take its image's lock; 200 instead of 201 when it was made before."""
    document, made = use_cases.create(parsing.engine(), parsing.caller(), _wanted())
    return parsing.answer({"operation": document}, 201 if made else 200)


def _wanted() -> lifecycle.Wanted:
    body = parsing.body()
    body.only(
        "id", "kind", "image_id", "input", "ttl", "host", "stores", "on_fail", "allowed", "image_status", "message",
        "limits", "signature", "patience",
    )
    known = tuple(ImageStatus)
    allowed = body.texts("allowed")
    if not set(allowed) <= set(known):
        raise errors.BadRequest(f"allowed must be a list of statuses: {', '.join(known)}", field="allowed")
    has_status = body.values.get("image_status") is not None
    if not has_status and ImageStatus.UPLOADING in allowed:
        raise errors.BadRequest("image_status must be given for an image that is uploading", field="image_status")
    return lifecycle.Wanted(
        id=body.uuid("id"),
        image_id=None if body.values.get("image_id") is None else body.uuid("image_id"),
        values={
            "kind": body.choice("kind", tuple(OperationKind)),
            "input": body.mapping("input", largest_input()),
            "ttl": body.integer("ttl", maximum=MAX_TTL),
            "host": body.optional_text("host"),
            "patience": body.number("patience", maximum=PATIENCE),
            "on_fail": body.choice("on_fail", tuple(OnFail)),
            "message": body.optional_text("message", MAX_MESSAGE) or "",
            "signature": None if body.values.get("signature") is None else body.mapping(
                "signature", MAX_SIGNATURE
            ),
        },
        stores=body.texts("stores"),
        allowed=[ImageStatus(status) for status in allowed],
        image_status=ImageStatus(body.choice("image_status", ENTERED)) if has_status else None,
        limits=limits(body),
    )


def largest_input() -> int:
    """Return the bytes that the input of an operation may have."""
    return parsing.bounds().image_document + BESIDE_IMAGE


@blueprint.post("/v1/operations/claim")
def claim() -> Response:
    """Give one operation to a worker, after the operations that no worker will finish were failed."""
    body = parsing.body()
    body.only("token", "host", "lease", "without")
    without = body.optional_texts("without") or []
    if len(without) > MAX_WITHOUT:
        raise errors.BadRequest(f"without must name at most {MAX_WITHOUT} projects", field="without")
    wanted = lifecycle.OperationClaim(
        token=body.uuid("token"),
        host=body.text("host"),
        lease=body.number("lease", maximum=MAX_LEASE),
        without=tuple(without),
    )
    document = use_cases.claim(parsing.engine(), wanted, parsing.housekeeping())
    return parsing.poll_answer({"operation": document}, found=document is not None)


@blueprint.post("/v1/operations/alive")
def alive() -> Response:
    """Take a sign of life of a host that may have no worker free to claim, and say what still waits for it."""
    body = parsing.body()
    body.only("host")
    waiting = use_cases.show_life(parsing.engine(), body.text("host"))
    return parsing.poll_answer({"operations": waiting}, found=bool(waiting))


@blueprint.post("/v1/operations/<operation>/renew")
def renew(operation: str) -> Response:
    """Keep the operation."""
    body = parsing.body()
    body.only("token", "lease", "message")
    lease = body.number("lease", maximum=MAX_LEASE)
    message = body.optional_text("message", MAX_MESSAGE)
    is_wanted = use_cases.renew(parsing.engine(), held_by(operation, body), lease, message)
    return parsing.answer({"wanted": is_wanted, "lease": lease})


@blueprint.post("/v1/operations/<operation>/release")
def release(operation: str) -> Response:
    """Give the operation back."""
    body = parsing.body()
    body.only("token")
    use_cases.release(parsing.engine(), held_by(operation, body))
    return parsing.answer({})


@blueprint.post("/v1/operations/<operation>/finish")
def finish(operation: str) -> Response:
    """End the operation."""
    body = parsing.body()
    body.only("token", "success", "message", "result")
    result = None if body.values.get("result") is None else body.mapping("result", MAX_RESULT)
    document = use_cases.finish(
        parsing.engine(), held_by(operation, body), body.boolean("success"),
        body.optional_text("message", MAX_MESSAGE) or "", result,
    )
    return parsing.answer({"operation": document})


def held_by(operation: str, body: parsing.Fields) -> Held:
    """Return which operation in whose hands a request is about."""
    return Held(operation=parsing.path_id(operation, "operation"), token=body.uuid("token"))
