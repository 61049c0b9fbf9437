"""The accounts of projects: used with the token of a caller as long as it is good, then by the user of the store."""

from dataclasses import replace

from glance_common.model.errors import BadRequest
from glance_common.model.service_catalog import find_endpoint
from glance_common.stores.caller import StoreCaller
from glance_common.stores.drivers.swift.client import SwiftAccount
from glance_common.stores.drivers.swift.options import SwiftEndpoint, SwiftOptions
from glance_common.stores.drivers.swift.tokens import SwiftToken, SwiftTokens, TokenSource
from glance_common.stores.drivers.swift.wire import SwiftWire


class TenantAccounts:
    """Opens accounts. The token of the store's user goes to the server of its own account only."""

    def __init__(self, options: SwiftOptions, wire: SwiftWire, service: SwiftTokens) -> None:
        self._endpoint = options.endpoint
        self._wire = wire
        self._service = service

    def url_for(self, caller: StoreCaller) -> str:
        """Return the URL of the account that takes the caller's data: the store's own without a project.

        Raises SwiftFailed.
        """
        url = _in_catalog(self._endpoint, caller) if caller.token else None
        if url is not None:
            return url
        own = self._service.get().url
        if not caller.project:
            return own
        base, _, account = own.rpartition("/")
        prefix, underscore, _ = account.rpartition("_")
        return f"{base}/{prefix}{underscore}{caller.project}"

    def of(self, url: str, caller: StoreCaller | None = None) -> SwiftAccount:
        """Return the account with this URL, for the caller when it is the caller's own."""
        tokens: TokenSource = _ServiceTokens(url, self._service)
        if caller is not None and caller.token and _in_catalog(self._endpoint, caller) == url:
            tokens = _CallerTokens(SwiftToken(url, caller.token), tokens)
        return SwiftAccount(tokens, self._wire, url)


class _ServiceTokens:
    """Tokens of the store's user for the account of a project, which is beside its own."""

    def __init__(self, url: str, service: SwiftTokens) -> None:
        self._account = url.rpartition("/")[2]
        self._service = service
        self._given: tuple[SwiftToken, SwiftToken] | None = None

    def get(self) -> SwiftToken:
        """Return a token. Raises SwiftFailed."""
        token = self._service.get()
        given = replace(token, url=f"{token.url.rpartition('/')[0]}/{self._account}")
        self._given = (given, token)
        return given

    def forget(self, token: SwiftToken) -> None:
        """Take a new one for the next call."""
        if self._given is not None and self._given[0].secret == token.secret:
            self._service.forget(self._given[1])


class _CallerTokens:
    """The token of a caller, and after it was refused those of the store's user."""

    def __init__(self, token: SwiftToken, then: TokenSource) -> None:
        self._token: SwiftToken | None = token
        self._then = then

    def get(self) -> SwiftToken:
        """Return a token. Raises SwiftFailed."""
        return self._token or self._then.get()

    def forget(self, token: SwiftToken) -> None:
        """Give another one from now on."""
        if token is self._token:
            self._token = None
        else:
            self._then.forget(token)


def _in_catalog(endpoint: SwiftEndpoint, caller: StoreCaller) -> str | None:
    try:
        url = find_endpoint(caller.catalog, endpoint.service, endpoint.interface, endpoint.region)
    except BadRequest:
        return None
    return url.rstrip("/") if url else None
