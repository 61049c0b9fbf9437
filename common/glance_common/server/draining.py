"""The time between TERM and the stop, in which a load balancer learns that this server leaves and is served still."""

import mmap
from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from glance_common.model.health import PATH, STOPPING


class Draining:
    """One byte shared by master and workers: does the service end when ``drain_time`` is over?"""

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, mmap.PAGESIZE)

    def begin(self) -> None:
        """Have health checks answer 503, and connections close after the answer they wait for."""
        self._page[0] = 1

    def has_begun(self) -> bool:
        """Tell whether TERM has come."""
        return self._page[0] == 1


def announcing(application: WSGIApplication, draining: Draining) -> WSGIApplication:
    """Return ``application`` with health checks that answer 503 as soon as ``draining`` has begun."""

    def call(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if not draining.has_begun() or environ["PATH_INFO"] != PATH:
            return application(environ, start_response)
        start_response(
            "503 Service Unavailable", [("Content-Type", "text/plain"), ("Content-Length", str(len(STOPPING)))]
        )
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [STOPPING]

    return call
