"""Verify, reconcile and repair over HTTP: pages of locations, verdicts, quarantine, orphans, and runs over stores."""

from flask import Blueprint, Response, request

from glance_common.model import errors
from glance_common.model.status import ImageStatus
from glance_registry.locations import store_runs, uploads, verification
from glance_registry.locations.orphans import Orphan
from glance_registry.locations.quarantine import CopyQuery
from glance_registry.views import parsing
from glance_registry.views.uploads import MAX_LEASE

blueprint = Blueprint("verification", __name__)

MAX_ROWS = 1000
MAX_REASON = 1000


@blueprint.get("/v1/locations")
def page() -> Response:
    """List locations that own a key: of a store in the order of their keys, or of an image."""
    query = _query("limit", "store", "after", "key", "image_id")
    wanted = CopyQuery(
        limit=query.integer("limit", 1, MAX_ROWS),
        store=query.optional_text("store"),
        after=query.optional_text("after", parsing.MAX_KEY),
        key=query.optional_text("key", parsing.MAX_KEY),
        image_id=query.uuid("image_id") if query.values.get("image_id") is not None else None,
    )
    if (wanted.store is None) == (wanted.image_id is None):
        raise errors.BadRequest("q must name either a store or an image_id", field="store")
    return parsing.answer({"locations": verification.page(parsing.engine(), wanted)})


@blueprint.post("/v1/locations/<location>/verified")
def verified(location: str) -> Response:
    """Record that a copy was read and found right."""
    parsing.body().only()
    return parsing.answer({"active": verification.verified(parsing.engine(), _location(location))})


@blueprint.post("/v1/locations/<location>/quarantine")
def put_in_quarantine(location: str) -> Response:
    """Take a copy out of use."""
    body = parsing.body()
    body.only("reason")
    reason = body.text("reason", MAX_REASON)
    document, is_new = verification.put_in_quarantine(parsing.engine(), _location(location), reason)
    return parsing.answer({"location": document, "new": is_new})


@blueprint.post("/v1/locations/<location>/release")
def release(location: str) -> Response:
    """Put a copy that was found right back into use."""
    parsing.body().only()
    return parsing.answer({"location": verification.release(parsing.engine(), _location(location))})


@blueprint.post("/v1/locations/<location>/discard")
def discard(location: str) -> Response:
    """Give a quarantined copy to purge."""
    parsing.body().only()
    request_id = parsing.caller().request_id
    document = verification.discard(parsing.engine(), _location(location), request_id)
    return parsing.answer({"location": document})


@blueprint.post("/v1/locations/<location>/replacement")
def replace(location: str) -> Response:
    """Begin to write a good copy in place of a quarantined one."""
    body = parsing.body()
    body.only("attempt", "lease")
    # Neither the store nor the status after a failure is the caller's choice: they are those of the damaged copy.
    begin = uploads.Begin(
        attempt=body.uuid("attempt"), store="", size=None, lease=body.number("lease", maximum=MAX_LEASE),
        on_fail=ImageStatus.QUEUED,
    )
    row, image = verification.replace(parsing.engine(), parsing.caller(), _location(location), begin)
    return parsing.raw_answer(f'{{"location":{row},"image":{image}}}', 201)


@blueprint.get("/v1/quarantine")
def quarantined() -> Response:
    """List the copies in quarantine."""
    query = _query("limit", "marker")
    found = verification.quarantined(parsing.engine(), query.integer("limit", 1, MAX_ROWS), _marker(query))
    return parsing.answer({"locations": found})


@blueprint.post("/v1/stores/<store>/runs/<kind>/start")
def start_run(store: str, kind: str) -> Response:
    """Give the run over a store to one process."""
    body = parsing.body()
    body.only("token", "lease", "rest")
    cursor = verification.start_run(
        parsing.engine(), _run(kind, store), body.uuid("token"), body.number("lease", maximum=MAX_LEASE),
        body.number("rest"),
    )
    return parsing.answer({"cursor": cursor})


