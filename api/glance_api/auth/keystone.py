"""Keystone's own middleware, with one answer changed: a token that nobody could check is not called invalid."""

from typing import Any

from keystoneauth1 import exceptions as keystoneauth
from keystonemiddleware.auth_token import AuthProtocol, InvalidToken, ServiceError

from glance_common.errors import Unavailable

_UNANSWERED = (
    keystoneauth.ConnectFailure, keystoneauth.DiscoveryFailure, keystoneauth.RequestTimeout, ServiceError
)


class TokenCheck(AuthProtocol):
    """Checks tokens; raises Unavailable when Keystone does not answer.

    The middleware turns that into an invalid token once the decision is left to the service behind it. The client would
    get a 401, take its good token for a bad one and give up instead of trying again.
    """

    def fetch_token(self, token: str, **how: Any) -> Any:
        """Return what Keystone knows about ``token``; raises InvalidToken, and Unavailable without an answer."""
        try:
            return super().fetch_token(token, **how)
        except InvalidToken as error:
            if isinstance(error.__context__, _UNANSWERED):
                raise Unavailable("Keystone, which has to check the token, does not answer") from error
            raise
