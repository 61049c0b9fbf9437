"""Who uses Cinder: the user of the store, or the caller with its own token. Needs the client libraries."""

import datetime as dt
import time
from dataclasses import dataclass, field
from typing import Any, Protocol

from keystoneauth1.identity import v3
from keystoneauth1.plugin import BaseAuthPlugin

from glance_common.model.errors import BadRequest
from glance_common.model.service_catalog import find_endpoint
from glance_common.stores.caller import StoreCaller
from glance_common.stores.drivers.cinder.errors import CinderFailed
from glance_common.stores.drivers.cinder.options import CinderEndpoint, CinderLogin, filled
from glance_common.stores.drivers.cinder.wire import CinderWire

_NEVER = float("inf")
_SOON = 60.0
"""Seconds before the end of a token at which a new one is taken."""


@dataclass(frozen=True, slots=True)
class CinderToken:
    """A token, and the URL of Cinder for its project; ``ends_at`` in seconds of the epoch."""

    url: str
    secret: str = field(repr=False)
    ends_at: float = _NEVER


class CinderTokens(Protocol):
    """Gives tokens."""

    def get(self) -> CinderToken:
        """Return a token. Raises CinderFailed."""

    def forget(self, token: CinderToken) -> bool:
        """Give no token that the server refused; return whether there can be another one."""


class ServiceTokens:
    """The tokens of the store's user."""

    def __init__(self, login: CinderLogin, endpoint: CinderEndpoint, wire: CinderWire, place: str) -> None:
        self._login = login
        self._endpoint = endpoint
        self._wire = wire
        self._place = place
        self._token: CinderToken | None = None

    def get(self) -> CinderToken:
        """Return a token. Raises CinderFailed."""
        # No lock: callers of a server that hangs would wait one after another.
        token = self._token
        if token is None or token.ends_at - time.time() <= _SOON:
            self._token = token = self._wire.exchange("log in", self._place, self._log_in, repeats=True)
        return token

    def forget(self, token: CinderToken) -> bool:
        """Take a new token for the next call, unless that was done already."""
        if self._token is token:
            self._token = None
        return True

    def _log_in(self) -> CinderToken:
        plugin = _plugin(self._login)
        access = plugin.get_access(self._wire.session(plugin))
        endpoint = self._endpoint
        if endpoint.template is not None:
            url = filled(endpoint.template, access.project_id)
        else:
            url = access.service_catalog.url_for(
                service_type=endpoint.service, service_name=endpoint.name or None, interface=endpoint.interface,
                region_name=endpoint.region,
            ).rstrip("/")
        ends: dt.datetime | None = access.expires
        return CinderToken(url, access.auth_token, ends.timestamp() if ends else _NEVER)


class CallerToken:
    """The token of a caller, for its own project."""

    def __init__(self, endpoint: CinderEndpoint, caller: StoreCaller, place: str) -> None:
        if not caller.token or not caller.project:
            raise CinderFailed(
                f"{place}: no caller waits whose token could be used, as for background work: "
                "see cinder_store_user_name"
            )
        self._token = CinderToken(_url(endpoint, caller, caller.project, place), caller.token)

    def get(self) -> CinderToken:
        """Return the token."""
        return self._token

    def forget(self, token: CinderToken) -> bool:  # noqa: ARG002 - part of the protocol
        """Return False: a caller has one token."""
        return False


class Bearer(BaseAuthPlugin):
    """Proves who asks with a token that is at hand."""

    def __init__(self, token: CinderToken) -> None:
        super().__init__()
        self._token = token

    def get_token(self, session: Any, **_options: Any) -> str:  # noqa: ARG002 - part of the protocol
        """Return the token."""
        return self._token.secret

    def get_endpoint(self, session: Any, **_options: Any) -> str:  # noqa: ARG002 - part of the protocol
        """Return the URL of Cinder."""
        return self._token.url


def _url(endpoint: CinderEndpoint, caller: StoreCaller, project: str, place: str) -> str:
    if endpoint.template is not None:
        return filled(endpoint.template, project)
    try:
        url = find_endpoint(caller.catalog, endpoint.service, endpoint.interface, endpoint.region)
    except BadRequest:
        url = None
    if not url:
        raise CinderFailed(
            f"{place}: the catalog of the caller has no such service: see cinder_catalog_info and cinder_os_region_name"
        )
    return url.rstrip("/")


def _plugin(login: CinderLogin) -> Any:
    """Return what logs in to Keystone. The address is used as it is: no versions are looked up."""
    address = login.address if login.address.endswith("/v3") else f"{login.address}/v3"
    if login.credential:
        return v3.ApplicationCredential(
            address, application_credential_id=login.credential, application_credential_secret=login.secret
        )
    return v3.Password(
        address, username=login.user, password=login.secret, user_domain_name=login.user_domain,
        project_name=login.project, project_domain_name=login.project_domain,
    )
