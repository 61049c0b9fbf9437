"""Deletions over HTTP: what scrubbers may remove, and how that ended."""

from flask import Blueprint, Response, request

from glance_registry.locations import purge, use_cases
from glance_registry.views import parsing
from glance_registry.views.uploads import MAX_LEASE

blueprint = Blueprint("deletions", __name__, url_prefix="/v1/deletions")

MAX_ROWS = 1000
MAX_BATCH = 100
"""Locations of one call: so many rows are locked together."""


@blueprint.get("")
def due() -> Response:
    """List what a claim would get now."""
    query = parsing.Fields.parse(request.args.get("q", ""), "q")
    query.only("limit", "stores", "scrub_time")
    ids, oldest = use_cases.due(
        parsing.engine(), query.integer("limit", 1, MAX_ROWS), query.optional_texts("stores"),
        query.number("scrub_time"),
    )
    return parsing.poll_answer({"locations": ids, "oldest": oldest}, found=bool(ids))


@blueprint.post("/claim")
def claim_many() -> Response:
    """Give the bytes of many locations to one scrubber."""
    body = parsing.body()
    body.only("locations", "token", "lease", "stores", "scrub_time")
    claims, refused = use_cases.claim_many(parsing.engine(), _ids(body), _wanted(body))
    return parsing.answer({"deletions": claims, "refused": refused})


@blueprint.post("/renew")
def renew_many() -> Response:
    """Keep many claims."""
    body = parsing.body()
    body.only("locations", "token", "lease")
    lease = body.number("lease", maximum=MAX_LEASE)
    use_cases.renew_claims(parsing.engine(), _ids(body), body.uuid("token"), lease)
    return parsing.answer({"lease": lease})


@blueprint.post("/release")
def release_many() -> Response:
    """Give claims back whose bytes were not touched."""
    body = parsing.body()
    body.only("locations", "token")
    use_cases.release_claims(parsing.engine(), _ids(body), body.uuid("token"))
    return parsing.answer({})


@blueprint.post("/done")
def done_many() -> Response:
    """Record that the bytes of many locations are gone."""
    body = parsing.body()
    body.only("locations", "token")
    return parsing.answer({"done": use_cases.done_many(parsing.engine(), _ids(body), body.uuid("token"))})


@blueprint.post("/<location>/claim")
def claim(location: str) -> Response:
    """Give the bytes to one scrubber."""
    body = parsing.body()
    body.only("token", "lease", "stores", "scrub_time")
    return parsing.answer({"deletion": use_cases.claim(parsing.engine(), _id(location), _wanted(body))})


@blueprint.post("/<location>/renew")
def renew(location: str) -> Response:
    """Keep the claim."""
    body = parsing.body()
    body.only("token", "lease")
    lease = body.number("lease", maximum=MAX_LEASE)
    use_cases.renew_claim(parsing.engine(), _id(location), body.uuid("token"), lease)
    return parsing.answer({"lease": lease})


@blueprint.post("/<location>/done")
def done(location: str) -> Response:
    """Record that the bytes are gone."""
    body = parsing.body()
    body.only("token")
    is_image_deleted = use_cases.done(parsing.engine(), _id(location), body.uuid("token"))
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
    status, attempts = use_cases.retry(parsing.engine(), _id(location), body.uuid("token"), failure)
    return parsing.answer({"status": status, "attempts": attempts})


def _id(location: str) -> str:
    return parsing.path_id(location, "location")


def _wanted(body: parsing.Fields) -> purge.PurgeClaim:
    return purge.PurgeClaim(
        token=body.uuid("token"),
        lease=body.number("lease", maximum=MAX_LEASE),
        stores=body.optional_texts("stores"),
        scrub_time=body.number("scrub_time"),
    )


def _ids(body: parsing.Fields) -> list[str]:
    return body.uuids("locations", MAX_BATCH)
