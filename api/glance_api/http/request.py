"""What a view may ask about the request it answers. The views and the hooks are the only users of Flask."""

from collections.abc import Callable
from typing import Any, TypeVar

import orjson
from flask import Request, Response, current_app, g, request

from glance_api.clients.key_manager import Credentials
from glance_api.http import documents, links
from glance_api.http.access_log import BYTES_IN
from glance_api.http.collaborators import HttpServices
from glance_api.services.collaborators import Services
from glance_common.body import announced_length, read_pieces
from glance_common.model.context import RequestContext
from glance_common.model.errors import BadRequest, TooLarge, UnsupportedCoding

View = TypeVar("View", bound=Callable[..., Any])


def services() -> Services:
    """Return the collaborators of this process."""
    collaborators: Services = current_app.extensions["glance"]
    return collaborators


def http_services() -> HttpServices:
    """Return the collaborators that only HTTP needs."""
    collaborators: HttpServices = current_app.extensions["glance_http"]
    return collaborators


def context() -> RequestContext:
    """Return who is calling."""
    caller: RequestContext = g.context
    return caller


def credentials() -> Credentials:
    """Return the proofs of identity that the caller sent for other services."""
    return Credentials(request.headers.get("X-Auth-Token"), request.headers.get("X-Service-Catalog"))


def without_body(view: View) -> View:
    """Mark a view whose request has no body: one that comes with a body is answered 400 (API section 0)."""
    view.without_body = True  # type: ignore[attr-defined]  # a mark
    return view


def refuse_coding(asked: Request) -> None:
    """Raise UnsupportedCoding for a body in another transfer coding than chunked: it would be stored as it came."""
    coding = asked.environ.get("HTTP_TRANSFER_ENCODING", "").strip().lower()
    if coding not in ("", "chunked"):
        raise UnsupportedCoding("Transfer-Encoding: only chunked is supported")


def media_type() -> str:
    """Return the media type of the body, in lower case and without parameters (RFC 9110, 8.3.1)."""
    return request.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def without_policy(reason: str) -> Callable[[View], View]:
    """Mark a view that asks no policy rule, and say why none guards it."""

    def mark(view: View) -> View:
        view.without_policy = reason  # type: ignore[attr-defined]  # a mark
        return view

    return mark


def public(view: View) -> View:
    """Mark a view that every caller may use, with or without a token."""
    view.public = True  # type: ignore[attr-defined]  # a mark
    return view


def has_body(asked: Request) -> bool:
    """Return whether a body comes with the request; a chunked one does even when it turns out to be empty."""
    return bool(asked.content_length) or "chunked" in asked.environ.get("HTTP_TRANSFER_ENCODING", "").lower()


def refuse_body(asked: Request) -> None:
    """Raise BadRequest when the request has a body. Some clients send an empty one in chunks, which is none."""
    if not has_body(asked):
        return
    if asked.content_length or next(read_pieces(asked.environ, piece=1), None) is not None:
        raise BadRequest(f"{asked.method} {asked.path} takes no body")


def answer(document: Any, status: int = 200) -> Response:
    """Return the response with a JSON document."""
    return Response(orjson.dumps(document), status=status, content_type="application/json")


def made_at(path: str, *, as_url: bool = False) -> None:
    """Send the ``Location`` of what the request created with its answer: a path, or a whole URL."""
    locate = links.url if as_url else links.local_path
    request.environ[links.LOCATION] = locate(request.environ, services().settings.public_endpoint, path)


def json_object() -> dict[str, Any]:
    """Return the JSON object in the body. Raises BadRequest, and TooLarge beyond ``max_json_body``."""
    document = documents.parse(_body())
    if not isinstance(document, dict):
        raise BadRequest("Unexpected body type: the body must be a JSON object")
    return document


def json_array() -> list[Any]:
    """Return the JSON array in the body. Raises as ``json_object``."""
    document = documents.parse(_body())
    if not isinstance(document, list):
        raise BadRequest("Unexpected body type: the body must be a JSON array")
    return document


def _body() -> bytes:
    limit = services().settings.max_json_body
    too_large = TooLarge(f"the body is larger than max_json_body, {limit} bytes")
    if (announced_length(request.environ) or 0) > limit:
        raise too_large
    body = bytearray()
    for piece in read_pieces(request.environ, piece=64 * 1024):
        body += piece
        if len(body) > limit:
            raise too_large
    request.environ[BYTES_IN] = len(body)
    return bytes(body)
