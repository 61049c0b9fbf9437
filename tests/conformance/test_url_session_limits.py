"""Peers that answer slowly, without end or not at all: every exchange has one deadline (S-22, S-27, S-61).

Each peer would go on for ever, and no single read of it takes long. The limits are short, so that the tests are; what
they are set against is no end at all.
"""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
import urllib3.exceptions
from tests.servers.scripted import ScriptedPeer, deaf, dripping, flooding, scripted_peer, secured, silent
from tests.support.certificates import server_certificate

from glance_common.fetch import deadlines, guarded_http, guards, url_filter
from glance_common.fetch.guarded_http import document_session
from glance_common.fetch.guards import ExchangeLimits, Guard, TimeIsUp
from glance_common.fetch.name_lookup import NameLookups
from glance_common.fetch.url_filter import UrlFilter, UrlRefused
from glance_common.fetch.url_session import BrokenOff, FetchFailed, Response, UrlSession

HOST = "mirror.example.org"
HEADER = b"HTTP/1.1 200 OK\r\nX-Long: "
BODY = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
TLS_RECORD = b"\x16\x03\x03\x40\x00"
SHORT = ExchangeLimits(answer=0.6)
FAILURES = (requests.RequestException, urllib3.exceptions.HTTPError)


def session(limits: ExchangeLimits = SHORT, addresses: tuple[str, ...] = ("127.0.0.1",), **options: Any) -> UrlSession:
    values = {opt.dest: opt.default for opt in url_filter.OPTIONS} | {"allowed_ports": [], "allowed_hosts": [HOST]}
    return UrlSession(
        UrlFilter(SimpleNamespace(**values), options.pop("resolve", lambda host, port: addresses)),
        limits=limits, **options,
    )


def read_all(response: Response) -> bytes:
    return b"".join(iter(lambda: response.read(1 << 20), b""))


@pytest.mark.parametrize(
    ("script", "scheme"),
    [
        (silent, "http"),
        (dripping(b""), "http"),
        (dripping(HEADER), "http"),
        (dripping(b"HTTP/1.1 200 OK\r\n", b"X-More: x\r\n", 0.2), "http"),
        (dripping(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), "http"),
        (silent, "https"),
        (dripping(TLS_RECORD), "https"),
    ],
    ids=["silence", "status line", "header", "many headers", "1xx", "TLS silence", "TLS drip"],
)
def test_s22_the_answer_has_one_deadline(script: Any, scheme: str):
    with scripted_peer(script) as peer, pytest.raises(FetchFailed, match="cannot be fetched"):
        session().request("GET", peer.url(HOST, scheme))


@pytest.mark.parametrize(
    "script",
    [flooding(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), flooding(b"", b"HTTP/1.1 100 Continue\r\nX: " + b"x" * 60000)],
    ids=["1xx", "1xx with headers"],
)
def test_s22_headers_have_a_largest_size(script: Any):
    """At full speed the deadline alone would let a peer keep a processor busy for that long."""
    with scripted_peer(script) as peer, pytest.raises(FetchFailed):
        session(ExchangeLimits(answer=3600)).request("GET", peer.url(HOST))


def test_s22_redirects_share_the_deadline():
    def redirect(connection: socket.socket) -> None:
        connection.recv(65536)
        threading.Event().wait(0.5)
        connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n")

    with scripted_peer(redirect) as peer:
        with pytest.raises(FetchFailed):
            session(ExchangeLimits(answer=1.2)).request("GET", peer.url(HOST))
        assert peer.connections <= 3


