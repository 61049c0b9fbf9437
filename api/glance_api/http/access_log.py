"""The outermost layer: the id of each request and its line in the access log.

It is WSGI and not a Flask hook because it also covers what never reaches Flask (version documents, refused tokens) and
because an answer that streams is over only when the server closes it.
"""

import logging
import re
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import quote
from uuid import uuid4
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from glance_api.http import errors
from glance_api.http.links import LOCATION
from glance_common.body import BYTES_SENT, STATUS_SENT, FileBody
from glance_common.model.context import RequestContext
from glance_common.model.errors import BadRequest, GlanceError, RequestIdTooLong
from glance_common.observability.log_context import request_id
from glance_common.observability.metrics.catalog import request_done

ACCESS = logging.getLogger("glance_api.access")

REQUEST_ID = "glance.request_id"
"""Key in the environ: the id of this request, with its prefix."""

CONTEXT = "glance.context"
"""Key in the environ: who is calling, once that is known."""

BYTES_IN = "glance.bytes_in"
"""Key in the environ: bytes of the body that were read, where the Content-Length does not say."""

ROUTE = "glance.route"
"""Key in the environ: the rule of the route that answers, with its placeholders, once one was found."""

_PRINTABLE = re.compile(r"[!-~]+")


class AccessLog:
    """Wraps ``app``: gives each request its id, answers with it, and logs one line when the answer is over."""

    def __init__(self, app: WSGIApplication, max_request_id_length: int) -> None:
        self._app = app
        self._longest = max_request_id_length

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        record = _Record(environ)
        refused: GlanceError | None = None
        try:
            environ[REQUEST_ID] = self._request_id(environ.get("HTTP_X_OPENSTACK_REQUEST_ID"))
        except GlanceError as error:
            environ[REQUEST_ID], refused = _new_id(), error
        request_id.set(environ[REQUEST_ID])
        start = record.starting(start_response)
        if refused is not None:
            return record.finish_with(errors.send(refused, environ, start))
        return record.finish_with(self._app(environ, start))

    def _request_id(self, wanted: str | None) -> str:
        """Return the client's id with its prefix, or a new one. Raises RequestIdTooLong (S-57), BadRequest."""
        if not wanted:
            return _new_id()
        if 0 < self._longest < len(wanted):
            raise RequestIdTooLong(f"X-Openstack-Request-ID is longer than {self._longest} characters")
        if not _PRINTABLE.fullmatch(wanted):
            raise BadRequest("X-Openstack-Request-ID may hold visible ASCII characters only")
        return wanted if wanted.startswith("req-") else f"req-{wanted}"


def _new_id() -> str:
    return f"req-{uuid4()}"


class _Record:
    """The facts of one request, collected until its answer is over."""

    def __init__(self, environ: WSGIEnvironment) -> None:
        self._environ = environ
        self._started = time.monotonic()
        # What is logged is what the client asked for: inner layers rewrite the path.
        self._target = environ.get("RAW_URI") or quote(environ.get("PATH_INFO", ""), encoding="latin-1")
        self._status = "-"
        self.sent = 0

    def starting(self, start_response: StartResponse) -> StartResponse:
        """Return ``start_response`` that notes the status and adds the request id, and where what was made is found."""

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
            self._status = status.partition(" ")[0]
            headers = [(name, value) for name, value in headers if name.lower() != "x-openstack-request-id"]
            headers.append(("x-openstack-request-id", self._environ[REQUEST_ID]))
            if self._status == "201" and LOCATION in self._environ:
                headers.append(("Location", self._environ[LOCATION]))
            return start_response(status, headers, exc_info)

        return start

    def finish_with(self, body: Iterable[bytes]) -> Iterable[bytes]:
        """Return ``body`` so that its end is logged; a file for the server's sendfile stays that file."""
        if isinstance(body, list):
            self.sent = sum(map(len, body))
            self.log()
            return body
        wrapper = self._environ.get("wsgi.file_wrapper")
        if isinstance(body, FileBody) or (isinstance(wrapper, type) and isinstance(body, wrapper)):
            # The server sends a file by the kernel only for these classes, so their own ``close`` marks the end.
            _call_after(body, self.log)
            return body
        return _Counted(body, self)

    def log(self) -> None:
        """Write the line, and count the request."""
        environ = self._environ
        seconds = time.monotonic() - self._started
        status = environ.get(STATUS_SENT, self._status)
        request_done(environ["REQUEST_METHOD"], environ.get(ROUTE), status, seconds)
        context: RequestContext | None = environ.get(CONTEXT)
        ACCESS.info(
            "%s %s %s",
            environ["REQUEST_METHOD"],
            self._target,
            status,
            extra={
                "user": (context and context.user_id) or "-",
                "project": (context and context.project_id) or "-",
                "client": environ.get("REMOTE_ADDR", "-"),
                "bytes_in": environ.get(BYTES_IN) or environ.get("CONTENT_LENGTH") or 0,
                "bytes_out": environ.get(BYTES_SENT, self.sent),
                "ms": round(seconds * 1000, 1),
            },
        )


class _Counted:
    """An answer whose pieces are counted and whose end is logged."""

    def __init__(self, body: Iterable[bytes], record: _Record) -> None:
        self._body = body
        self._record = record

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._body:
            yield piece
            self._record.sent += len(piece)

    def close(self) -> None:
        try:
            close = getattr(self._body, "close", None)
            if close is not None:
                close()
        finally:
            self._record.log()


def _call_after(body: Any, then: Callable[[], None]) -> None:
    inner = getattr(body, "close", None)

    def close() -> None:
        try:
            if inner is not None:
                inner()
        finally:
            then()

    body.close = close
