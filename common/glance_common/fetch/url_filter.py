"""Which URLs the service may fetch for a user, and from which addresses (security section 3, S-22, S-32, S-33).

``UrlFilter.check`` judges a URL and resolves its host once; ``url_session`` connects to the address judged here and to
no other. Used for http locations and for every other fetch that a user can start.
"""

import ipaddress
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from oslo_config import cfg, types

from glance_common.config.loading import ConfigError
from glance_common.fetch.guards import ExchangeLimits, Guard
from glance_common.fetch.name_lookup import NameLookups, Resolver, system_resolver
from glance_common.fetch.special_addresses import Address, embedded, is_forbidden, within

LOG = logging.getLogger(__name__)

GROUP = "import_filtering_opts"

LOOKUP_LIMITS = ExchangeLimits(answer=15.0)
"""Of a look-up that is no part of an exchange."""

_LOOKUPS = NameLookups()


class BracketedList(types.List):
    """A list like ``[http, https]``; the brackets, which the original's files need, may be left out."""

    def __call__(self, value: Any) -> list[Any]:
        """Return the list. Raises ValueError."""
        if isinstance(value, str):
            text = value.strip()
            if text.startswith("[") != text.endswith("]"):
                raise ValueError("must be a list like [a, b]")
            value = text.removeprefix("[").removesuffix("]")
        parsed: list[Any] = super().__call__(value)
        return parsed


_NAMES = BracketedList(type_name="list of names")
_PORTS = BracketedList(types.Port(), type_name="list of ports")

OPTIONS: list[cfg.Opt] = [
    cfg.Opt(
        "allowed_schemes", type=_NAMES, default=["http", "https"],
        help="Schemes that may be fetched; when not empty, disallowed_schemes does not count. Nothing but http and "
        "https is ever fetched.",
    ),
    cfg.Opt("disallowed_schemes", type=_NAMES, default=[], help="Schemes that may not be fetched."),
    cfg.Opt(
        "allowed_hosts", type=_NAMES, default=[],
        help="Hosts that may be contacted; when not empty, no others, and disallowed_hosts does not count. A host "
        "named here may have any address, also a loopback or private one.",
    ),
    cfg.Opt(
        "disallowed_hosts", type=_NAMES, default=[],
        help="Hosts that may not be contacted; addresses and networks (10.1.0.0/16) are compared with what a name "
        "resolves to.",
    ),
    cfg.Opt(
        "allowed_ports", type=_PORTS, default=[80, 443],
        help="Ports that may be contacted, compared with the effective port; when not empty, disallowed_ports does not "
        "count.",
    ),
    cfg.Opt("disallowed_ports", type=_PORTS, default=[], help="Ports that may not be contacted."),
    cfg.BoolOpt(
        "allow_private_networks", default=False,
        help="Allow addresses in 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 100.64.0.0/10 and fc00::/7, except those "
        "of the clouds' metadata services.",
    ),
]

DEFAULT_PORTS = {"http": 80, "https": 443}


class UrlRefused(Exception):
    """The URL may not be fetched; the text names the rule, never the resolved addresses or credentials."""


class RedirectRefused(UrlRefused):
    """The server leads somewhere that may not be fetched."""


def as_told(error: UrlRefused) -> str:
    """Return what users are told of a URL that may not be fetched: the same for locations and for imports."""
    return f"the URL does not pass filtering: {error}"


@dataclass(frozen=True, slots=True)
class CheckedUrl:
    """A URL that passed; ``url`` is rebuilt from its parts, so that every later parser reads it alike."""

    url: str
    scheme: str
    host: str
    port: int
    addresses: tuple[str, ...]
    """What may be contacted, in the resolver's order; empty when the host was not to be resolved."""
    credentials: tuple[str, str] | None = field(repr=False)

    @property
    def origin(self) -> tuple[str, str, int]:
        """What must stay the same for credentials to be sent again."""
        return self.scheme, self.host, self.port


def list_opts() -> list[tuple[str, list[cfg.Opt]]]:
    """Return the options of the filter."""
    return [(GROUP, OPTIONS)]


