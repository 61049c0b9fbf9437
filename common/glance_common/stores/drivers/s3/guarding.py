"""boto3's connections under a guard: its own time limits begin anew with each byte that a server sends."""

from typing import Any

from botocore.awsrequest import AWSHTTPConnection, AWSHTTPConnectionPool, AWSHTTPSConnection, AWSHTTPSConnectionPool

from glance_common.fetch.exchanges import Exchanges
from glance_common.fetch.guarded_http import open_socket, tls_context


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
