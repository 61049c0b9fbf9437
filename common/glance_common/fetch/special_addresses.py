"""Addresses that are no public servers: IANA's special-purpose registries, and the metadata services of clouds.

The properties ``is_global``, ``is_private`` and ``is_reserved`` of ``ipaddress`` differ between versions of Python, so
none of them is used: the same address is judged alike by every interpreter (S-22, S-33). Sources: the IANA IPv4 and
IPv6 Special-Purpose Address Registries and the IPv6 address space (October 2024). tests/unit/common has a list of its
own to compare with.
"""

import ipaddress
from collections.abc import Iterable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _networks(*texts: str) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


METADATA = _networks(
    "169.254.169.254",  # most clouds
    "169.254.170.2", "169.254.170.23",  # Amazon: containers and pods
    "fd00:ec2::254", "fd00:ec2::23",  # Amazon over IPv6
    "fd20:ce::254",  # Google over IPv6
    "fd00:42::42",  # Scaleway over IPv6
    "100.100.100.200",  # Alibaba
    "168.63.129.16",  # Azure; the address looks public
    "192.0.0.192",  # Oracle
)
"""Services that tell a machine its secrets. Refused whatever is allowed."""

PRIVATE = _networks("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
"""Networks of organisations and providers, which an operator may allow."""

SPECIAL = _networks(
    "0.0.0.0/8",  # this network
    "127.0.0.0/8",  # loopback
    "169.254.0.0/16",  # link-local
    "192.0.0.0/24",  # IETF protocol assignments: DS-Lite, dummy address, discovery of NAT64, PCP, TURN
    "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24",  # documentation
    "192.31.196.0/24", "192.175.48.0/24",  # AS112: whichever name server is nearest, maybe inside
    "192.52.193.0/24",  # AMT relays, likewise
    "192.88.99.0/24",  # relays of 6to4 and 6a44
    "198.18.0.0/15",  # benchmarks
    "224.0.0.0/4",  # multicast
    "240.0.0.0/4",  # reserved, and broadcast
    "::/3", "4000::/2", "8000::/1",  # everything but 2000::/3, which alone is public unicast; among them:
    # ::, ::1, 64:ff9b:1::/48 (local NAT64), 100::/64 (discard), 100:0:0:1::/64 (dummy prefix), 5f00::/16 (SRv6),
    # fe80::/10 (link-local), fec0::/10 (site-local), ff00::/8 (multicast).
    "2001::/23",  # IETF protocol assignments: Teredo, benchmarks, AMT, AS112, ORCHID, drones, anycast services
    "2001:db8::/32", "3fff::/20",  # documentation
    "2620:4f:8000::/48",  # AS112
)
"""Never public servers. Some of IANA's are reachable from everywhere, but through the nearest of many relays: none
of these serves images."""

_CARRIERS = _networks(
    "::/96",  # IPv4-compatible
    "::ffff:0:0/96",  # IPv4-mapped
    "::ffff:0:0:0/96",  # IPv4-translated
    "64:ff9b::/96",  # NAT64
)
"""Their last 32 bits are an IPv4 address."""

_SIX_TO_FOUR = ipaddress.IPv6Network("2002::/16")
_LAST_32 = 0xFFFFFFFF


def embedded(address: Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that packets to an IPv6 address end at; None for others.

    Teredo, which has two, is refused as a whole.
    """
    if within(address, _CARRIERS):
        return ipaddress.IPv4Address(int(address) & _LAST_32)
    if within(address, (_SIX_TO_FOUR,)):
        return ipaddress.IPv4Address(int(address) >> 80 & _LAST_32)
    return None


def is_forbidden(address: Address, *, allow_private: bool) -> bool:
    """Say whether users may never send us to the address: anything that is not public unicast.

    An address that carries another one is judged by that. ``allow_private`` lets ``PRIVATE`` through.
    """
    real = embedded(address) or address
    if within(real, METADATA):
        return True
    if within(real, PRIVATE):
        return not allow_private
    return within(real, SPECIAL)


def within(address: Address, networks: Iterable[Network]) -> bool:
    """Say whether one of the networks has the address."""
    return any(address.version == network.version and address in network for network in networks)
