"""GET /healthcheck: the only route without a signature, so it tells nothing but up or down."""

from flask import Blueprint, Response, current_app, request

from glance_common.health_switches import HealthSwitches
from glance_common.model import errors
from glance_registry import monitoring
from glance_registry.readiness import Readiness
from glance_registry.views import parsing

blueprint = Blueprint("health", __name__)

SWITCHES = "GLANCE_HEALTH_SWITCHES"
READINESS = "GLANCE_READINESS"


@blueprint.get("/healthcheck")
def show() -> Response:
    """Answer OK when the database answers and has the schema.

    Otherwise 503 with what is down or missing, or that an operator took the server out.
    """
    switches: HealthSwitches = current_app.config[SWITCHES]
    if switches.hides_from(request.environ):
        raise errors.NotFound("No route found")
    if (reason := switches.reason()) is not None:
        return Response(reason, 503, content_type="text/plain; charset=utf-8")
    readiness: Readiness = current_app.config[READINESS]
    try:
        monitoring.check_database(parsing.engine())
        readiness.check()
    except errors.Unavailable as error:
        return Response(error.message, 503, content_type="text/plain; charset=utf-8")
    return Response("OK", content_type="text/plain; charset=utf-8")