class UrlFilter:
    """The rules of one configuration."""

    def __init__(self, rules: Any, resolve: Resolver = system_resolver) -> None:
        """Take the rules from anything with the names of ``OPTIONS`` as attributes. Raises ConfigError."""
        self._schemes = _Choice(_lower(rules.allowed_schemes), _lower(rules.disallowed_schemes))
        allowed = {_host_entry("allowed_hosts", entry) for entry in rules.allowed_hosts}
        denied = {entry: _network(entry) for entry in rules.disallowed_hosts}
        names = {_host_entry("disallowed_hosts", entry) for entry, network in denied.items() if network is None}
        self._hosts = _Choice(allowed, names)
        self._networks = [] if allowed else [network for network in denied.values() if network is not None]
        self._ports = _Choice(set(rules.allowed_ports), set(rules.disallowed_ports))
        self._private = bool(rules.allow_private_networks)
        self._resolve = resolve

    @classmethod
    def from_conf(cls, conf: cfg.ConfigOpts, resolve: Resolver = system_resolver) -> "UrlFilter":
        """Return the filter as configured; ``list_opts`` must be registered. Raises ConfigError."""
        return cls(conf[GROUP], resolve)

    def check(
        self, url: str, *, userinfo: bool = False, resolve: bool = True, guard: Guard | None = None
    ) -> CheckedUrl:
        """Return the URL with the addresses to contact. Raises UrlRefused, and what the guard's scope raises.

        ``userinfo`` lets ``user:password@`` through. With ``resolve`` false only form and lists are checked (for a
        proxy, which resolves by itself); addresses written in the URL are judged all the same. ``guard`` is the one of
        the exchange that the URL is for.
        """
        checked = parse(url, userinfo=userinfo)
        if not self._schemes.permits(checked.scheme):
            raise UrlRefused(f"scheme {checked.scheme} is not allowed")
        if not self._hosts.permits(checked.host):
            raise UrlRefused(f"host {checked.host} is not allowed")
        if not self._ports.permits(checked.port):
            raise UrlRefused(f"port {checked.port} is not allowed")
        literal = _literal(checked.host)
        if literal is not None:
            found: Sequence[str] = [str(literal)]
        elif resolve:
            found = self._lookup(checked, guard or Guard(LOOKUP_LIMITS))
        else:
            return checked
        usable = tuple(text for text in found if self._may_contact(checked.host, text))
        if not usable:
            # One text for "no such name" and "a forbidden address": it must not map the inner network for a stranger.
            raise UrlRefused(f"host {checked.host} has no address that may be contacted")
        return CheckedUrl(
            checked.url, checked.scheme, checked.host, checked.port, usable if resolve else (), checked.credentials
        )

    def _lookup(self, checked: CheckedUrl, guard: Guard) -> Sequence[str]:
        try:
            return _LOOKUPS.find(self._resolve, checked.host, checked.port, guard)
        except (OSError, UnicodeError) as error:
            LOG.info("the name %s is not looked up: %s", checked.host, error)
            return []

    def _may_contact(self, host: str, text: str) -> bool:
        if host in self._hosts.allowed:
            return True
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return False
        # A zone ("fe80::1%eth0") is link-local by nature.
        if "%" in text or is_forbidden(address, allow_private=self._private):
            return False
        return not any(within(each, self._networks) for each in (address, embedded(address)) if each is not None)


@dataclass(frozen=True, slots=True)
class _Choice:
    """An allow list and a deny list, of which the first one counts alone when it is not empty."""

    allowed: set[Any]
    denied: set[Any]

    def permits(self, value: Any) -> bool:
        return value in self.allowed if self.allowed else value not in self.denied


def _lower(names: Sequence[str]) -> set[str]:
    return {name.strip().lower() for name in names}


def _host_entry(option: str, text: str) -> str:
    """Return an entry of a host list in the spelling that hosts of URLs are compared in. Raises ConfigError."""
    try:
        return _host_text(text)
    except UrlRefused:
        raise ConfigError(GROUP, option, text, "must be host names or addresses, without scheme, port and *") from None


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text.strip("[] "), strict=False)
    except ValueError:
        return None


_FORBIDDEN_CHARACTERS = re.compile(r"[^\x21-\x7e]|\\")
_HOST_AND_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(?::([0-9]{1,5}))?")
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_AUTHORITY = re.compile(r"([^/?#]+//)([^/?#]*)")


def parse(url: str, *, userinfo: bool = False) -> CheckedUrl:
    """Take a URL apart by its form alone, without lists and addresses. Raises UrlRefused."""
    if _FORBIDDEN_CHARACTERS.search(url):
        raise UrlRefused("the URL must not contain spaces, backslashes, control or non-ASCII characters")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise UrlRefused("the URL is malformed") from None
    if parts.scheme not in DEFAULT_PORTS:
        raise UrlRefused("the scheme of the URL must be http or https")
    credentials = _credentials(parts.netloc, userinfo)
    found = _HOST_AND_PORT.fullmatch(parts.netloc.rpartition("@")[2])
    if found is None or not 0 < int(found[2] or 1) < 65536:
        raise UrlRefused("the URL must have a host, and after a colon only a port from 1 to 65535")
    host = _host_text(found[1])
    port = int(found[2] or DEFAULT_PORTS[parts.scheme])
    shown = f"[{host}]" if ":" in host else host
    where = shown if port == DEFAULT_PORTS[parts.scheme] else f"{shown}:{port}"
    query = f"?{parts.query}" if parts.query else ""
    return CheckedUrl(f"{parts.scheme}://{where}{parts.path or '/'}{query}", parts.scheme, host, port, (), credentials)


def without_credentials(url: str) -> str:
    """Return the URL as it was given, but without user and password (S-02). Raises UrlRefused as ``parse``."""
    parse(url, userinfo=True)
    found = _AUTHORITY.match(url)
    assert found is not None, "a URL that was parsed has a host"
    return f"{found[1]}{found[2].rpartition('@')[2]}{url[found.end():]}"


def _host_text(text: str) -> str:
    """Return a host in its one spelling: lower case, no trailing dot, addresses in standard form. Raises UrlRefused."""
    host = text.strip().lower()
    if host.startswith("[") or ":" in host:
        try:
            return str(ipaddress.IPv6Address(host.removeprefix("[").removesuffix("]")))
        except ValueError:
            raise UrlRefused("the host of the URL is not a valid IPv6 address") from None
    host = host.removesuffix(".")
    if _NUMBER.fullmatch(host.rpartition(".")[2]):
        # inet_aton reads 127.1, 0x7f000001, 017700000001 and 2130706433 as addresses; only dotted decimal passes here.
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError:
            raise UrlRefused("an IPv4 address must be written as four decimal numbers") from None
    if len(host) > 253 or _NAME.fullmatch(host) is None:
        raise UrlRefused("the URL must have a valid host name")
    return host


def _credentials(netloc: str, userinfo: bool) -> tuple[str, str] | None:
    before, at, _ = netloc.rpartition("@")
    if not at:
        return None
    if not userinfo:
        raise UrlRefused("the URL must not contain a user or password")
    user, colon, password = before.partition(":")
    if not user or not colon or ":" in password or "@" in before:
        raise UrlRefused("the user information of the URL must be user:password with exactly one colon")
    return unquote(user), unquote(password)


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
