"""What happens around every request: the signature, the error document and the log line."""

import logging
import time
from collections.abc import Callable
from urllib.parse import quote

from flask import Flask, Request, Response, g, request
from flask.globals import request_ctx
from werkzeug.exceptions import HTTPException

from glance_common.body import ClientGone, ClientTooSlow
from glance_common.model import errors
from glance_common.model.context import HEADER, ContextSigner
from glance_common.model.json_text import refuse_nul
from glance_common.observability.log_context import request_id
from glance_common.observability.metrics.catalog import request_done
from glance_registry.db.session import Statistics, statistics
from glance_registry.views import parsing

LOG = logging.getLogger(__name__)
REQUESTS = logging.getLogger("glance_registry.request")

REQUEST_ID = "X-Openstack-Request-ID"
UNSIGNED = frozenset({"/healthcheck"})
READS = frozenset({("POST", "/v1/images/search")})
"""Requests that change nothing although they are no GET."""


def install(app: Flask, signer: ContextSigner, check_ready: Callable[[], None]) -> None:
    """Add the hooks to ``app``; ``signer`` knows the secrets shared with the other daemons.

    ``check_ready`` raises Unavailable while no request can be served.
    """

    def verify() -> None:
        g.started = time.perf_counter()
        g.statistics = work = Statistics()
        statistics.set(work)
        # The request itself: Flask's proxy looks it up again at each use.
        asked = request_ctx.request
        _work_for(asked.headers.get(REQUEST_ID, "-"))
        if asked.path not in UNSIGNED:
            context = signer.verify(asked.headers.get(HEADER), asked.method, target(asked), lambda: _body(asked))
            g.context = context
            _work_for(context.request_id)
            reads = asked.method == "GET" or (asked.method, asked.path) in READS
            if context.read_only and not reads:
                raise errors.Forbidden("a caller without identity changes nothing")
            check_ready()
        refuse_nul(asked.path, "the path")

    app.before_request(verify)
    app.after_request(_log_request)
    app.register_error_handler(errors.GlanceError, _glance_error)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(ClientGone, _client_gone)
    app.register_error_handler(Exception, _defect)


def target(asked: Request) -> str:
    """Return path and query exactly as the client sent them: that is what it signed."""
    environ = asked.environ
    sent = environ.get("RAW_URI") or environ.get("REQUEST_URI")
    if sent:
        return str(sent)
    query = f"?{environ['QUERY_STRING']}" if environ.get("QUERY_STRING") else ""
    return quote(asked.path) + query


def _body(asked: Request) -> bytes:
    environ = asked.environ
    has_none = environ.get("CONTENT_LENGTH", "") in ("", "0") and "HTTP_TRANSFER_ENCODING" not in environ
    return b"" if has_none else asked.get_data()


def _work_for(claimed: str) -> None:
    """Answer and log under the id that the client claims, made safe for a log line; the signed one replaces it."""
    short = claimed[:255]
    g.request_id = (short if short.isprintable() else "".join(filter(str.isprintable, short))) or "-"
    request_id.set(g.request_id)


def _glance_error(error: errors.GlanceError) -> Response:
    if isinstance(error, errors.Unavailable):
        # In one line: while the database is away every request ends here.
        LOG.error("%s %s: %s%s", request.method, request.path, error.message, _told_by(error))
    elif error.code >= 500:
        LOG.error("%s %s: %s", request.method, request.path, error.message, exc_info=error.__cause__)
    return parsing.answer(error.document(), error.code)


def _told_by(error: errors.GlanceError) -> str:
    """Return what the database, or its driver, said: for the operator only, as it may name hosts and users."""
    said = str(getattr(error.__cause__, "orig", None) or error.__cause__ or "").strip()
    return f": {said.splitlines()[0]}" if said else ""


def _http_error(error: HTTPException) -> Response:
    """Answer in the protocol's words what Flask itself refuses: unknown routes, methods and bodies beyond the cap."""
    cls = {404: errors.NotFound, 413: errors.TooLarge}.get(error.code or 500, errors.BadRequest)
    return _glance_error(cls(f"{request.method} {request.path}: {error.name}"))


def _client_gone(error: ClientGone) -> Response:
    """Answer a request whose body did not come: in time, or at all."""
    cls = errors.RequestTimeout if isinstance(error, ClientTooSlow) else errors.BadRequest
    return _glance_error(cls(f"{request.method} {request.path}: {error}"))


def _defect(error: Exception) -> Response:
    LOG.error("%s %s: defect", request.method, request.path, exc_info=error)
    return parsing.answer(errors.InternalError("the registry met an unexpected error; see its log").document(), 500)


def _log_request(response: Response) -> Response:
    response.headers[REQUEST_ID] = g.request_id
    seconds = time.perf_counter() - g.started
    asked = request_ctx.request
    method, rule, status = asked.method, asked.url_rule, response.status_code
    request_done(method, None if rule is None else rule.rule, str(status), seconds)
    # Monitors ask for the health every other second, idle workers for work; that would be most of the log.
    level = logging.DEBUG if asked.path in UNSIGNED or parsing.is_idle_poll() else logging.INFO
    if REQUESTS.isEnabledFor(level):
        work: Statistics = g.statistics
        REQUESTS.log(
            level,
            "%s %s %d %.1f ms, %d statements %.1f ms",
            method, asked.path, status,
            seconds * 1000, work.statements, work.seconds * 1000,
        )
    return response
