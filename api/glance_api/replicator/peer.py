"""The connection to one glance-api: bounded in time and size, and its token goes to no other server."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType
from typing import Any
from urllib.parse import urljoin, urlsplit

import orjson
import requests

from glance_common.fetch.exchanges import Exchanges
from glance_common.fetch.guarded_http import GuardedAdapter
from glance_common.fetch.guards import ExchangeLimits
from glance_common.fetch.url_session import Response

DEFAULT_PORT = 9292
LARGEST_DOCUMENT = 64 * 1024 * 1024
"""Bytes of an answer that is no image data; a page of 1000 images has some megabytes."""
ANSWER_SECONDS = 120.0
MOST_REDIRECTS = 3

_REDIRECTS = (301, 302, 303, 307, 308)
_ADDRESS = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class ReplicationError(Exception):
    """What cannot be done, for one image or at all; the text is for the user of the tool."""


class TemporaryTrouble(ReplicationError):
    """The server does not answer, breaks off or is overloaded: another try may succeed."""


@dataclass(frozen=True, slots=True)
class PeerSettings:
    """``silence``: seconds without a byte after which a connection is given up; ``verify`` as requests has it."""

    silence: float = 300.0
    verify: bool | str = True


@dataclass(frozen=True, slots=True)
class PeerAnswer:
    """An answer that came whole."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    def document(self) -> Any:
        """Return what the body says. Raises ReplicationError."""
        try:
            return orjson.loads(self.content)
        except ValueError:
            raise ReplicationError("the answer is not JSON: is this glance-api?") from None

    def reason(self) -> str:
        """Return what the server says about an error, in one line."""
        text = self.content[:4096].decode(errors="replace")
        if "json" in self.headers.get("Content-Type", ""):
            with suppress(ValueError, KeyError, TypeError):
                text = str(orjson.loads(self.content)["message"])
        elif "<" in text:
            text = ""  # a page for browsers
        return " ".join(text.split())[:300] or _phrase(self.status)


def base_url(address: str) -> str:
    """Return the URL of ``host:port``, ``[IPv6]:port`` or of a URL that is given whole. Raises ReplicationError."""
    if address.startswith(("http://", "https://")):
        parts = urlsplit(address)
        place, url = parts.netloc, address.rstrip("/")
        is_right = not (parts.query or parts.fragment) and _ADDRESS.fullmatch(place) is not None
    else:
        place, is_right = address, _ADDRESS.fullmatch(address) is not None
        has_port = bool(place.rpartition("]")[2].rpartition(":")[1])
        url = f"http://{place}" if has_port else f"http://{place}:{DEFAULT_PORT}"
    try:
        is_right = is_right and urlsplit(url).port != 0 and bool(urlsplit(url).hostname)
    except ValueError:
        is_right = False
    if not is_right:
        raise ReplicationError(f"{address[:80]!r} is no address: write host:port, [IPv6 address]:port or a URL.")
    return url


class Peer:
    """One server. Use it from one thread. Every method raises ReplicationError."""

    def __init__(self, address: str, token: str, settings: PeerSettings) -> None:
        self.url = base_url(address)
        self._limits = ExchangeLimits(
            idle=settings.silence, answer=max(ANSWER_SECONDS, settings.silence), document=LARGEST_DOCUMENT
        )
        self._exchanges = Exchanges()
        self._session = requests.Session()
        # Nothing of the environment: no proxy, and no password of a .netrc.
        self._session.trust_env = False
        self._session.verify = settings.verify
        self._session.headers = {"User-Agent": "glance-replicator", "Accept-Encoding": "identity"}
        if token:
            self._session.headers["X-Auth-Token"] = token
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, GuardedAdapter(self._exchanges.current))

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def ask(
        self, method: str, path: str, headers: Mapping[str, str] = _NO_HEADERS, body: bytes | None = None
    ) -> PeerAnswer:
        """Send a request whose answer is a document, or none."""
        self._exchanges.begin(self._limits)
        with self._send(method, path, headers, body) as response:
            return self._whole(response)

    def open(self, path: str, headers: Mapping[str, str] = _NO_HEADERS) -> Response:
        """Ask for data; the caller reads and closes the answer. What is silent, or too slow, raises BrokenOff there."""
        guard = self._exchanges.begin(self._limits)
        response = self._send("GET", path, headers, None)
        guard.begin_body(document=False)
        return Response(response, guard)

    def upload(self, path: str, headers: Mapping[str, str], pieces: Iterable[bytes], size: int) -> PeerAnswer:
        """Send data of a known size with PUT. What ``pieces`` raises breaks the connection off."""
        guard = self._exchanges.begin(self._limits)
        # The data may take any time, as long as they move. The answer has a time of its own.
        guard.begin_body(document=False)
        body = _Sized(pieces, size, lambda: self._exchanges.begin(self._limits)) if size else b""
        with self._send("PUT", path, headers, body) as response:
            return self._whole(response)

    def _whole(self, response: requests.Response) -> PeerAnswer:
        try:
            content = response.raw.read(LARGEST_DOCUMENT + 1, decode_content=False)
        except Exception as error:
            raise self._trouble(error) from error
        if len(content) > LARGEST_DOCUMENT:
            raise ReplicationError(f"{self.url} answers with more than {LARGEST_DOCUMENT} bytes.")
        return PeerAnswer(response.status_code, response.headers, content)

    def _send(self, method: str, path: str, headers: Mapping[str, str], body: Any) -> requests.Response:
        url = self.url + path
        for _ in range(MOST_REDIRECTS + 1):
            try:
                response = self._session.request(
                    method, url, headers=dict(headers), data=body, allow_redirects=False, stream=True
                )
            except (requests.RequestException, OSError, ValueError) as error:
                raise self._trouble(error) from error
            location = response.headers.get("Location")
            if response.status_code not in _REDIRECTS or not location or method not in ("GET", "HEAD"):
                return response
            response.close()
            url = self._same_server(urljoin(url, location))
        raise ReplicationError(f"{self.url} redirects more than {MOST_REDIRECTS} times.")

    def _same_server(self, url: str) -> str:
        """Return a URL that a redirect leads to. Raises ReplicationError: no other server may see the token."""
        try:
            target, own = urlsplit(url), urlsplit(self.url)
            is_same = (target.scheme, target.hostname, target.port) == (own.scheme, own.hostname, own.port)
        except ValueError:
            is_same = False
        if not is_same:
            raise ReplicationError(f"{self.url} redirects to another server, which is not followed.")
        return url

    def _trouble(self, error: BaseException) -> ReplicationError:
        # The texts of the libraries name objects of their own.
        reason = self._exchanges.current().reason
        while reason is None and (inner := error.__cause__ or error.__context__) is not None:
            error = inner
        text = reason or str(getattr(error, "strerror", None) or error) or type(error).__name__
        return TemporaryTrouble(f"{self.url} does not answer: {' '.join(text.split())[:200]}")


class _Sized:
    """Pieces whose size is announced: requests asks for the length of what it sends. ``at_end`` is called behind them.
    """

    def __init__(self, pieces: Iterable[bytes], size: int, at_end: Callable[[], object]) -> None:
        self._pieces, self._size, self._at_end = pieces, size, at_end

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        yield from self._pieces
        self._at_end()


def refused(answer: PeerAnswer, what: str) -> ReplicationError:
    """Return the error for an answer that says that ``what`` was not done."""
    text = f"{what}: {answer.status} {answer.reason()}"
    return TemporaryTrouble(text) if answer.status >= 500 or answer.status == 429 else ReplicationError(text)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "no reason"
