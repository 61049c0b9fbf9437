"""The table of special addresses against a list that was written by itself, at both edges of every range (S-22).

Nothing is contacted: addresses are judged.
"""

import ast
import inspect
import ipaddress
from types import ModuleType, SimpleNamespace

import pytest

from glance_common.fetch import special_addresses, url_filter
from glance_common.fetch.special_addresses import embedded, is_forbidden
from glance_common.fetch.url_filter import UrlFilter, UrlRefused

RANGES = """
    this network            .                 0.0.0.0         0.255.255.255    +1.0.0.0
    private 10              +9.255.255.255    10.0.0.0        10.255.255.255   +11.0.0.0
    shared                  +100.63.255.255   100.64.0.0      100.127.255.255  +100.128.0.0
    loopback                +126.255.255.255  127.0.0.0       127.255.255.255  +128.0.0.0
    link-local              +169.253.255.255  169.254.0.0     169.254.255.255  +169.255.0.0
    private 172             +172.15.255.255   172.16.0.0      172.31.255.255   +172.32.0.0
    IETF protocols          +191.255.255.255  192.0.0.0       192.0.0.255      +192.0.1.0
    DS-Lite                 .                 192.0.0.0       192.0.0.7        -192.0.0.8
    PCP and TURN anycast    -192.0.0.8        192.0.0.9       192.0.0.10       -192.0.0.11
    NAT64 discovery         -192.0.0.169      192.0.0.170     192.0.0.171      -192.0.0.172
    TEST-NET-1              +192.0.1.255      192.0.2.0       192.0.2.255      +192.0.3.0
    AS112 v4                +192.31.195.255   192.31.196.0    192.31.196.255   +192.31.197.0
    AMT                     +192.52.192.255   192.52.193.0    192.52.193.255   +192.52.194.0
    6to4 relays             +192.88.98.255    192.88.99.0     192.88.99.255    +192.88.100.0
    private 192             +192.167.255.255  192.168.0.0     192.168.255.255  +192.169.0.0
    AS112 direct            +192.175.47.255   192.175.48.0    192.175.48.255   +192.175.49.0
    benchmarks              +198.17.255.255   198.18.0.0      198.19.255.255   +198.20.0.0
    TEST-NET-2              +198.51.99.255    198.51.100.0    198.51.100.255   +198.51.101.0
    TEST-NET-3              +203.0.112.255    203.0.113.0     203.0.113.255    +203.0.114.0
    multicast               +223.255.255.255  224.0.0.0       239.255.255.255  -240.0.0.0
    reserved and broadcast  -239.255.255.255  240.0.0.0       255.255.255.255  .
    Azure                   +168.63.129.15    168.63.129.16   168.63.129.16    +168.63.129.17
    unspecified, loopback   .                 ::              ::1              -::2
    local NAT64             -64:ff9b:0~       64:ff9b:1::     64:ff9b:1~       -64:ff9b:2::
    discard                 -ff~              100::           100:0:0:0~       -100:0:0:1::
    dummy prefix            -100:0:0:0~       100:0:0:1::     100:0:0:1~       -100:0:0:2::
    below unicast           .                 ::              1fff~            +2000::
    IETF protocols v6       +2000~            2001::          2001:1ff~        +2001:200::
    Teredo                  +2000~            2001::          2001:0~          -2001:1::
    anycast services        -2001:1::         2001:1::1       2001:1::3        -2001:1::4
    benchmarks v6           -2001:1~          2001:2::        2001:2:0~        -2001:2:1::
    AMT v6                  -2001:2~          2001:3::        2001:3~          -2001:4::
    AS112 v6                -2001:4:111~      2001:4:112::    2001:4:112~      -2001:4:113::
    ORCHID                  -2001:f~          2001:10::       2001:1f~         -2001:20::
    ORCHIDv2                -2001:1f~         2001:20::       2001:2f~         -2001:30::
    drones                  -2001:2f~         2001:30::       2001:3f~         -2001:40::
    documentation           +2001:db7~        2001:db8::      2001:db8~        +2001:db9::
    AS112 direct v6         +2620:4f:7fff~    2620:4f:8000::  2620:4f:8000~    +2620:4f:8001::
    documentation 3fff      +3ffe~            3fff::          3fff:fff~        +3fff:1000::
    above unicast           +3fff~            4000::          ffff~            .
    SRv6                    -5eff~            5f00::          5f00~            -5f01::
    unique local            -fbff~            fc00::          fdff~            -fe00::
    link-local v6           -fe7f~            fe80::          febf~            -fec0::
    site-local              -febf~            fec0::          feff~            -ff00::
    multicast v6            -feff~            ff00::          ffff~            .
"""
"""Name, the address below with its verdict (+ passes, - refused, . none), the first, the last, the one above; ~ stands
for groups of ffff up to the end."""


def whole(text: str) -> str:
    groups = text.removesuffix("~").split(":")
    return ":".join([*groups, *["ffff"] * (8 - len(groups))]) if text.endswith("~") else text


