"""The health check for load balancers: it needs no token and tells no details (S-85)."""

from flask import Blueprint, Response, request

from glance_api.http.request import http_services, public, services, without_body, without_policy
from glance_common.model.errors import NotFound

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthcheck")
@public
@without_policy("load balancers have no token, and OK is all they learn")
@without_body
def healthcheck() -> Response:
    """Say OK, or 503 while this server can do nothing, or an operator takes it out of service by a file.

    It can do nothing without the registry; a store that is down leaves everything else. Nothing is asked here: the
    monitor asks all the time.
    """
    switches = services().settings.health
    if switches.hides_from(request.environ):
        raise NotFound("The resource could not be found.")
    if (reason := switches.reason()) is not None:
        return Response(f"{reason}\n", status=503, content_type="text/plain")
    if http_services().is_down():
        return Response("DOWN\n", status=503, content_type="text/plain")
    return Response("OK\n", content_type="text/plain")
