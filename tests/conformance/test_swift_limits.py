"""Servers that answer slowly, without end or not at all: every call of the swift driver has one deadline (S-22)."""

import socket
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.servers.scripted import deaf, dripping, flooding, scripted_peer, secured, silent
from tests.servers.web import Page, web_server
from tests.support.certificates import server_certificate
from tests.unit.common.test_stores_swift import KEY, swift_store

from glance_common.stores.contract import StoreUnavailable
from glance_common.stores.drivers.swift import wire
from glance_common.stores.drivers.swift.options import MIB
from glance_common.stores.drivers.swift.place import SwiftObject
from glance_common.stores.drivers.swift.store import SwiftStore
from glance_common.stores.drivers.swift.tokens import SwiftToken, SwiftTokens
from glance_common.stores.drivers.swift.upload import SwiftUpload

HEADER = b"HTTP/1.1 200 OK\r\nX-Long: "
DOCUMENT = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9999999\r\n\r\n["
OVERDUE = r"the server (took more than|was silent)"
"""Either may come first on a machine with much other work."""


def tokens_of(store: SwiftStore) -> SwiftTokens:
    """Return what gives the tokens of the store."""
    tokens = store._account._tokens
    assert isinstance(tokens, SwiftTokens)
    return tokens


def store_at(folder: Path, port: int, **options: Any) -> SwiftStore:
    """Return a store whose calls have half a second, and that has a token already."""
    short = {"swift_store_connect_timeout": 0.25, "swift_store_read_timeout": 0.25}
    address = {"swift_store_auth_address": f"http://127.0.0.1:{port}/auth"}
    store = swift_store(folder, **{**address, **short, **options})
    scheme = "https" if "https" in str(options) else "http"
    host = "localhost" if scheme == "https" else "127.0.0.1"
    tokens_of(store)._token = SwiftToken(f"{scheme}://{host}:{port}/v1/AUTH_a", "secret")
    return store


def calls(store: SwiftStore) -> list[Callable[[], object]]:
    account = store._account
    return [
        store.check,
        lambda: account.head("glance", KEY),
        lambda: account.page("glance", "", "", 10),
        lambda: account.put("glance", KEY, [b"data"], {}),
        lambda: account.info(),
        lambda: store.open(KEY),
        lambda: store.presign(KEY, 10),
    ]


@pytest.mark.parametrize(
    "script", [silent, dripping(HEADER), dripping(b"HTTP/1.1 100 Continue\r\n\r\n" + HEADER)],
    ids=["silence", "header", "header after 100"],
)
def test_s22_every_call_has_one_deadline(tmp_path: Path, script: Callable[[socket.socket], None]):
    with scripted_peer(script) as peer:
        store = store_at(tmp_path, peer.port, swift_store_temp_url_key="hidden")
        for call in calls(store):
            with pytest.raises(StoreUnavailable) as caught:
                call()
            assert "secret" not in str(caught.value)


@pytest.mark.parametrize("version", ["1", "2", "3"])
@pytest.mark.parametrize("script", [silent, dripping(HEADER), dripping(DOCUMENT)], ids=["silence", "header", "body"])
def test_s22_logins_have_it_too(tmp_path: Path, version: str, script: Callable[[socket.socket], None]):
    with scripted_peer(script) as peer:
        store = store_at(tmp_path, peer.port, swift_store_auth_version=version)
        tokens_of(store)._token = None
        with pytest.raises(StoreUnavailable, match=OVERDUE):
            store.check()


def test_s22_a_document_has_it_too(tmp_path: Path):
    with scripted_peer(dripping(DOCUMENT)) as peer, pytest.raises(StoreUnavailable, match=OVERDUE):
        store_at(tmp_path, peer.port)._account.page("glance", "", "", 10)


def test_s22_tls_has_it_too(tmp_path: Path):
    authority, context = server_certificate(tmp_path, "localhost")
    for script in (silent, dripping(b"\x16\x03\x03\x40\x00"), secured(context, dripping(HEADER))):
        with scripted_peer(script) as peer:
            store = store_at(
                tmp_path, peer.port, swift_store_auth_address=f"https://localhost:{peer.port}",
                swift_store_cacert=authority,
            )
            for call in calls(store)[:4]:
                with pytest.raises(StoreUnavailable):
                    call()


def test_s61_a_document_has_a_largest_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(wire, "_LARGEST_DOCUMENT", 100_000)
    with scripted_peer(flooding(DOCUMENT, b'{"name": "x"},')) as peer:
        store = store_at(tmp_path, peer.port, swift_store_read_timeout=3600)
        with pytest.raises(StoreUnavailable, match="a document of more than 100000 bytes"):
            store._account.page("glance", "", "", 10)


@pytest.mark.parametrize("size", [5 * MIB, None])
def test_s22_a_server_that_takes_no_data_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int | None
):
    """And a source that takes its time is none of the server's faults."""
    with scripted_peer(deaf) as peer:
        store = store_at(tmp_path, peer.port)
        place = SwiftObject("", "glance", KEY)
        monkeypatch.setattr(SwiftUpload, "_is_taken_by_us", lambda upload: False)
        monkeypatch.setattr(SwiftUpload, "_limit", lambda upload, *names: 1000 * MIB)
        with pytest.raises(StoreUnavailable, match=OVERDUE):
            SwiftUpload(store._account, store._options, place).write([bytes(64 * MIB)], size)


def test_s61_data_come_at_the_least_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\nETag: \"e\"\r\n\r\n"
    monkeypatch.setattr(wire, "_WINDOW", 0.3)
    with scripted_peer(dripping(head)) as peer:
        store = store_at(tmp_path, peer.port, swift_store_read_timeout=3600)
        with closing(store.open(KEY)) as blob, pytest.raises(StoreUnavailable):
            list(blob)


def test_a_redirect_does_not_take_the_token_along(tmp_path: Path):
    with web_server() as server:
        server.pages["/v1/AUTH_a/glance/.glance-store"] = Page(b"", 302, {"Location": server.url("/elsewhere")})
        with pytest.raises(StoreUnavailable, match="302"):
            store_at(tmp_path, server.port).check()
        assert [path for _, path, _ in server.seen] == ["/v1/AUTH_a/glance/.glance-store"]