@blueprint.post("/v1/stores/<store>/runs/<kind>/renew")
def renew_run(store: str, kind: str) -> Response:
    """Keep the run, and note how far it is."""
    body = parsing.body()
    body.only("token", "lease", "cursor")
    lease = body.number("lease", maximum=MAX_LEASE)
    cursor = body.optional_text("cursor", parsing.MAX_KEY)
    verification.renew_run(parsing.engine(), _run(kind, store), body.uuid("token"), lease, cursor)
    return parsing.answer({"lease": lease})


@blueprint.post("/v1/stores/<store>/runs/<kind>/end")
def end_run(store: str, kind: str) -> Response:
    """Give the run back."""
    body = parsing.body()
    body.only("token", "finished")
    is_finished = body.boolean("finished")
    verification.end_run(parsing.engine(), _run(kind, store), body.uuid("token"), is_finished=is_finished)
    return parsing.answer({})


@blueprint.post("/v1/stores/<store>/orphans")
def record_orphans(store: str) -> Response:
    """List objects that no location owns."""
    body = parsing.body()
    body.only("objects")
    objects = body.objects("objects")
    if not 0 < len(objects) <= MAX_ROWS:
        raise errors.BadRequest(f"objects must be a list of 1 to {MAX_ROWS} objects", field="objects")
    found = [Orphan(fields.text("key", parsing.MAX_KEY), fields.integer("size")) for fields in objects]
    return parsing.answer({"new": verification.record_orphans(parsing.engine(), store, found)})


@blueprint.get("/v1/orphans")
def listed_orphans() -> Response:
    """List what reconcile found."""
    query = _query("limit", "marker", "store")
    found = verification.listed_orphans(
        parsing.engine(), query.integer("limit", 1, MAX_ROWS), _marker(query), query.optional_text("store")
    )
    return parsing.answer({"orphans": found})


@blueprint.post("/v1/orphans/<orphan>/claim")
def claim_orphan(orphan: str) -> Response:
    """Let one process remove the bytes of an orphan."""
    body = parsing.body()
    body.only("token", "lease")
    claimed = verification.claim_orphan(
        parsing.engine(), _orphan(orphan), body.uuid("token"), body.number("lease", maximum=MAX_LEASE)
    )
    return parsing.answer({"orphan": claimed})


@blueprint.post("/v1/orphans/<orphan>/done")
def orphan_done(orphan: str) -> Response:
    """Record that the bytes are gone."""
    body = parsing.body()
    body.only("token")
    verification.orphan_done(parsing.engine(), _orphan(orphan), body.uuid("token"))
    return parsing.answer({})


@blueprint.post("/v1/orphans/<orphan>/forget")
def forget_orphan(orphan: str) -> Response:
    """Take an orphan that is none any more off the list."""
    parsing.body().only()
    return parsing.answer({"forgotten": verification.forget_orphan(parsing.engine(), _orphan(orphan))})


@blueprint.get("/v1/deletions/failed")
def failed_purges() -> Response:
    """List the purges that failed too often."""
    query = _query("limit", "marker")
    found = verification.failed_purges(parsing.engine(), query.integer("limit", 1, MAX_ROWS), _marker(query))
    return parsing.answer({"deletions": found})


@blueprint.post("/v1/deletions/<location>/replay")
def replay_purge(location: str) -> Response:
    """Let a purge that failed too often be tried again."""
    body = parsing.body()
    body.only("attempt")
    row = verification.replay_purge(parsing.engine(), _location(location), body.uuid("attempt"))
    return parsing.answer({"deletion": row})


def _query(*names: str) -> parsing.Fields:
    query = parsing.Fields.parse(request.args.get("q", ""), "q")
    query.only(*names)
    return query


def _marker(query: parsing.Fields) -> str | None:
    return query.uuid("marker") if query.values.get("marker") is not None else None


def _location(text: str) -> str:
    return parsing.path_id(text, "location")


def _orphan(text: str) -> str:
    return parsing.path_id(text, "orphan")


def _run(kind: str, store: str) -> tuple[str, str]:
    if kind not in store_runs.KINDS:
        raise errors.NotFound(f"No run found with the name {kind[:40]}")
    return kind, store