ROWS = [(" ".join(line.split()[:-4]), *map(whole, line.split()[-4:])) for line in RANGES.strip().splitlines()]
PRIVATE = {"private 10", "shared", "private 172", "private 192", "unique local"}
METADATA = [
    "169.254.169.254", "169.254.170.2", "169.254.170.23", "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254",
    "fd00:42::42", "100.100.100.200", "168.63.129.16", "192.0.0.192",
]
CARRIERS = ["::{}", "::ffff:{}", "::ffff:0:{}", "64:ff9b::{}"]


def passes(text: str, *, private: bool = False) -> bool:
    """Return what the whole filter says about a name that resolves to the address."""
    rules = {opt.dest: opt.default for opt in url_filter.OPTIONS} | {"allow_private_networks": private}
    try:
        UrlFilter(SimpleNamespace(**rules), lambda host, port: [text]).check("http://example.org/")
    except UrlRefused:
        return False
    assert not is_forbidden(ipaddress.ip_address(text), allow_private=private)
    return True


@pytest.mark.parametrize(("name", "below", "first", "last", "above"), ROWS, ids=[row[0] for row in ROWS])
def test_s22_ranges_begin_and_end_where_iana_says(name: str, below: str, first: str, last: str, above: str):
    assert int(ipaddress.ip_address(first)) <= int(ipaddress.ip_address(last))
    for neighbour, edge, step in ((below, first, -1), (above, last, 1)):
        if neighbour != ".":
            assert int(ipaddress.ip_address(neighbour[1:])) == int(ipaddress.ip_address(edge)) + step
            assert passes(neighbour[1:]) is (neighbour[0] == "+")
    for edge in (first, last):
        assert not passes(edge)
        assert passes(edge, private=True) is (name in PRIVATE)


def test_s22_every_range_of_the_table_is_in_the_list():
    """A range that somebody adds to the table, or takes away, has to be in the list too."""
    listed = {(int(ipaddress.ip_address(first)), int(ipaddress.ip_address(last))) for _, _, first, last, _ in ROWS}
    for network in (*special_addresses.PRIVATE, *special_addresses.SPECIAL):
        first, last = int(network[0]), int(network[-1])
        assert any(low <= first and last <= high for low, high in listed), network


@pytest.mark.parametrize("address", METADATA)
@pytest.mark.parametrize("private", [False, True])
def test_s22_metadata_services_are_refused_whatever_is_allowed(address: str, private: bool):
    assert not passes(address, private=private)
    if ":" not in address:
        for carrier in CARRIERS:
            assert not passes(carrier.format(address), private=private)
    assert ipaddress.ip_network(address) in special_addresses.METADATA
    assert len(special_addresses.METADATA) == len(METADATA)


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.216.34", "198.20.0.0", "2606:4700::1111", "2a00:1450::1"])
def test_public_addresses_pass(address: str):
    assert passes(address)


def six_to_four(address: str) -> str:
    return str(ipaddress.IPv6Address((0x2002 << 112) + (int(ipaddress.IPv4Address(address)) << 80) + 1))


V4_ROWS = [row for row in ROWS if ":" not in row[2]]


@pytest.mark.parametrize(("name", "below", "first", "last", "above"), V4_ROWS, ids=[row[0] for row in V4_ROWS])
def test_s22_an_address_in_another_is_judged_by_what_it_embeds(
    name: str, below: str, first: str, last: str, above: str
):
    forms = [*(carrier.format for carrier in CARRIERS), six_to_four]
    for address in (below[1:], first, last, above[1:]):
        for form in forms if address else ():
            assert embedded(ipaddress.ip_address(form(address))) == ipaddress.ip_address(address)
            for private in (False, True):
                assert passes(form(address), private=private) is passes(address, private=private)


@pytest.mark.parametrize("address", ["fe80::1%eth0", "2606:4700::1111%eth0", "::ffff:8.8.8.8%1", "8.8.8.8%1", "8.8.8"])
def test_addresses_with_a_zone_and_no_addresses_are_refused(address: str):
    assert not passes(address)


def test_s22_no_judgement_of_the_interpreter_is_used(monkeypatch: pytest.MonkeyPatch):
    """The properties differ between versions of Python. With all of them broken every verdict stays as it is."""
    samples = [text for row in ROWS for text in (row[1][1:], row[2], row[3], row[4][1:]) if text]
    samples += METADATA
    before = [passes(text, private=private) for text in samples for private in (False, True)]

    def broken(self: object) -> bool:
        raise AssertionError("a property of ipaddress was asked")

    for kind in (ipaddress.IPv4Address, ipaddress.IPv6Address, ipaddress.IPv4Network, ipaddress.IPv6Network):
        for name in [name for name in dir(kind) if name.startswith("is_")]:
            monkeypatch.setattr(kind, name, property(broken))
    assert [passes(text, private=private) for text in samples for private in (False, True)] == before


@pytest.mark.parametrize("module", [special_addresses, url_filter])
def test_s22_no_such_property_is_named(module: ModuleType):
    names = {node.attr for node in ast.walk(ast.parse(inspect.getsource(module))) if isinstance(node, ast.Attribute)}
    ours = {"is_forbidden"}
    assert not {name for name in names if name.startswith("is_")} - ours
    assert not names & {"ipv4_mapped", "sixtofour", "teredo", "6to4"}
