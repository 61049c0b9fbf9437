"""The http store: images that stay on a web server; read-only (stores section 4, security section 3, S-32, S-33).

Its key is the URL. Every connection and every redirect passes the URL filter, also when the location was registered
long ago. Ranges work when the server answers them.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from oslo_config import cfg

from glance_common.fetch.guards import ExchangeLimits
from glance_common.fetch.url_filter import (
    RedirectRefused,
    UrlFilter,
    UrlRefused,
    as_told,
    parse,
    without_credentials,
)
from glance_common.fetch.url_session import FetchFailed, Response, UrlSession
from glance_common.stores.base import BaseStore, piece_sizes
from glance_common.stores.contract import (
    AddDisabled,
    BadLocation,
    BlobNotFound,
    Capabilities,
    DeleteUnsupported,
    LocationRefused,
    RangeUnsupported,
    Stored,
    StoreError,
    StoreUnavailable,
    require_range,
)
from glance_common.stores.settings import Identities, StoreSettings, Traits

_LENGTH = re.compile(r"[0-9]{1,18}")
_CONTENT_RANGE = re.compile(r"bytes (?:([0-9]{1,18})-[0-9]{1,18}|\*)/(?:([0-9]{1,18})|\*)")

OPTIONS: list[cfg.Opt] = [
    cfg.StrOpt(
        "https_ca_certificates_file",
        help="CA certificates that servers are checked with instead of the well-known ones.",
    ),
    cfg.BoolOpt(
        "https_insecure", default=False,
        help="Do not check the certificates of servers; ignored when https_ca_certificates_file is set. The original's "
        "default is true, which lets anybody on the way replace the image (S-04).",
    ),
    cfg.DictOpt(
        "http_proxy_information", default={},
        help="Proxies as scheme:host:port, for example http:10.0.0.1:3128,https:10.0.0.1:1080. A proxy resolves "
        "names by itself, so it must refuse inner addresses; the lists of [import_filtering_opts] are checked here.",
    ),
    cfg.FloatOpt("http_connect_timeout", default=10.0, min=0.1, help="Seconds to wait for a connection."),
    cfg.FloatOpt("http_read_timeout", default=60.0, min=0.1, help="Seconds to wait for the next bytes."),
    cfg.FloatOpt(
        "http_answer_timeout", default=30.0, min=0.1,
        help="Seconds until the header of the answer has to be there: look-up, connections, TLS and redirects in all. "
        "Data then have to come with 1 KiB a second at least.",
    ),
]

_PIECE = 256 * 1024
_REDIRECTS = (301, 302)
_BUSY = frozenset({408, 425, 429})
_NO_HEAD = frozenset({400, 401, 403, 405, 501})
"""What servers answer that know no HEAD, or whose signed URLs are for GET."""


class HttpStore(BaseStore):
    """Objects behind http and https URLs; fulfils ``contract.Store`` and ``settings.Driver``."""

    kind = "http"
    traits = Traits(remote=True, keys_are_urls=True)
    capabilities = Capabilities(schemes=("http", "https"), add=False, delete=False, ranges=True)

    def __init__(self, settings: StoreSettings, identities: Identities, session: UrlSession) -> None:
        super().__init__(settings, identities)
        self._session = session

    @classmethod
    def options(cls) -> Sequence[cfg.Opt]:
        """Return the options of one http store."""
        return OPTIONS

    @classmethod
    def build(cls, settings: StoreSettings, identities: Identities) -> "HttpStore":
        """Return the store. Raises StoreConfigError, and ConfigError for bad filter options."""
        ca_file: str | None = settings.value("https_ca_certificates_file") or None
        if ca_file is not None and not Path(ca_file).is_file():
            raise settings.refuse("https_ca_certificates_file", "must be a readable file of PEM certificates")
        proxies: dict[str, str] = settings.value("http_proxy_information")
        if not set(proxies) <= {"http", "https"}:
            raise settings.refuse("http_proxy_information", "must be scheme:host:port with the schemes http and https")
        session = UrlSession(
            UrlFilter.from_conf(settings.conf),
            verify=ca_file or not settings.value("https_insecure"),
            limits=ExchangeLimits(
                connect=settings.value("http_connect_timeout"),
                idle=settings.value("http_read_timeout"),
                answer=settings.value("http_answer_timeout"),
            ),
            proxies=proxies,
            follow=_REDIRECTS,
        )
        return cls(settings, identities, session)

    def add(self, key: str, pieces: Iterable[bytes], size: int | None) -> Stored:  # noqa: ARG002 - part of the protocol
        """Raise AddDisabled, BadLocation for a key that is no URL of the store."""
        self.url(key)
        raise AddDisabled(f"store {self.id} is read-only")

    def open(self, key: str, offset: int = 0, length: int | None = None) -> "HttpBlob":
        """See the contract. Raises RangeUnsupported when the server sends only whole objects and offset is not 0:
        reading and dropping what lies before would let a small request cause a large transfer."""
        require_range(offset, length)
        try:
            response = self._request("GET", key, _range_header(offset, length))
        except FetchFailed as error:
            raise StoreUnavailable(str(error)) from error
        try:
            return self._opened(response, offset, length)
        except BaseException:
            response.close()
            raise

    def _opened(self, response: Response, offset: int, length: int | None) -> "HttpBlob":
        if response.status_code == 416:
            return HttpBlob(response, _content_range(response)[1], 0)
        _refuse_status(response)
        whole = _content_length(response)
        if response.status_code == 206:
            start, total = _content_range(response)
            if start != offset:
                raise StoreUnavailable(f"{self.id}: the server sent another range than the one asked for")
            return HttpBlob(response, total, _smaller(whole, length))
        if offset and length != 0:
            raise RangeUnsupported(f"{self.id}: the server does not send parts of this object")
        return HttpBlob(response, whole or 0, _smaller(whole, length))

    def size(self, key: str) -> int:
        """Return the Content-Length that HEAD answers, 0 without one. Raises as ``open``, but BadLocation also when no
        answer comes: a location whose size cannot be asked cannot be registered."""
        with self._asked("HEAD", key, {}) as response:
            if response.status_code not in _NO_HEAD:
                _refuse_status(response)
                return _content_length(response) or 0
        # Signed URLs and some servers allow GET alone.
        with self._asked("GET", key, {"Range": "bytes=0-0"}) as response:
            if response.status_code in (206, 416):
                return _content_range(response)[1] or 0
            _refuse_status(response)
            return _content_length(response) or 0

    def _asked(self, method: str, key: str, headers: dict[str, str]) -> Response:
        try:
            return self._request(method, key, headers)
        except FetchFailed as error:
            raise BadLocation(str(error)) from error

    def delete(self, key: str) -> None:
        """Raise DeleteUnsupported, BadLocation for a key that is no URL of the store."""
        self.url(key)
        raise DeleteUnsupported(f"store {self.id} is read-only")

    def url(self, key: str) -> str:
        """Return the URL as it was registered, its fragment too, without user and password (S-02)."""
        try:
            return without_credentials(key)
        except UrlRefused as error:
            raise BadLocation(str(error)) from None

    def key_of(self, url: str) -> str | None:
        """Return the URL itself when it is a well-formed http or https URL. Its host is judged when it is fetched."""
        try:
            parse(url, userinfo=True)
        except UrlRefused:
            return None
        return url

    def check(self) -> None:
        """Do nothing: there is no one server that the store depends on."""

    def identity(self) -> str:
        """Return the empty text: the store is no one place."""
        return ""

    def presign(self, key: str, seconds: int) -> str | None:  # noqa: ARG002 - part of the protocol
        """Return None: addresses of users may hold their credentials."""
        self.url(key)
        return None

    def _request(self, method: str, key: str, headers: dict[str, str]) -> Response:
        try:
            return self._session.request(method, key, headers)
        except RedirectRefused as error:
            # No news for users: it would tell that the server answered (S-27).
            raise BadLocation(f"{self.id}: {error}") from None
        except UrlRefused as error:
            raise LocationRefused(as_told(error)) from None


class HttpBlob:
    """The body of one answer; fulfils ``contract.Blob``."""

    def __init__(self, response: Response, size: int, promised: int | None) -> None:
        """``promised`` is the bytes to yield, None to read until the server ends."""
        self.size = size
        self._response = response
        self._promised = promised

    def __iter__(self) -> Iterator[bytes]:
        """Yield the pieces. Raises StoreUnavailable when the connection fails, ends early or is too slow."""
        missing = self._promised
        sizes = piece_sizes(_PIECE)
        while missing is None or missing > 0:
            size = next(sizes)
            try:
                piece = self._response.read(min(size, missing or size))
            except FetchFailed as error:
                raise StoreUnavailable(f"the server {error}") from error
            if not piece:
                break
            if missing is not None:
                missing -= len(piece)
            yield piece
        if missing:
            raise StoreUnavailable(f"the server stopped sending: {missing} bytes are missing at the end")

    def fileno(self) -> int | None:
        """Return None: the bytes come through HTTP and maybe TLS framing."""
        return None

    def path(self) -> str | None:
        """Return None, as ``fileno``."""
        return None

    def close(self) -> None:
        """Close the connection."""
        self._response.close()


def _range_header(offset: int, length: int | None) -> dict[str, str]:
    """No bytes cannot be asked for in HTTP: the whole object is, and nothing of it is read."""
    if length == 0 or (offset == 0 and length is None):
        return {}
    end = "" if length is None else str(offset + length - 1)
    return {"Range": f"bytes={offset}-{end}"}


def _refuse_status(response: Response) -> None:
    status = response.status_code
    if status in {200, 206}:
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise BadLocation("the server sends the object only in an encoded form")
        return
    message = f"the server answered with status {status}"
    error: type[StoreError] = BadLocation
    if status == 404:
        error = BlobNotFound
    elif status >= 500 or status in _BUSY:
        # The original calls these a bad location too; but the location is right and the server will come back.
        error = StoreUnavailable
    raise error(message)


def _content_length(response: Response) -> int | None:
    text = response.headers.get("Content-Length", "")
    return int(text) if _LENGTH.fullmatch(text) else None


def _content_range(response: Response) -> tuple[int | None, int]:
    """Return the first byte (None in an answer 416) and the size of the whole object (0 when not told)."""
    found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if found is None:
        return None, 0
    return (None if found[1] is None else int(found[1])), int(found[2] or 0)


def _smaller(available: int | None, asked: int | None) -> int | None:
    return min((number for number in (available, asked) if number is not None), default=None)
