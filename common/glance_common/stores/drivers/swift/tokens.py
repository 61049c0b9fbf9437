"""Tokens of a login: one is used until it is about to end, or until the server refuses it."""

import datetime as dt
import time
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from keystoneauth1.identity import v2, v3

from glance_common.stores.drivers.swift.errors import SwiftFailed, of_status
from glance_common.stores.drivers.swift.logins import SwiftLogin
from glance_common.stores.drivers.swift.options import SwiftEndpoint
from glance_common.stores.drivers.swift.wire import SwiftWire

_NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class SwiftToken:
    """A token, the URL of its account, and when it ends in seconds of the epoch."""

    url: str
    secret: str = field(repr=False)
    ends_at: float = _NEVER


class TokenSource(Protocol):
    """Gives tokens for one account."""

    def get(self) -> SwiftToken:
        """Return a token. Raises SwiftFailed."""

    def forget(self, token: SwiftToken) -> None:
        """Give another token from now on: the server refused this one."""


class SwiftTokens:
    """The tokens of one login. A new one is taken ``expire_soon`` seconds before the end of the last one."""

    def __init__(self, login: SwiftLogin, endpoint: SwiftEndpoint, wire: SwiftWire, expire_soon: float) -> None:
        self._login = login
        self._endpoint = endpoint
        self._wire = wire
        self._expire_soon = expire_soon
        self._token: SwiftToken | None = None

    def get(self) -> SwiftToken:
        """Return a token. Raises SwiftFailed."""
        # No lock: callers of a server that hangs would wait one after another.
        token = self._token
        if token is None or token.ends_at - time.time() <= self._expire_soon:
            place = f"login at {self._login.server}"
            log_in = self._log_in_v1 if self._login.version == 1 else self._log_in_keystone
            self._token = token = self._wire.exchange("token", place, partial(log_in, place))
        return token

    def forget(self, token: SwiftToken) -> None:
        """Take a new token for the next call, unless that was done already."""
        if self._token is token:
            self._token = None

    def _log_in_v1(self, place: str) -> SwiftToken:
        login = self._login
        parsed, connection = self._wire.connection(login.address)
        name = f"{login.project}:{login.user}"
        connection.request("GET", parsed.path, "", {"X-Auth-User": name, "X-Auth-Key": login.key})
        answer = connection.getresponse()
        answer.read()
        headers = answer.headers
        secret = headers.get("X-Storage-Token") or headers.get("X-Auth-Token")
        if not 200 <= answer.status < 300:
            raise _refused(answer.status, place)
        url = self._endpoint.url or headers.get("X-Storage-Url")
        if not secret or not url:
            raise SwiftFailed(f"{place}: the answer has no token: see swift_store_auth_version")
        seconds = headers.get("X-Auth-Token-Expires", "")
        return SwiftToken(url.rstrip("/"), secret, time.time() + int(seconds) if seconds.isdigit() else _NEVER)

    def _log_in_keystone(self, _place: str) -> SwiftToken:
        endpoint = self._endpoint
        plugin = _plugin(self._login)
        session = self._wire.keystone_session(plugin)
        access = plugin.get_access(session)
        url = endpoint.url or access.service_catalog.url_for(
            service_type=endpoint.service, interface=endpoint.interface, region_name=endpoint.region
        )
        ends: dt.datetime | None = access.expires
        return SwiftToken(url.rstrip("/"), access.auth_token, ends.timestamp() if ends else _NEVER)


def _plugin(login: SwiftLogin) -> Any:
    """Return what logs in to Keystone. The address is used as it is: no versions are looked up."""
    if login.version == 2:
        address = _versioned(login.address, "v2.0")
        return v2.Password(
            address, username=login.user, password=login.key, tenant_name=login.project or None,
            tenant_id=login.project_id or None,
        )
    address = _versioned(login.address, "v3")
    if login.credential_id:
        return v3.ApplicationCredential(
            address, application_credential_id=login.credential_id,
            application_credential_secret=login.credential_secret,
        )
    domains = login.domains
    return v3.Password(
        address, username=login.user, password=login.key, project_id=login.project_id or None,
        user_domain_id=domains.get("user_domain_id"), user_domain_name=domains.get("user_domain_name"),
        **({} if login.project_id else _project(login)),
    )


def _project(login: SwiftLogin) -> dict[str, Any]:
    """Return what finds a project by its name."""
    domains = {name: value for name, value in login.domains.items() if name.startswith("project_")}
    return {"project_name": login.project, **domains}


def _versioned(address: str, version: str) -> str:
    last = address.rpartition("/")[2]
    return address if last in {"v2.0", "v3"} else f"{address}/{version}"


def _refused(status: int, place: str) -> Exception:
    if status in (401, 403):
        return SwiftFailed(f"{place}: {status}: the login is refused: compare user and key of the store")
    return of_status(status, "token", place)
