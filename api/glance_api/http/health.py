"""The health check for load balancers: it needs no token and tells no details (S-85)."""

from pathlib import Path

from flask import Blueprint, Response

from glance_api.http.request import http_services, public, services, without_body, without_policy

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthcheck")
@public
@without_policy("load balancers have no token, and OK is all they learn")
@without_body
def healthcheck() -> Response:
    """Say OK, or 503 while this server can do nothing, or an operator takes it out of service by making a file.

    It can do nothing without the registry; a store that is down leaves everything else. Nothing is asked here: the
    monitor asks all the time.
    """
    switch = services().settings.healthcheck_disable_file
    if switch and Path(switch).exists():
        return Response("DISABLED BY FILE\n", status=503, content_type="text/plain")
    if http_services().is_down():
        return Response("DOWN\n", status=503, content_type="text/plain")
    return Response("OK\n", content_type="text/plain")
