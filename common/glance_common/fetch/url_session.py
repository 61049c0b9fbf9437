"""Fetching a URL that the filter lets through: connected to the checked address, redirects checked like the first URL.

(security section 3, S-04, S-22, S-33)
"""

import base64
import logging
from collections.abc import Collection, Mapping
from typing import Any, Self
from urllib.parse import urljoin

import requests
import urllib3.exceptions
from requests.adapters import HTTPAdapter

from glance_common.fetch.guarded_http import GuardedAdapter
from glance_common.fetch.guards import ExchangeLimits, Guard
from glance_common.fetch.url_filter import CheckedUrl, RedirectRefused, UrlFilter, UrlRefused, parse

log = logging.getLogger(__name__)

MAX_REDIRECTS = 5
_MAX_ADDRESSES = 4
_SAFE_HEADERS = frozenset({"accept", "accept-encoding", "if-range", "range", "user-agent"})
"""The headers that another host may see; tokens and credentials stay with the one they were meant for."""

_ENOUGH = 128 * 1024
"""Bytes that are worth a piece: every piece is hashed, inspected and written by itself."""


class FetchFailed(Exception):
    """No answer came: refused, timed out, cut or not trusted. One text for all, so that none can scan ports (S-27)."""


class BrokenOff(FetchFailed):
    """The body does not come whole; the text continues the words "the server"."""


class Response:
    """An answer, its body unread. Use it from one thread at a time, as a context or with ``close``."""

    def __init__(self, response: requests.Response, guard: Guard) -> None:
        self.status_code: int = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self.is_redirect: bool = response.is_redirect
        self._response = response
        self._guard = guard

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._response.close()

    def read(self, most: int) -> bytes:
        """Return the next bytes of the body as it was sent, at most ``most``, none at the end.

        Small parts are joined. Raises BrokenOff, also when they come too slowly, and what the scope's checks raise.
        """
        parts: list[bytes] = []
        size = 0
        while size < min(most, _ENOUGH):
            part = self._read_part(most - size)
            if not part:
                break
            parts.append(part)
            size += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _read_part(self, most: int) -> bytes:
        """Return what is there: waiting for more would hide how slowly it comes."""
        part = b""
        self._guard.begin_read()
        try:
            part = self._response.raw.read1(most, decode_content=False)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise BrokenOff(self._guard.reason or f"stopped sending ({type(error).__name__})") from error
        finally:
            self._guard.end_read(len(part))
        return part


class _PinnedAdapter(GuardedAdapter):
    """Connects to one address while Host, SNI and certificate check keep the name."""

    def __init__(self, target: CheckedUrl, address: str, guard: Guard) -> None:
        super().__init__(lambda: guard)
        self._target = target
        self._address = address

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: Any, cert: Any = None
    ) -> Any:
        """Return host and pool parameters; the hook that requests offers for exactly such changes."""
        host, pool = super().build_connection_pool_key_attributes(request, verify, cert)
        tls: dict[str, Any] = {}
        if self._target.scheme == "https":
            tls = {"server_hostname": self._target.host, "assert_hostname": self._target.host if verify else False}
        return {**host, "host": self._address}, {**pool, **tls}


class UrlSession:
    """Fetches URLs through a filter. Holds no connections, cookies or state; any number of threads may use it."""

    def __init__(
        self,
        url_filter: UrlFilter,
        *,
        verify: bool | str = True,
        limits: ExchangeLimits = ExchangeLimits(),  # noqa: B008 - a value that never changes
        proxies: Mapping[str, str] | None = None,
        follow: Collection[int] = (301, 302, 303, 307, 308),
    ) -> None:
        """``verify``: false, true or a file of CA certificates; ``limits``: of each exchange; ``proxies``: scheme to
        proxy, which then resolves names by itself; ``follow``: statuses that are redirects."""
        self._filter = url_filter
        self._verify = verify
        self._limits = limits
        self._proxies = dict(proxies or {})
        self._follow = frozenset(follow)

    def request(
        self, method: str, url: str, headers: Mapping[str, str] | None = None, *, document: bool = False
    ) -> Response:
        """Return the answer, its body unread; the caller closes it. Credentials in ``url`` become a Basic header.

        A ``document`` has to come whole in the time of the answer. Raises UrlRefused for a URL that the rules forbid,
        RedirectRefused for where the server leads, FetchFailed when no answer comes in time, and what the checks of the
        open scope raise.
        """
        guard = Guard(self._limits)
        current = self._check(url, guard, userinfo=True)
        sent = {"User-Agent": "glance", "Accept-Encoding": "identity", **(headers or {}), **_basic(current)}
        for _ in range(MAX_REDIRECTS + 1):
            response = self._send(method, current, sent, guard)
            if response.status_code not in self._follow:
                guard.begin_body(document=document)
                return Response(response, guard)
            with response:
                target = self._redirect(current, response.headers.get("Location"), guard)
            if target.origin != current.origin:
                sent = {name: value for name, value in sent.items() if name.lower() in _SAFE_HEADERS}
            current = target
        raise RedirectRefused(f"the URL leads to more than {MAX_REDIRECTS} redirects")

    def _check(self, url: str, guard: Guard, *, userinfo: bool) -> CheckedUrl:
        proxied = parse(url, userinfo=userinfo).scheme in self._proxies
        return self._filter.check(url, userinfo=userinfo, resolve=not proxied, guard=guard)

    def _redirect(self, current: CheckedUrl, location: str | None, guard: Guard) -> CheckedUrl:
        if not location:
            raise RedirectRefused("the URL leads to a redirect without a target")
        try:
            target = self._check(urljoin(current.url, location), guard, userinfo=False)
        except UrlRefused as error:
            # Where a server leads is its own affair: a name of the inside is no news for the caller.
            log.info("redirect from %s: %s", _shown(current), error)
            raise RedirectRefused("the URL leads to a redirect that is not allowed") from None
        if current.scheme == "https" and target.scheme == "http":
            raise RedirectRefused("the URL leads from https to http")
        return target

    def _send(
        self, method: str, target: CheckedUrl, headers: Mapping[str, str], guard: Guard
    ) -> requests.Response:
        # No requests.Session: it would add cookies, .netrc passwords and proxies of the environment.
        prepared = requests.Request(
            method, target.url, headers={**headers, "Host": _host_header(target), "Connection": "close"}
        ).prepare()
        adapters: list[HTTPAdapter]
        if target.scheme in self._proxies:
            adapters = [GuardedAdapter(lambda: guard, verify=self._verify)]
        else:
            adapters = [_PinnedAdapter(target, address, guard) for address in target.addresses[:_MAX_ADDRESSES]]
        for adapter in adapters:
            guard.begin_header()
            try:
                return adapter.send(prepared, stream=True, verify=self._verify, proxies=self._proxies)
            except requests.ConnectionError as error:
                log.info("%s %s: %s", method, _shown(target), guard.reason or type(error).__name__)
            except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
                # OSError: the file of CA certificates is missing. ValueError: the answer is not HTTP.
                log.info("%s %s: %s", method, _shown(target), guard.reason or type(error).__name__)
                break
        raise FetchFailed(f"{_shown(target)} cannot be fetched")


def _basic(checked: CheckedUrl) -> dict[str, str]:
    if checked.credentials is None:
        return {}
    pair = ":".join(checked.credentials).encode()
    return {"Authorization": "Basic " + base64.b64encode(pair).decode("ascii")}


def _host_header(target: CheckedUrl) -> str:
    return target.url.split("/", 3)[2]


def _shown(target: CheckedUrl) -> str:
    """Return the URL without its query, which may be a signature."""
    return target.url.partition("?")[0]
