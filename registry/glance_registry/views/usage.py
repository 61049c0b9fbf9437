"""Usage and reservations over HTTP, and the limits that other calls bring along."""

from flask import Blueprint, Response, request

from glance_common.model import errors
from glance_common.model.json_text import refuse_nul
from glance_common.model.limits import KINDS, Limits
from glance_registry.quota import use_cases
from glance_registry.views import parsing
from glance_registry.views.parsing import Fields

blueprint = Blueprint("usage", __name__)


def limits(body: Fields) -> Limits | None:
    """Return the field ``limits`` of a call that may increase an owner's usage; absent or null means none."""
    if body.values.get("limits") is None:
        return None
    given = Fields(body.mapping("limits"), "limits")
    given.only("owner", "values")
    values = Fields(given.mapping("values"), "limits: values")
    values.only(*KINDS)
    return Limits(given.text("owner"), {name: values.integer(name) for name in values.values})


@blueprint.get("/v1/usage")
def of_owner() -> Response:
    """Answer what an owner uses."""
    owner = request.args.get("owner", "")
    if not owner:
        raise errors.BadRequest("owner is missing; it must be a project", field="owner")
    refuse_nul(owner, "owner")
    return parsing.answer({"usage": use_cases.of_owner(parsing.engine(), owner).document()})


@blueprint.post("/v1/uploads/<attempt>/reserve")
def reserve(attempt: str) -> Response:
    """Let an upload of unknown size write more."""
    body = parsing.body()
    body.only("at_least", "at_most", "limits")
    at_least = body.integer("at_least")
    granted = use_cases.reserve(
        parsing.engine(), parsing.path_id(attempt, "upload"), at_least,
        body.integer("at_most", minimum=at_least), limits(body),
    )
    return parsing.answer({"size": granted})
