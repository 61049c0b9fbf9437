"""The identities of store places over HTTP."""

from flask import Blueprint, Response

from glance_registry.db.session import read, run_transaction
from glance_registry.locations import store_identity
from glance_registry.views import parsing

blueprint = Blueprint("stores", __name__, url_prefix="/v1/stores")

MAX_PLACE = 4096
"""Characters: a place is a path."""


@blueprint.get("/<store>/identities")
def known(store: str) -> Response:
    """Return the uuid of each place of the store."""
    return parsing.answer({"identities": read(parsing.engine(), store_identity.known, store)})


@blueprint.post("/<store>/identities")
def register(store: str) -> Response:
    """Write the uuid of a place, once."""
    body = parsing.body()
    body.only("place", "identity")
    place, identity = body.text("place", MAX_PLACE), body.uuid("identity")
    winner = run_transaction(parsing.engine(), store_identity.register, store, place, identity)
    return parsing.answer({"identity": winner})
