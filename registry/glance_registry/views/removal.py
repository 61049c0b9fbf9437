"""Delete and restore of images over HTTP."""

import sqlalchemy as sa
from flask import Blueprint, Response

from glance_common.failpoints import failpoint
from glance_common.model.context import RequestContext
from glance_common.model.limits import Limits
from glance_registry.db.session import run_alone, run_transaction
from glance_registry.images import delete as removal
from glance_registry.records import rows
from glance_registry.views import parsing
from glance_registry.views.usage import limits

blueprint = Blueprint("removal", __name__, url_prefix="/v1/images")


@blueprint.delete("/<image_id>")
def delete(image_id: str) -> Response:
    """Hide the image; the answer names the locations that are due for removal now."""
    body = parsing.body()
    body.only("attempt", "delayed", "scrub_time")
    asked = removal.Delete(
        attempt=body.uuid("attempt"), delayed=body.boolean("delayed"), scrub_time=body.number("scrub_time")
    )
    image_id = parsing.path_id(image_id)
    due = run_alone(parsing.engine(), _delete_empty, removal.delete, parsing.caller(), image_id, asked)
    failpoint("registry.delete.after-commit")
    return parsing.answer({"locations": due})


def _delete_empty(
    connection: sa.Connection, context: RequestContext, image_id: str, asked: removal.Delete
) -> list[str] | None:
    return [] if removal.delete_empty(connection, context, image_id, asked) else None


@blueprint.post("/<image_id>/restore")
def restore(image_id: str) -> Response:
    """Bring a deleted image back."""
    body = parsing.body()
    body.only("attempt", "limits")
    image = run_transaction(
        parsing.engine(), _restore, parsing.caller(), parsing.path_id(image_id), body.uuid("attempt"),
        limits(body),
    )
    failpoint("registry.restore.after-commit")
    return parsing.raw_answer(f'{{"image":{image}}}')


def _restore(
    connection: sa.Connection, context: RequestContext, image_id: str, attempt: str, limits: Limits | None
) -> str:
    removal.restore(connection, context, image_id, attempt, limits)
    return rows.document(connection, context, image_id)
