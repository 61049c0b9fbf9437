"""Who is calling, as it travels from the API to the registry.

The registry believes nobody but the holder of the shared secret: the context is signed together with the method and the
path it is meant for and the time it was made, so that a captured header opens no other door and not for long.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from itsdangerous import BadSignature
from itsdangerous.serializer import Serializer

from glance_common import errors

HEADER = "X-Glance-Context"
MAX_CLOCK_SKEW = 300
"""Seconds that a signed context stays valid, in both directions, so that hosts' clocks may differ a little."""

_SALT = b"glance registry context"


@dataclass(frozen=True, slots=True)
class RequestContext:
    """One caller of one request.

    ``project_id`` is the owner identity; ``roles`` are lower-case; ``read_only`` marks an anonymous caller;
    ``is_admin`` is the answer of the policy rule ``context_is_admin``.
    """

    request_id: str
    user_id: str | None = None
    project_id: str | None = None
    roles: tuple[str, ...] = ()
    is_admin: bool = False
    read_only: bool = False


def system_context(request_id: str) -> RequestContext:
    """Return the context of a daemon that acts for nobody: an administrator without a project."""
    return RequestContext(request_id=request_id, is_admin=True)


class ContextSigner:
    """Signs contexts with the first secret and accepts all of them, so that secrets can be rotated."""

    def __init__(self, secrets: Sequence[bytes]) -> None:
        if not secrets or not all(secrets):
            raise ValueError("at least one secret that is not empty is needed")
        # itsdangerous signs with the last key of a list and verifies with any of them.
        self._serializer: Serializer[str] = Serializer(list(reversed(secrets)), salt=_SALT)

    def sign(self, context: RequestContext, method: str, path: str) -> str:
        """Return the header value for one request; ``path`` includes the query string."""
        payload = {"c": asdict(context), "m": method, "p": path, "t": int(time.time())}
        return self._serializer.dumps(payload)

    def verify(self, header: str | None, method: str, path: str) -> RequestContext:
        """Return the context in ``header``; raise NotAuthenticated unless it was signed for just this request."""
        try:
            payload: Any = self._serializer.loads(header or "")
            made_for = (payload["m"], payload["p"])
            age = abs(time.time() - float(payload["t"]))
            fields = dict(payload["c"], roles=tuple(payload["c"]["roles"]))
            context = RequestContext(**fields)
        except (BadSignature, KeyError, TypeError, ValueError):
            raise errors.NotAuthenticated("the registry answers only to requests signed with its secret") from None
        if made_for != (method, path):
            raise errors.NotAuthenticated("the signed context belongs to another request")
        if age > MAX_CLOCK_SKEW:
            raise errors.NotAuthenticated("the signed context is out of date: compare the clocks of the hosts")
        return context
