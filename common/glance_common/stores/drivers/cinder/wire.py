"""Exchanges with Cinder and Keystone: keystoneauth and python-cinderclient over guarded connections.

Each exchange has one deadline, follows no redirect and knows no proxy of the environment. Needs the client libraries.
"""

import os
from collections.abc import Callable
from typing import Any, TypeVar

import requests
from cinderclient import exceptions as cinderclient
from keystoneauth1 import exceptions as keystoneauth
from keystoneauth1.plugin import BaseAuthPlugin
from keystoneauth1.session import Session
from urllib3 import disable_warnings
from urllib3.exceptions import HTTPError, InsecureRequestWarning

from glance_common.fetch import deadlines
from glance_common.fetch.exchanges import Exchanges
from glance_common.fetch.guarded_http import GuardedAdapter
from glance_common.fetch.guards import ExchangeLimits
from glance_common.stores.contract import StoreError
from glance_common.stores.drivers.cinder.errors import CinderFailed, too_slow, translated
from glance_common.stores.drivers.cinder.options import CinderTransport

_FAILURES = (
    cinderclient.ClientException, keystoneauth.ClientException, requests.RequestException, HTTPError, OSError,
    ValueError, KeyError,
)
_CONNECTIONS = 64
"""Kept open for the next calls; more than that may be open."""

_LARGEST_DOCUMENT = 16 * 1024 * 1024
"""Bytes of the largest answer: a page of volumes, or a token with its catalog."""

_FIRST_PAUSE = 0.2
"""Seconds before the second try; each further pause is twice as long."""

T = TypeVar("T")


class CinderWire:
    """The exchanges of one store. Calls raise CinderFailed, and StoreFull when a quota is reached."""

    def __init__(self, transport: CinderTransport) -> None:
        self._transport = transport
        if not transport.verify:
            # Said once, at the start, and not for each connection.
            disable_warnings(InsecureRequestWarning)
        self._made: tuple[int, requests.Session] | None = None
        self._exchanges = Exchanges()

    def exchange(self, operation: str, place: str, act: Callable[[], T], *, repeats: bool = False) -> T:
        """Return what ``act`` returns, which calls one of the libraries; its errors become those of the store.

        With ``repeats`` it may be called again after a failure that may pass.
        """
        tries = self._transport.retries if repeats else 0
        pause = _FIRST_PAUSE
        while True:
            try:
                return self._once(operation, place, act)
            except CinderFailed as failed:
                if not failed.may_pass or tries == 0:
                    raise
                tries -= 1
                deadlines.pause(pause)
                pause *= 2

    def session(self, plugin: BaseAuthPlugin) -> Session:
        """Return a session of keystoneauth with this proof of identity."""
        return _QuietSession(
            auth=plugin, session=self._session(), verify=self._transport.verify, redirect=False, connect_retries=0
        )

    def close(self) -> None:
        """Close the connections."""
        if self._made is not None:
            self._made[1].close()

    def _once(self, operation: str, place: str, act: Callable[[], T]) -> T:
        transport = self._transport
        guard = self._exchanges.begin(ExchangeLimits(
            connect=transport.connect, idle=transport.read, answer=transport.connect + transport.read,
            document=_LARGEST_DOCUMENT,
        ))
        try:
            return act()
        except StoreError:
            raise
        except _FAILURES as error:
            # Not chained: texts of these errors may hold what was sent.
            if guard.reason is not None:
                raise too_slow(guard.reason, operation, place) from None
            raise translated(error, operation, place) from None

    def _session(self) -> requests.Session:
        """Return the session of this process: after a fork connections cannot be shared. Threads share it.

        Two threads may make one at the same moment; the later one stays.
        """
        made = self._made
        if made is None or made[0] != os.getpid():
            session = requests.Session()
            session.trust_env = False
            for scheme in ("http://", "https://"):
                session.mount(scheme, GuardedAdapter(self._exchanges.current, _CONNECTIONS, self._transport.verify))
            self._made = made = (os.getpid(), session)
        return made[1]


class _QuietSession(Session):
    """Writes no requests and answers to the log: they hold tokens, and how volumes are reached."""

    def request(self, *arguments: Any, **options: Any) -> Any:
        """Make a request."""
        return super().request(*arguments, **{**options, "log": False})