@contextmanager
def full_backlog() -> Iterator[int]:
    """A port at which connections are neither accepted nor refused."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        port = full.getsockname()[1]
        waiting = []
        try:
            for _ in range(4):
                sock = socket.socket()
                sock.setblocking(False)
                sock.connect_ex(("127.0.0.1", port))
                waiting.append(sock)
            yield port
        finally:
            for sock in waiting:
                sock.close()


def test_s22_all_addresses_share_the_deadline():
    with full_backlog() as port, pytest.raises(FetchFailed):
        session(ExchangeLimits(connect=3600, answer=0.6), ("127.0.0.1",) * 4).request("GET", f"http://{HOST}:{port}/x")


def test_s22_a_look_up_that_hangs_ends_with_the_exchange():
    go_on = threading.Event()

    def hang(host: str, port: int) -> list[str]:
        go_on.wait()
        return ["127.0.0.1"]

    try:
        with pytest.raises(UrlRefused, match="has no address that may be contacted"):
            session(resolve=hang).request("GET", f"http://{HOST}/x")
    finally:
        go_on.set()


def test_look_ups_that_hang_are_bounded_and_give_their_places_back():
    go_on, lookups = threading.Event(), NameLookups(2)

    def resolve(host: str, port: int) -> list[str]:
        if host == "slow":
            go_on.wait()
        return ["192.0.2.1"]

    try:
        for name in ("slow", "slow", "quick"):
            with pytest.raises(TimeIsUp):
                lookups.find(resolve, name, 80, Guard(SHORT))
    finally:
        go_on.set()
    assert lookups.find(resolve, "quick", 80, Guard(ExchangeLimits())) == ["192.0.2.1"]


def test_an_error_of_the_resolver_comes_out():
    def fail(host: str, port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    lookups = NameLookups(1)
    for _ in range(3):
        with pytest.raises(socket.gaierror):
            lookups.find(fail, "x", 80, Guard(ExchangeLimits()))


# Bodies


@pytest.mark.parametrize(
    "script",
    [
        dripping(BODY),
        dripping(CHUNKED, b"1\r\na\r\n"),
        dripping(CHUNKED + b"1;"),
        flooding(CHUNKED, b"1;" + b"x" * 1000 + b"\r\na\r\n"),
        flooding(CHUNKED + b"0\r\n", b"X-Trailer: " + b"x" * 1000 + b"\r\n"),
    ],
    ids=["body", "chunks", "chunk header", "chunk extensions", "trailers"],
)
def test_s61_data_come_at_the_least_rate(script: Any):
    """Only data count. At these sizes what surrounds them would keep the rate."""
    limits = ExchangeLimits(rate=10**6, window=0.3)
    with (
        scripted_peer(script) as peer,
        session(limits).request("GET", peer.url(HOST)) as response,
        pytest.raises(BrokenOff, match="sends less than 1000000 bytes a second"),
    ):
        read_all(response)


def test_s22_a_document_has_the_deadline_of_its_header(monkeypatch: pytest.MonkeyPatch):
    """The header may take its time on a busy machine; then the clock is put forward."""
    limits = ExchangeLimits(answer=3600)
    with (
        scripted_peer(dripping(BODY)) as peer,
        session(limits).request("GET", peer.url(HOST), document=True) as response,
    ):
        monkeypatch.setattr(guards, "monotonic", lambda: time.monotonic() + 3600)
        with pytest.raises(BrokenOff, match=r"took more than 36\d\d\.\d seconds"):
            read_all(response)


def test_s22_a_document_has_a_largest_size():
    limits = ExchangeLimits(document=10**5)
    with (
        scripted_peer(flooding(BODY, b"x" * 1000)) as peer,
        session(limits).request("GET", peer.url(HOST), document=True) as response,
        pytest.raises(BrokenOff, match="sends a document of more than 100000 bytes"),
    ):
        read_all(response)


# Cancelling


class NotWanted(Exception):
    """What the check of these tests raises."""


@pytest.mark.parametrize(
    ("script", "scheme"),
    [(silent, "http"), (dripping(HEADER), "http"), (silent, "https"), (dripping(BODY), "http"), (None, "http")],
    ids=["silence", "header", "TLS", "body", "connect"],
)
def test_i7_what_is_not_wanted_any_more_ends(script: Any, scheme: str):
    """All limits are hours: the check alone can end the exchange."""
    asked: list[int] = []

    def still_wanted() -> None:
        asked.append(1)
        if len(asked) == 2:
            raise NotWanted

    with peer_or_none(script) as port, deadlines.within(still_wanted=still_wanted):
        limits = ExchangeLimits(connect=3600, idle=3600, answer=3600, window=3600)
        with pytest.raises(NotWanted), session(limits).request("GET", f"{scheme}://{HOST}:{port}/x") as response:
            response.read(1 << 20)
    assert len(asked) == 2


@contextmanager
def peer_or_none(script: Any) -> Iterator[int]:
    if script is None:
        with full_backlog() as port:
            yield port
    else:
        with scripted_peer(script) as peer:
            yield peer.port


def test_i7_a_look_up_ends_as_well():
    def still_wanted() -> None:
        raise NotWanted

    go_on = threading.Event()

    def hang(host: str, port: int) -> list[str]:
        go_on.wait()
        return []

    try:
        with deadlines.within(still_wanted=still_wanted), pytest.raises(NotWanted):
            session(ExchangeLimits(answer=3600), resolve=hang).request("GET", f"http://{HOST}/x")
    finally:
        go_on.set()


def test_s22_a_scope_bounds_everything_within():
    """The limits of the session are hours; the request around it has a second."""
    limits = ExchangeLimits(connect=3600, idle=3600, answer=3600, window=3600)
    for script in (silent, dripping(HEADER), dripping(BODY)):
        with scripted_peer(script) as peer, deadlines.within(0.6), pytest.raises((FetchFailed, UrlRefused)):
            read_all(session(limits).request("GET", peer.url(HOST)))


# Through a proxy, and for servers of the operator


@pytest.mark.parametrize("script", [silent, dripping(HEADER)], ids=["silence", "header"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_s22_a_proxy_has_the_same_deadline(script: Any, scheme: str):
    with scripted_peer(script) as peer, pytest.raises(FetchFailed):
        session(proxies={scheme: f"127.0.0.1:{peer.port}"}).request("GET", f"{scheme}://{HOST}/x")


@pytest.fixture
def tls(tmp_path: Path) -> tuple[str, ssl.SSLContext]:
    """A certificate for the mirror and for a proxy on this machine, and the context of their servers."""
    authority, context = server_certificate(tmp_path, HOST, "localhost")
    return str(authority), context


def tunnelling(script: Any) -> Callable[[socket.socket], None]:
    """Return a proxy that is a tunnel to the script."""

    def talk(connection: socket.socket) -> None:
        assert connection.recv(65536).startswith(f"CONNECT {HOST}:443".encode())
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        script(connection)

    return talk


def small(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(BODY + b"data")


def test_tls_through_a_proxy(tls: tuple[str, ssl.SSLContext]):
    authority, context = tls
    with scripted_peer(tunnelling(secured(context, small))) as peer:
        through = session(ExchangeLimits(), proxies={"https": f"127.0.0.1:{peer.port}"}, verify=authority)
        with through.request("GET", f"https://{HOST}/x") as response:
            assert response.read(1024) == b"data"


@pytest.mark.parametrize("inner", [silent, None, dripping(HEADER)], ids=["TLS silence", "silence", "header"])
def test_s22_a_tunnel_has_the_same_deadline(tls: tuple[str, ssl.SSLContext], inner: Any):
    authority, context = tls
    script = inner if inner is silent else secured(context, inner or silent)
    with scripted_peer(tunnelling(script)) as peer, pytest.raises(FetchFailed):
        session(proxies={"https": f"127.0.0.1:{peer.port}"}, verify=authority).request("GET", f"https://{HOST}/x")


def test_a_proxy_behind_tls_is_verified_and_has_the_deadline(tls: tuple[str, ssl.SSLContext]):
    authority, context = tls

    def through(peer: ScriptedPeer, limits: ExchangeLimits, **options: Any) -> bytes:
        proxies = {"http": f"https://localhost:{peer.port}"}
        with session(limits, proxies=proxies, **options).request("GET", f"http://{HOST}/x") as response:
            return response.read(1024)

    with scripted_peer(secured(context, small)) as peer:
        assert through(peer, ExchangeLimits(), verify=authority) == b"data"
        with pytest.raises(FetchFailed):
            through(peer, ExchangeLimits())
    for script in (silent, secured(context, dripping(HEADER))):
        with scripted_peer(script) as peer, pytest.raises(FetchFailed):
            through(peer, SHORT, verify=authority)


@pytest.mark.parametrize(
    "script", [silent, dripping(HEADER), dripping(BODY), dripping(CHUNKED, b"1\r\na\r\n")],
    ids=["silence", "header", "body", "chunks"],
)
def test_s22_servers_of_the_operator_have_one_deadline_for_each_document(script: Any):
    with scripted_peer(script) as peer, document_session(SHORT) as documents, pytest.raises(FAILURES):
        documents.get(peer.url())


def test_a_server_that_takes_no_body_has_the_deadline_too():
    with scripted_peer(deaf) as peer, document_session(SHORT) as documents, pytest.raises(FAILURES):
        documents.post(peer.url(), data=b"x" * (64 << 20))


def test_a_document_session_keeps_its_connection_and_guards_each_request_anew(monkeypatch: pytest.MonkeyPatch):
    def answer(connection: socket.socket) -> None:
        while connection.recv(65536):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    guards: list[Guard] = []

    def made(limits: ExchangeLimits) -> Guard:
        guards.append(Guard(limits))
        return guards[-1]

    monkeypatch.setattr(guarded_http, "Guard", made)
    with scripted_peer(answer) as peer, document_session(ExchangeLimits()) as documents:
        assert [documents.get(peer.url()).json() for _ in range(3)] == [{}, {}, {}]
        assert (peer.connections, len(guards)) == (1, 3)
