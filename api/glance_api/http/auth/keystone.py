"""Keystone's own middleware, with one answer changed: a token that could not be checked is not called invalid."""

from typing import Any

from keystoneauth1 import exceptions as keystoneauth
from keystonemiddleware.auth_token import AuthProtocol, InvalidToken, ServiceError

from glance_common.fetch.guarded_http import guard_session
from glance_common.fetch.guards import ExchangeLimits
from glance_common.model.errors import Unavailable

_UNANSWERED = (
    keystoneauth.ConnectFailure, keystoneauth.DiscoveryFailure, keystoneauth.RequestTimeout, ServiceError
)


SECONDS = 30.0
"""Time that each question to Keystone may take, unless ``http_connect_timeout`` allows more."""

_SILENT = "Keystone, which has to check the token, does not answer"


class TokenCheck(AuthProtocol):
    """Checks tokens; raises Unavailable when Keystone does not answer.

    The middleware turns that into an invalid token once the decision is left to the service behind it. The client would
    get a 401, take its good token for a bad one and give up instead of trying again.
    """

    def _create_session(self, **how: Any) -> Any:
        """Return the session that asks Keystone, within a deadline. There is no public way to give one."""
        session = super()._create_session(**how)
        seconds = max(SECONDS, float(session.timeout or 0))
        guard_session(session, ExchangeLimits(connect=seconds, idle=seconds, answer=seconds))
        return session

    def fetch_token(self, token: str, **how: Any) -> Any:
        """Return what Keystone knows about ``token``; raises InvalidToken, and Unavailable without an answer."""
        try:
            return super().fetch_token(token, **how)
        except InvalidToken as error:
            if isinstance(error.__context__, _UNANSWERED):
                raise Unavailable(_SILENT) from error
            raise
        except keystoneauth.ConnectionError as error:
            # Of the question for the service's own token, which the middleware does not catch.
            raise Unavailable(_SILENT) from error
