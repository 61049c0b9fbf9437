"""What a worker writes to the image of its operation, over HTTP; each answers the image."""

from typing import Any

from flask import Blueprint, Response

from glance_common.model.operation import REFUSED_PROPERTY
from glance_registry.operations import use_cases
from glance_registry.views import parsing
from glance_registry.views.images import properties_of
from glance_registry.views.operations import held_by

blueprint = Blueprint("steps", __name__, url_prefix="/v1/operations/<operation>")

_WORKERS = (REFUSED_PROPERTY,)
"""Reserved properties that a worker writes: why it closed the image of its operation."""
TEXTS = ("disk_format", "container_format", "checksum", "os_hash_algo", "os_hash_value")
SIZES = ("size", "virtual_size")


@blueprint.post("/attach")
def attach(operation: str) -> Response:
    """Give the operation its image."""
    body = parsing.body()
    body.only("token", "image_id", "stores")
    return _image(use_cases.attach(
        parsing.engine(), parsing.caller(), held_by(operation, body), body.uuid("image_id"), body.texts("stores")
    ))


@blueprint.post("/store_failed")
def store_failed(operation: str) -> Response:
    """Note a store that did not get the data."""
    body = parsing.body()
    body.only("token", "store")
    held = held_by(operation, body)
    return _image(use_cases.store_failed(parsing.engine(), parsing.caller(), held, body.text("store")))


@blueprint.post("/unstage")
def unstage(operation: str) -> Response:
    """Give what is staged to purge."""
    body = parsing.body()
    body.only("token")
    return _image(use_cases.unstage(parsing.engine(), parsing.caller(), held_by(operation, body)))


@blueprint.post("/image")
def update(operation: str) -> Response:
    """Change the image of the operation."""
    body = parsing.body()
    body.only("token", "changes")
    changes = parsing.Fields(body.mapping("changes"), "changes")
    changes.only(*TEXTS, *SIZES, "properties")
    columns: dict[str, Any] = {name: changes.text(name) for name in TEXTS if changes.given(name)}
    columns |= {name: changes.integer(name) for name in SIZES if changes.given(name)}
    return _image(use_cases.update_image(
        parsing.engine(), parsing.caller(), held_by(operation, body), columns,
        properties_of(changes, allowed=_WORKERS), parsing.bounds().image_document,
    ))


def _image(document: str) -> Response:
    return parsing.raw_answer(f'{{"image":{document}}}')
