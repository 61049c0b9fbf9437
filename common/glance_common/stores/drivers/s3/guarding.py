"""boto3's connections under a guard: its own time limits begin anew with each byte that a server sends."""

import threading
from typing import Any

from botocore.awsrequest import AWSHTTPConnection, AWSHTTPConnectionPool, AWSHTTPSConnection, AWSHTTPSConnectionPool

from glance_common.fetch.guarded_http import open_socket, tls_context
from glance_common.fetch.guards import ExchangeLimits, Guard


class Exchanges:
    """The guard of the exchange that the calling thread is in."""

    def __init__(self) -> None:
        self._mine = threading.local()

    def begin(self, limits: ExchangeLimits) -> Guard:
        """Begin an exchange in this thread."""
        guard = Guard(limits)
        # Header and document in one: boto3 reads both within one call.
        guard.begin_body(document=True)
        self._mine.guard = guard
        return guard

    def go_on(self, guard: Guard) -> None:
        """Let this thread go on with an exchange that another one may have begun."""
        self._mine.guard = guard

    def current(self) -> Guard:
        """Return the guard of this thread, a new one when there is none, as for a connection that is just closed."""
        guard: Guard = getattr(self._mine, "guard", None) or self.begin(ExchangeLimits())
        return guard


def guard_client(client: Any, exchanges: Exchanges, verify: bool | str) -> None:
    """Let a client of boto3 use guarded connections."""

    class PlainConnection(AWSHTTPConnection):
        def _new_conn(self) -> Any:
            return open_socket(self, self._dns_host, exchanges.current)

    class TLSConnection(AWSHTTPSConnection):
        def _new_conn(self) -> Any:
            return open_socket(self, self._dns_host, exchanges.current)

    class PlainPool(AWSHTTPConnectionPool):
        ConnectionCls = PlainConnection

    class TLSPool(AWSHTTPSConnectionPool):
        ConnectionCls = TLSConnection

    manager = client._endpoint.http_session._manager  # noqa: SLF001 - boto3 has no public way; a test shows a change
    manager.pool_classes_by_scheme = {"http": PlainPool, "https": TLSPool}
    manager.connection_pool_kw["ssl_context"] = tls_context(verify)
