"""What happens around every view: the caller, the guards, and the error documents."""

import logging
import re
from http import HTTPStatus
from typing import Any

from flask import Flask, Request, Response, current_app, g, request
from flask.globals import request_ctx
from werkzeug.exceptions import HTTPException, MethodNotAllowed
from werkzeug.exceptions import NotFound as NoSuchPath

from glance_api.http import errors
from glance_api.http.access_log import CONTEXT, REQUEST_ID, ROUTE
from glance_api.http.auth import identity
from glance_api.http.request import refuse_body, refuse_coding, services
from glance_api.policy.enforcer import rules_asked
from glance_common.body import ClientGone, ClientTooSlow
from glance_common.model.errors import BadRequest, Forbidden, GlanceError, InternalError, RequestTimeout, Unavailable
from glance_common.stores.caller import StoreCaller, begin_request

LOG = logging.getLogger(__name__)

READ_METHODS = frozenset({"GET", "HEAD"})
KNOWN_METHODS = READ_METHODS | {"POST", "PUT", "DELETE", "PATCH"}
_V1_IMAGE = re.compile(r"/v1/images/[^/]+")


class NoRuleAsked(AssertionError):
    """A route that did its work without asking a policy rule, which is a defect."""


def install(app: Flask) -> None:
    """Add the hooks to ``app``."""
    app.before_request(_begin)
    app.after_request(_guard_policy)
    app.after_request(_without_type)
    app.register_error_handler(GlanceError, _glance_error)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(ClientGone, _client_gone)
    app.register_error_handler(Exception, _defect)


def _begin() -> None:
    """Identify the caller first, then refuse requests that no view should see."""
    rules_asked.set(0)
    # The thread answered another caller before.
    begin_request(StoreCaller())
    # The request itself: Flask's proxy looks it up again at each use.
    asked = request_ctx.request
    view = _view(asked)
    if asked.url_rule is not None:
        asked.environ[ROUTE] = asked.url_rule.rule
    if not hasattr(view, "public"):
        _identify(asked)
    _check_url(asked)
    refuse_coding(asked)
    if hasattr(view, "without_body"):
        refuse_body(asked)


def _view(asked: Request) -> Any:
    return current_app.view_functions.get(asked.endpoint or "")


def _identify(asked: Request) -> None:
    environ, collaborators = asked.environ, services()
    context = identity.caller(
        environ,
        environ[REQUEST_ID],
        allow_anonymous=collaborators.settings.allow_anonymous_access,
        is_admin=collaborators.policy.is_admin,
    )
    g.context = environ[CONTEXT] = context
    token, catalog = environ.get("HTTP_X_AUTH_TOKEN"), environ.get("HTTP_X_SERVICE_CATALOG")
    begin_request(StoreCaller(context.project_id, None if context.read_only else token, catalog))
    if context.read_only and asked.method not in READ_METHODS:
        raise Forbidden("Read-only access")


def _check_url(asked: Request) -> None:
    """Refuse a path that is not UTF-8 or holds a NUL character, which no name of ours can hold."""
    try:
        path = asked.environ.get("PATH_INFO", "").encode("latin-1").decode()
    except UnicodeDecodeError:
        raise BadRequest("the path of the request is not UTF-8") from None
    if "\0" in path:
        raise BadRequest("the path of the request holds a NUL character")


def _guard_policy(response: Response) -> Response:
    """Report a route that succeeded without asking who may do it; tests fail on it."""
    if response.status_code < 400 and not rules_asked.get() and not hasattr(_view(request), "without_policy"):
        LOG.error("%s %s asked no policy rule", request.method, request.url_rule)
        if current_app.testing:
            raise NoRuleAsked(f"{request.method} {request.url_rule}")
    return response


def _without_type(response: Response) -> Response:
    """An answer without a body has no Content-Type either."""
    if response.status_code == 204:
        response.headers.pop("Content-Type", None)
    return response


def _glance_error(error: GlanceError) -> Response:
    if error.code >= 500:
        # One line says that a service behind us is down; a defect needs its traceback to be found.
        trace = None if isinstance(error, Unavailable) else error
        LOG.error("%s %s: %s", request.method, request.path, error.message, exc_info=trace)
    return _response(errors.from_error(error, _accept()))


def _http_error(error: HTTPException) -> Response:
    """Answer what Flask itself refuses: unknown paths, methods and broken requests."""
    code = error.code or 500
    headers = {}
    if isinstance(error, MethodNotAllowed):
        # HEAD is not listed where it only repeats GET; for an image in v1 it is a separate call.
        is_own = _V1_IMAGE.fullmatch(request.path)
        methods = set(error.valid_methods or ()) - ({"OPTIONS"} if is_own else {"HEAD", "OPTIONS"})
        headers["Allow"] = ", ".join(sorted(methods))
    if isinstance(error, NoSuchPath) and request.method not in KNOWN_METHODS:
        code = 501
    return _response(errors.render(code, _text(code), _accept(), headers))


def _text(code: int) -> str:
    match code:
        case 404:
            return "There is nothing at this path."
        case 405:
            return f"The method {request.method} is not allowed at this path; the header Allow names those that are."
        case 501:
            return f"There is nothing at this path, and the method {request.method} is not supported anywhere."
    return HTTPStatus(code).description or errors.title(code)


def _client_gone(error: ClientGone) -> Response:
    LOG.info("%s %s: %s", request.method, request.path, error)
    told: GlanceError = BadRequest(f"the body is incomplete: {error}")
    if isinstance(error, ClientTooSlow):
        told = RequestTimeout(f"the body came too slowly: {error}")
    return _response(errors.from_error(told, _accept()))


def _defect(error: Exception) -> Response:
    """Answer 500 without a word about the inside."""
    if isinstance(error, NoRuleAsked):
        raise error
    LOG.error("%s %s: defect", request.method, request.path, exc_info=error)
    return _response(errors.from_error(InternalError(""), _accept()))


def _accept() -> str:
    return request.headers.get("Accept", "")


def _response(answer: errors.ErrorAnswer) -> Response:
    return Response(answer.body, status=answer.code, headers=answer.headers)
