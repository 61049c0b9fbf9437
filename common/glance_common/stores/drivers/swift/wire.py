"""Exchanges with Swift and Keystone: python-swiftclient and keystoneauth over guarded connections.

Each exchange has one deadline, keeps its connection for the next one, follows no redirect and knows no proxy of the
environment.
"""

import os
from collections.abc import Callable
from typing import Any, TypeVar

import requests
from keystoneauth1 import exceptions as keystoneauth
from keystoneauth1.session import Session
from swiftclient import client as swiftclient
from swiftclient.exceptions import ClientException
from urllib3 import disable_warnings
from urllib3.exceptions import HTTPError, InsecureRequestWarning

from glance_common.fetch.exchanges import Exchanges
from glance_common.fetch.guarded_http import GuardedAdapter
from glance_common.fetch.guards import ExchangeLimits, Guard
from glance_common.stores.drivers.swift.errors import too_slow, translated
from glance_common.stores.drivers.swift.options import SwiftTransport

_FAILURES = (
    ClientException, keystoneauth.ClientException, requests.RequestException, HTTPError, OSError, ValueError,
)
_CONNECTIONS = 128
"""Kept open for the next calls; more than that may be open."""

_LARGEST_DOCUMENT = 16 * 1024 * 1024
"""Bytes of the largest answer but data: a list of objects, or a token with its catalog."""

_SLOWEST = 64 * 1024
"""Bytes a second that a server takes in at least."""

_WINDOW = 60.0
"""Seconds of waiting over which the rate of incoming data is averaged."""

# Its log lines show the beginnings of tokens otherwise.
swiftclient.logger_settings["reveal_sensitive_prefix"] = 0

T = TypeVar("T")


class SwiftWire:
    """The exchanges of one store. Calls raise SwiftFailed, and StoreFull when there is no room."""

    def __init__(self, transport: SwiftTransport) -> None:
        self._transport = transport
        if not transport.verify:
            # Said once, at the start, and not for each connection.
            disable_warnings(InsecureRequestWarning)
        self._made: tuple[int, requests.Session] | None = None
        self.exchanges = Exchanges()

    def limits(self, data: int = 0, reads: int = 1) -> ExchangeLimits:
        """Return what an exchange may take that sends ``data`` bytes; ``reads``: times of a read for the answer."""
        transport = self._transport
        return ExchangeLimits(
            connect=transport.connect_timeout, idle=transport.read_timeout,
            answer=transport.connect_timeout + transport.read_timeout * reads + data / _SLOWEST,
            document=_LARGEST_DOCUMENT, window=_WINDOW,
        )

    def exchange(self, operation: str, place: str, act: Callable[[], T], limits: ExchangeLimits | None = None) -> T:
        """Return what ``act`` returns, which calls one of the libraries; its errors become those of the store."""
        self.exchanges.begin(limits or self.limits())
        return self.guarded(operation, place, act)

    def guarded(self, operation: str, place: str, act: Callable[[], T]) -> T:
        """Go on with an exchange that has begun. Raises as ``exchange``."""
        try:
            return act()
        except _FAILURES as error:
            # Not chained: texts of these errors may hold what was sent.
            reason = self.exchanges.current().reason
            if reason is not None:
                raise too_slow(reason, operation, place) from None
            raise translated(error, operation, place) from None

    def connection(self, url: str) -> "tuple[Any, SwiftConnection]":
        """Return what the functions of python-swiftclient take as ``http_conn``."""
        connection = SwiftConnection(url, self._session(), self._transport.verify)
        return connection.parsed_url, connection

    def keystone_session(self, plugin: Any) -> Session:
        """Return a session of keystoneauth that logs in with ``plugin``."""
        return Session(
            auth=plugin, session=self._session(), verify=self._transport.verify, redirect=False, connect_retries=0
        )

    def go_on(self, guard: Guard) -> None:
        """Let this thread go on with an exchange that another one may have begun."""
        self.exchanges.go_on(guard)

    def _session(self) -> requests.Session:
        """Return the session of this process: after a fork connections cannot be shared. Threads share it.

        Two threads may make one at the same moment; the later one stays.
        """
        made = self._made
        if made is None or made[0] != os.getpid():
            session = swiftclient.SwiftClientRequestsSession()
            session.trust_env = False
            session.headers = None
            for scheme in ("http://", "https://"):
                session.mount(scheme, _Adapter(self.exchanges.current, _CONNECTIONS, self._transport.verify))
            self._made = made = (os.getpid(), session)
        return made[1]


class SwiftConnection(swiftclient.HTTPConnection):
    """A connection of python-swiftclient that uses the session of the store; for one call."""

    def __init__(self, url: str, session: requests.Session, verify: bool | str) -> None:
        super().__init__(url)
        self.request_session = session
        self.requests_args["verify"] = verify

    def _request(self, method: str, url: str, **options: Any) -> Any:
        # A redirect would take the token along.
        return self.request_session.request(method, url, **{**options, "allow_redirects": False})

    def close(self) -> None:
        """Keep the session: others use it too."""
        if self.resp is not None:
            self.resp.close()


class _Adapter(GuardedAdapter):
    """Sends in large pieces: each read of a body is one call to the network."""

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, blocksize=256 * 1024, **options)
