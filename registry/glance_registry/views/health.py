"""GET /healthcheck: the only route without a signature, so it tells nothing but up or down."""

from flask import Blueprint, Response

from glance_common.model import errors
from glance_registry import monitoring
from glance_registry.views import parsing

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthcheck")
def show() -> Response:
    """Answer OK when the database answers; 503 with what is down otherwise."""
    try:
        monitoring.check_database(parsing.engine())
    except errors.Unavailable as error:
        return Response(error.message, 503, content_type="text/plain; charset=utf-8")
    return Response("OK", content_type="text/plain; charset=utf-8")
