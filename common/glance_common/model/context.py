"""The caller's identity as it travels from the API to the registry.

The registry believes only the holder of the shared secret. The context is signed together with the method, the path and
the body that it is meant for, and the time it was made: a captured header is good for one request, and not for long.
"""

import hmac
import time
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256

import orjson

from glance_common.model import errors

HEADER = "X-Glance-Context"
MAX_CLOCK_SKEW = 300
"""Seconds that a signed context stays valid, in both directions, so that hosts' clocks may differ a little."""

_SALT = b"glance registry context"


@dataclass(frozen=True, slots=True)
class RequestContext:
    """One caller of one request.

    ``project_id`` is the owner identity; ``roles`` are lower-case; ``read_only`` marks an anonymous caller;
    ``is_admin`` is the answer of the policy rule ``context_is_admin``. ``service_roles`` are those of the service that
    sends its own token beside the caller's, as Nova and Cinder do; the API decides with them, and the registry does not
    get them.
    """

    request_id: str
    user_id: str | None = None
    project_id: str | None = None
    roles: tuple[str, ...] = ()
    is_admin: bool = False
    read_only: bool = False
    service_roles: tuple[str, ...] = ()

    @property
    def all_roles(self) -> tuple[str, ...]:
        """The roles of the caller and of the service that calls for it."""
        return self.roles + self.service_roles


def system_context(request_id: str) -> RequestContext:
    """Return the context of a daemon that acts by itself: an administrator without a project."""
    return RequestContext(request_id=request_id, is_admin=True)


class ContextSigner:
    """Signs contexts with the first secret and accepts all of them, so that secrets can be rotated.

    A header is the claims (JSON in base64), a dot, and their HMAC-SHA256 in hexadecimal digits.
    """

    def __init__(self, secrets: Sequence[bytes]) -> None:
        if not secrets or not all(secrets):
            raise ValueError("at least one secret that is not empty is needed")
        # Keys of their own, so that nothing else that is signed with the secret is a context.
        self._keys = [hmac.digest(secret, _SALT, "sha256") for secret in secrets]

    def sign(self, context: RequestContext, method: str, path: str, body: bytes | None = None) -> str:
        """Return the header value for one request; ``path`` includes the query string, ``body`` None is no body."""
        caller = (
            context.request_id, context.user_id, context.project_id, context.roles, context.is_admin, context.read_only,
        )
        made_for = _request(method, path, body or b"")
        claims = b2a_base64(orjson.dumps((caller, made_for, int(time.time()))), newline=False)
        return f"{claims.decode()}.{_mac(self._keys[0], claims).decode()}"

    def verify(self, header: str | None, method: str, path: str, body: Callable[[], bytes]) -> RequestContext:
        """Return the context in ``header``. Raise NotAuthenticated unless it was signed for just this request.

        ``body`` returns the body of the request. It is called only after the signature and its age were found right,
        so that strangers cannot make the registry read.
        """
        claims, _, mac = (header or "").encode("latin-1", "replace").partition(b".")
        unknown = errors.NotAuthenticated("the registry answers only to requests signed with its secret")
        if not any(hmac.compare_digest(_mac(key, claims), mac) for key in self._keys):
            raise unknown
        try:
            (request_id, user_id, project_id, roles, is_admin, read_only), made_for, made_at = orjson.loads(
                a2b_base64(claims)
            )
            context = RequestContext(request_id, user_id, project_id, tuple(roles), is_admin, read_only)
            age = abs(time.time() - made_at)
        except (TypeError, ValueError):
            # Signed by a version of ours that writes other claims.
            raise unknown from None
        if age > MAX_CLOCK_SKEW:
            raise errors.NotAuthenticated("the signed context is out of date: compare the clocks of the hosts")
        if made_for != _request(method, path, body()):
            raise errors.NotAuthenticated("the signed context belongs to another request")
        return context


def _request(method: str, path: str, body: bytes) -> str:
    """Return the digest that stands for a request: path and body may be long, and a header may not.

    A path holds no line end, so that no other path and body give the same text.
    """
    return sha256(b"%b %b\n%b" % (method.encode(), path.encode(), body)).hexdigest()


def _mac(key: bytes, claims: bytes) -> bytes:
    return hmac.digest(key, claims, "sha256").hex().encode()
