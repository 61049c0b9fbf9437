"""HTTPS requests to the servers of one store, under guards: the only module that sends something."""

import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
from requests.exceptions import RequestException
from urllib3 import disable_warnings
from urllib3.exceptions import HTTPError, InsecureRequestWarning

from glance_common.fetch.guarded_http import GuardedAdapter
from glance_common.fetch.guards import ExchangeLimits, Guard
from glance_common.stores.drivers.vmware.errors import broken
from glance_common.stores.drivers.vmware.options import VmwareOptions

_FAILURES = (RequestException, HTTPError, OSError)
_CONNECTIONS = 64
_CHUNK = 64 * 1024
"""Bytes of a chunk of data whose length is not known. From 128 KiB on the C library gets the memory of each frame
from the kernel anew."""

_LARGEST_DOCUMENT = 64 * 1024 * 1024
"""Bytes of the list of a directory, of which a search asks for a part."""


class Outgoing:
    """A body of data: ``pieces``, told as so many bytes, None when that is not known.

    The wait for the source does not count as time of the server. ``error`` is what the source raised.
    """

    def __init__(self, pieces: Iterator[bytes], length: int | None) -> None:
        self.pieces = pieces
        self.length = length
        self.error: BaseException | None = None


class _SourceFailed(Exception):
    """Ends the request; not one of the errors that HTTP libraries take for those of a connection."""


class _Pieces:
    """What requests iterates over to send a body."""

    def __init__(self, transport: "HttpsClient", body: Outgoing) -> None:
        self._transport = transport
        self._body = body

    def __iter__(self) -> Iterator[bytes | memoryview]:
        guard = self._transport.begin()
        guard.begin_body(document=False)
        while (piece := self._next()) is not None:
            for chunk in self._cut(piece):
                guard.begin_read()
                yield chunk
                guard.end_read(len(chunk))
        # The time for the answer begins when all is sent.
        self._transport.begin()

    def _cut(self, piece: bytes) -> Iterator[bytes | memoryview]:
        """Yield the piece in chunks. The library copies each into its frame, which is cheap while it is small."""
        view = memoryview(piece)
        return (view[at : at + _CHUNK] for at in range(0, len(piece), _CHUNK))

    def _next(self) -> bytes | None:
        try:
            return next(filter(None, self._body.pieces), None)
        except BaseException as error:
            self._body.error = error
            raise _SourceFailed from None


class _SizedPieces(_Pieces):
    """The same with a length, which requests tells the server."""

    def __len__(self) -> int:
        assert self._body.length is not None
        return self._body.length

    def _cut(self, piece: bytes) -> Iterator[bytes | memoryview]:
        """Yield the piece, which goes out as it is."""
        yield piece


class _PinnedAdapter(GuardedAdapter):
    """Accepts the certificate with one fingerprint alone."""

    fingerprint: str

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: Any, cert: Any = None  # noqa: ARG002 - pinned instead
    ) -> Any:
        """Return host and pool parameters with the fingerprint."""
        host, pool = super().build_connection_pool_key_attributes(request, False, cert)
        return host, {**pool, "assert_fingerprint": self.fingerprint}

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:  # noqa: ARG002 - as above
        """Look at no authority."""
        super().cert_verify(conn, url, False, cert)  # type: ignore[no-untyped-call]  # requests has no types here


