"""The identity headers that the authenticating layer leaves, and the caller they stand for."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson

from glance_common.model.context import RequestContext
from glance_common.model.errors import BadRequest, NotAuthenticated

_PREFIXES = ("HTTP_X_IDENTITY_", "HTTP_X_USER", "HTTP_X_PROJECT", "HTTP_X_TENANT", "HTTP_X_ROLE", "HTTP_X_DOMAIN",
             "HTTP_X_SERVICE_", "HTTP_X_IS_ADMIN_PROJECT", "HTTP_X_AUTHORIZED", "HTTP_OPENSTACK_SYSTEM_SCOPE")
_TOKENS = ("HTTP_X_SERVICE_TOKEN",)


def strip(environ: dict[str, Any]) -> None:
    """Remove every header that says who is calling; tokens, which prove it, stay (S-42)."""
    for key in [key for key in environ if key.startswith(_PREFIXES) and key not in _TOKENS]:
        del environ[key]


def caller(
    environ: dict[str, Any],
    request_id: str,
    *,
    allow_anonymous: bool,
    is_admin: Callable[[RequestContext], bool],
) -> RequestContext:
    """Return the caller that the headers in ``environ`` stand for.

    Without a confirmed identity it is an anonymous one that may only read, or NotAuthenticated is raised. Raises
    BadRequest for a service catalog that is not JSON.
    """
    if environ.get("HTTP_X_IDENTITY_STATUS", "").lower() != "confirmed":
        if not allow_anonymous:
            raise NotAuthenticated("This request needs a valid token in X-Auth-Token.")
        return RequestContext(request_id, read_only=True)
    _check_catalog(environ.get("HTTP_X_SERVICE_CATALOG"))
    context = RequestContext(
        request_id,
        user_id=_first(environ, "HTTP_X_USER_ID", "HTTP_X_USER"),
        project_id=_first(environ, "HTTP_X_PROJECT_ID", "HTTP_X_TENANT_ID", "HTTP_X_TENANT"),
        roles=_roles(_first(environ, "HTTP_X_ROLES", "HTTP_X_ROLE") or ""),
        service_roles=_service_roles(environ),
    )
    return replace(context, is_admin=is_admin(context))


def _first(environ: dict[str, Any], *names: str) -> str | None:
    return next((value for name in names if (value := environ.get(name))), None)


def _roles(text: str) -> tuple[str, ...]:
    return tuple(role for part in text.split(",") if (role := part.strip().lower()))


def _service_roles(environ: dict[str, Any]) -> tuple[str, ...]:
    """Return the roles of the service token beside the caller's token; none unless that token was confirmed too."""
    if environ.get("HTTP_X_SERVICE_IDENTITY_STATUS", "").lower() != "confirmed":
        return ()
    return _roles(environ.get("HTTP_X_SERVICE_ROLES", ""))


def _check_catalog(catalog: str | None) -> None:
    if not catalog:
        return
    try:
        orjson.loads(catalog.encode("latin-1"))
    except ValueError:
        raise BadRequest("X-Service-Catalog is not JSON") from None
