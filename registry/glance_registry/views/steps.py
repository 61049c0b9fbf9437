"""What a worker writes to the image of its operation, over HTTP; each answers the image."""

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from flask import Blueprint, Response

from glance_common.failpoints import failpoint
from glance_common.model.context import RequestContext
from glance_common.model.operation import REFUSED_PROPERTY
from glance_registry.db.session import run_transaction
from glance_registry.operations import lifecycle, steps
from glance_registry.records import rows
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
    return _written(lifecycle.attach, held_by(operation, body), body.uuid("image_id"), body.texts("stores"))


@blueprint.post("/store_failed")
def store_failed(operation: str) -> Response:
    """Note a store that did not get the data."""
    body = parsing.body()
    body.only("token", "store")
    return _written(steps.store_failed, held_by(operation, body), body.text("store"))


@blueprint.post("/unstage")
def unstage(operation: str) -> Response:
    """Give what is staged to removal."""
    body = parsing.body()
    body.only("token")
    return _written(steps.unstage, held_by(operation, body))


@blueprint.post("/image")
def update(operation: str) -> Response:
    """Change the image of the operation."""
    body = parsing.body()
    body.only("token", "changes")
    changes = parsing.Fields(body.mapping("changes"), "changes")
    changes.only(*TEXTS, *SIZES, "properties")
    columns: dict[str, Any] = {name: changes.text(name) for name in TEXTS if changes.given(name)}
    columns |= {name: changes.integer(name) for name in SIZES if changes.given(name)}
    largest = parsing.bounds().image_document
    return _written(steps.update, held_by(operation, body), columns, properties_of(changes, allowed=_WORKERS), largest)


def _written(work: Callable[..., str], *arguments: Any) -> Response:
    """Run ``work``, which returns the id of the image that it wrote, and answer that image."""
    image = run_transaction(parsing.engine(), _write, parsing.caller(), work, arguments)
    failpoint("registry.operation.after-step")
    return parsing.raw_answer(f'{{"image":{image}}}')


def _write(
    connection: sa.Connection, context: RequestContext, work: Callable[..., str], arguments: tuple[Any, ...]
) -> str:
    return rows.document(connection, context, work(connection, *arguments))
