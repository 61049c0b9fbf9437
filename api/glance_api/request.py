"""What a view may ask about the request it answers. The views and the hooks are the only users of Flask."""

from collections.abc import Callable
from typing import Any, TypeVar

from flask import current_app, g, request

from glance_api.collaborators import Glance
from glance_common.context import RequestContext
from glance_common.errors import BadRequest

View = TypeVar("View", bound=Callable[..., Any])


def glance() -> Glance:
    """Return the collaborators of this process."""
    collaborators: Glance = current_app.extensions["glance"]
    return collaborators


def context() -> RequestContext:
    """Return who is calling."""
    caller: RequestContext = g.context
    return caller


def without_body(view: View) -> View:
    """Mark a view whose request has no body: one that comes with a body is answered 400 (API section 0)."""
    view.without_body = True  # type: ignore[attr-defined]
    return view


def without_policy(reason: str) -> Callable[[View], View]:
    """Mark a view that asks no policy rule, and say why none guards it."""

    def mark(view: View) -> View:
        view.without_policy = reason  # type: ignore[attr-defined]
        return view

    return mark


def refuse_body() -> None:
    """Raise BadRequest when the request has a body."""
    if request.content_length or "chunked" in request.headers.get("Transfer-Encoding", "").lower():
        raise BadRequest(f"{request.method} {request.path} takes no body")