class HttpsClient:
    """Sends requests. Calls raise VmwareFailed."""

    def __init__(self, options: VmwareOptions) -> None:
        self._options = options
        self._limits = ExchangeLimits(
            connect=options.connect_timeout, idle=options.read_timeout, answer=options.call_timeout,
            document=_LARGEST_DOCUMENT, window=max(options.read_timeout, 1.0),
        )
        self._made: tuple[int, requests.Session] | None = None
        self._mine = threading.local()

    def begin(self) -> Guard:
        """Begin an exchange in this thread, in the scope of ``deadlines`` that is open now."""
        self._mine.guard = guard = Guard(self._limits)
        return guard

    def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | Outgoing | None = None
    ) -> "HttpsAnswer":
        """Send a request and return its answer; no redirect is followed. Raises VmwareFailed; what the source of the
        body raises comes out unchanged."""
        data: Any = body
        if isinstance(body, Outgoing):
            # No bytes are no pieces: requests would send them chunked.
            data = b"" if body.length == 0 else (_Pieces if body.length is None else _SizedPieces)(self, body)
        self.begin()
        try:
            response = self._session().request(
                method, url, headers=dict(headers), data=data, verify=self._options.verify, stream=True,
                allow_redirects=False,
            )
        except (*_FAILURES, _SourceFailed) as error:
            if isinstance(body, Outgoing) and body.error is not None:
                raise body.error  # noqa: B904 - the source's own, unchanged
            # Not chained: texts of these errors may hold what was sent.
            raise broken(error, self._what(method), self.guard.reason) from None
        self.guard.begin_body(document=True)
        return HttpsAnswer(self, response, self._what(method))

    @property
    def guard(self) -> Guard:
        """The guard of the exchange that this thread is in; a new one for a connection that is just closed."""
        guard: Guard | None = getattr(self._mine, "guard", None)
        return guard if guard is not None else self.begin()

    def go_on(self, guard: Guard) -> None:
        """Let this thread go on with an exchange that another one may have begun."""
        self._mine.guard = guard

    def close(self) -> None:
        """Close the connections."""
        if self._made is not None:
            self._made[1].close()

    def _what(self, method: str) -> str:
        return f"{self._options.place.host}, {method}"

    def _session(self) -> requests.Session:
        """Return the session of this process: after a fork connections cannot be shared. Threads share it."""
        made = self._made
        if made is None or made[0] != os.getpid():
            self._made = made = (os.getpid(), self._new_session())
        return made[1]

    def _new_session(self) -> requests.Session:
        session = requests.Session()
        session.trust_env = False
        # Lengths are those of files, and no answer is larger than it looks.
        session.headers["Accept-Encoding"] = "identity"
        # Each request carries the cookies that it is given, and no other.
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        if self._options.verify is False:
            # The operator chose that, and the log says so once; the library would at each connection.
            disable_warnings(InsecureRequestWarning)
        session.mount("https://", GuardedAdapter(lambda: self.guard, _CONNECTIONS))
        if self._options.thumbprint is not None:
            pinned = _PinnedAdapter(lambda: self.guard, _CONNECTIONS)
            pinned.fingerprint = self._options.thumbprint
            session.mount(f"https://{self._options.place.host}/", pinned)
        return session


class HttpsAnswer:
    """The answer to a request. Closing it gives the connection back once all was read, and ends it otherwise."""

    def __init__(self, transport: HttpsClient, response: requests.Response, what: str) -> None:
        self.url = response.url
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self.cookies: Iterable[str] = response.raw.headers.getlist("Set-Cookie")
        self._transport = transport
        self._response = response
        self._what = what
        self._guard = transport.guard

    def document(self) -> bytes:
        """Return the body, which has to come in the time of the exchange. Raises VmwareFailed."""
        try:
            content: bytes = self._response.content
        except _FAILURES as error:
            raise broken(error, self._what, self._guard.reason) from None
        finally:
            self.close()
        return content

    def begin_data(self) -> None:
        """Say that the body is data, which come with a least rate, however long that takes."""
        self._guard = self._transport.begin()
        self._guard.begin_body(document=False)

    def read(self, size: int) -> bytes:
        """Return the next bytes of the data, in any thread; nothing at the end. Raises VmwareFailed."""
        self._transport.go_on(self._guard)
        self._guard.begin_read()
        piece = b""
        try:
            piece = self._response.raw.read(size)
        except _FAILURES as error:
            raise broken(error, self._what, self._guard.reason) from None
        finally:
            self._guard.end_read(len(piece))
        return piece

    def close(self) -> None:
        """Release the connection, once all is read for further use."""
        self._response.close()
