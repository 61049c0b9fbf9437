"""The identities of store places over HTTP."""

from flask import Blueprint, Response

from glance_registry.locations import use_cases
from glance_registry.views import parsing

blueprint = Blueprint("stores", __name__, url_prefix="/v1/stores")

MAX_PLACE = 4096
"""Characters: a place is a path."""


@blueprint.get("/<store>/identities")
def known(store: str) -> Response:
    """Return the uuid of each place of the store, but for places that belong to another store."""
    return parsing.answer({"identities": use_cases.known_identities(parsing.engine(), store)})


@blueprint.post("/<store>/identities")
def register(store: str) -> Response:
    """Write the uuid of a place, once. Answers 409 when it belongs to another store."""
    body = parsing.body()
    body.only("place", "identity")
    place, identity = body.text("place", MAX_PLACE), body.uuid("identity")
    winner = use_cases.register_identity(parsing.engine(), store, place, identity)
    return parsing.answer({"identity": winner})
