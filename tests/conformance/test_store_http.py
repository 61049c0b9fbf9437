"""The http store against a real server with its bad habits (stores section 4)."""

import logging
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from oslo_config import cfg
from tests.servers.scripted import dripping, scripted_peer
from tests.servers.web import Page, WebServer, web_server
from tests.support.certificates import server_certificate
from tests.support.stores import MemoryIdentities, load

from glance_common.fetch import url_filter
from glance_common.fetch.guards import ExchangeLimits
from glance_common.fetch.url_filter import UrlFilter
from glance_common.fetch.url_session import UrlSession
from glance_common.stores.contract import (
    BadLocation,
    BlobNotFound,
    RangeUnsupported,
    Store,
    StoreError,
    StoreUnavailable,
)
from glance_common.stores.decorators.base import Retrying, Wrapper
from glance_common.stores.drivers.http import HttpStore
from glance_common.stores.settings import StoreSettings

DATA = bytes(range(256)) * 2000


@pytest.fixture
def server() -> Iterator[WebServer]:
    with web_server() as found:
        yield found


def make(folder: Path, server: WebServer, **options: Any) -> Store:
    """Return the store as an operator would configure it, but without pauses between tries."""
    allowed = {"allowed_hosts": "[127.0.0.1]", "allowed_ports": f"[{server.port}]"}
    store = load(folder, {"glance_store": options, "import_filtering_opts": allowed}).get("http")
    retrying(store)._sleep = lambda seconds: None
    return store


def retrying(store: Store) -> Retrying:
    """Return the layer that tries again, which is inside of others."""
    while not isinstance(store, Retrying):
        assert isinstance(store, Wrapper)
        store = store.inner
    return store


@pytest.fixture
def store(server: WebServer, tmp_path: Path) -> Store:
    return make(tmp_path, server)


def read(store: Store, url: str, offset: int = 0, length: int | None = None) -> bytes:
    with closing(store.open(url, offset, length)) as blob:
        assert blob.fileno() is None
        return b"".join(blob)


@pytest.mark.parametrize("status", [301, 302])
def test_redirects_that_are_followed(server: WebServer, store: Store, status: int):
    server.pages["/a"] = Page(status=status, headers={"Location": "/b"})
    server.pages["/b"] = Page(DATA)
    assert read(store, server.url("/a"), 5, 10) == DATA[5:15]
    assert store.size(server.url("/a")) == len(DATA)


@pytest.mark.parametrize("status", [300, 303, 304, 307, 308])
def test_redirects_that_are_not(server: WebServer, store: Store, status: int):
    server.pages["/a"] = Page(status=status, headers={"Location": "/b"})
    for act in (store.open, store.size):
        with pytest.raises(BadLocation, match=f"status {status}"):
            act(server.url("/a"))


def test_six_redirects(server: WebServer, store: Store):
    server.pages["/a"] = Page(status=301, headers={"Location": "/a"})
    with pytest.raises(BadLocation, match="more than 5 redirects"):
        store.open(server.url("/a"))


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, BadLocation), (401, BadLocation), (403, BadLocation), (405, BadLocation), (410, BadLocation),
        (204, BadLocation), (404, BlobNotFound), (408, StoreUnavailable), (429, StoreUnavailable),
        (500, StoreUnavailable), (503, StoreUnavailable),
    ],
)
def test_statuses(server: WebServer, store: Store, status: int, error: type[StoreError]):
    server.pages["/a"] = Page(status=status)
    for act in (store.open, store.size):
        with pytest.raises(error) as caught:
            act(server.url("/a"))
        assert type(caught.value) is error
        assert caught.value.permanent is (error is not StoreUnavailable)


def test_a_server_that_recovers_is_asked_again(server: WebServer, store: Store):
    server.pages["/a"] = Page(status=503)

    def recover(seconds: float) -> None:
        server.pages["/a"] = Page(DATA)

    retrying(store)._sleep = recover
    assert read(store, server.url("/a")) == DATA


def test_a_range_asks_the_server_for_its_bytes_only(server: WebServer, store: Store):
    server.pages["/a"] = Page(DATA)
    server.seen.clear()
    assert read(store, server.url("/a"), 1000, 10) == DATA[1000:1010]
    assert [headers["Range"] for _, _, headers in server.seen] == ["bytes=1000-1009"]


def test_a_server_that_only_sends_whole_objects(server: WebServer, store: Store):
    server.pages["/a"] = Page(DATA, ranges=False)
    assert read(store, server.url("/a")) == DATA
    assert read(store, server.url("/a"), 0, 10) == DATA[:10]
    with pytest.raises(RangeUnsupported):
        store.open(server.url("/a"), 1, 10)


def test_a_server_that_sends_another_range(server: WebServer, store: Store):
    server.pages["/a"] = Page(DATA[:10], status=206, headers={"Content-Range": f"bytes 0-9/{len(DATA)}"})
    with pytest.raises(StoreUnavailable, match="another range"):
        store.open(server.url("/a"), 5, 10)


def test_a_server_that_does_not_tell_the_size(server: WebServer, store: Store):
    server.pages["/a"] = Page(DATA, announce=False)
    server.pages["/b"] = Page(DATA, chunked=True)
    for path in ("/a", "/b"):
        with closing(store.open(server.url(path))) as blob:
            assert blob.size == 0
            assert b"".join(blob) == DATA
        assert store.size(server.url(path)) == 0


@pytest.mark.parametrize("status", [400, 401, 403, 405, 501])
@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("body", [DATA, b""], ids=["data", "empty"])
def test_a_server_that_refuses_head_is_asked_for_one_byte(
    server: WebServer, store: Store, status: int, ranges: bool, body: bytes
):
    server.pages["/a"] = Page(body, head=status, ranges=ranges)
    assert store.size(server.url("/a")) == len(body)
    assert [(method, headers.get("Range")) for method, _, headers in server.seen] == [
        ("HEAD", None), ("GET", "bytes=0-0"),
    ]
    server.pages["/a"] = Page(status=403)
    with pytest.raises(BadLocation, match="403"):
        store.size(server.url("/a"))


@pytest.mark.parametrize("page", [Page(DATA, cut=300_000), Page(DATA, cut=0), Page(DATA, chunked=True, cut=300_000)])
def test_a_connection_that_ends_early_never_looks_complete(server: WebServer, store: Store, page: Page):
    server.pages["/a"] = page
    with closing(store.open(server.url("/a"))) as blob, pytest.raises(StoreUnavailable, match="stopped sending"):
        list(blob)


@pytest.mark.parametrize("drop", [b"x", b"1\r\nx\r\n"], ids=["body", "chunks"])
def test_s61_a_download_that_drips_is_cut(drop: bytes):
    framing = b"Transfer-Encoding: chunked" if drop != b"x" else b"Content-Length: 1000000"
    values = {opt.dest: opt.default for opt in url_filter.OPTIONS}
    the_filter = UrlFilter(SimpleNamespace(**{**values, "allowed_ports": [], "allowed_hosts": ["127.0.0.1"]}))
    session = UrlSession(the_filter, limits=ExchangeLimits(rate=99999, window=0.3))
    store = HttpStore(StoreSettings("web", cfg.ConfigOpts(), "web", None, 0), MemoryIdentities(), session)
    with (
        scripted_peer(dripping(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n", drop)) as peer,
        closing(store.open(peer.url())) as blob,
        pytest.raises(StoreUnavailable, match="the server sends less than 99999 bytes a second"),
    ):
        list(blob)


def test_s22_a_server_that_does_not_answer_in_time(tmp_path: Path):
    """Registering says that the location is bad, reading that it is unavailable."""
    with scripted_peer(dripping(b"HTTP/1.1 200 OK\r\nX: ")) as peer:
        allowed = {"allowed_hosts": "[127.0.0.1]", "allowed_ports": f"[{peer.port}]"}
        limits: dict[str, Any] = {"http_answer_timeout": 0.3}
        groups = {"glance_store": limits, "import_filtering_opts": allowed}
        store = load(tmp_path, groups).get("http")
        retrying(store)._sleep = lambda seconds: None
        with pytest.raises(BadLocation, match="cannot be fetched"):
            store.size(peer.url())
        with pytest.raises(StoreUnavailable, match="cannot be fetched"):
            store.open(peer.url())


def test_compressed_answers_are_refused(server: WebServer, store: Store):
    server.pages["/a"] = Page(DATA, headers={"Content-Encoding": "gzip"})
    with pytest.raises(BadLocation, match="encoded form"):
        store.open(server.url("/a"))


def test_no_server(server: WebServer, store: Store):
    url = server.url("/a")
    server.socket.close()
    with pytest.raises(StoreUnavailable, match="cannot be fetched"):
        store.open(url)
    with pytest.raises(BadLocation, match="cannot be fetched"):
        store.size(url)


def test_s32_locations_pass_the_filter_at_every_read(server: WebServer, tmp_path: Path):
    server.pages["/a"] = Page(DATA)
    closed = load(tmp_path, {"import_filtering_opts": {"allowed_ports": f"[{server.port}]"}}).get("http")
    for host in ("127.0.0.1", "localhost", "[::1]", "2130706433", "0x7f000001"):
        for act in (closed.open, closed.size):
            with pytest.raises(BadLocation):
                act(server.url("/a", host))
    assert server.seen == []


def test_s32_redirects_pass_the_filter(server: WebServer, store: Store):
    server.pages["/a"] = Page(status=302, headers={"Location": server.url("/b", "localhost")})
    server.pages["/b"] = Page(DATA)
    with pytest.raises(BadLocation, match="redirect that is not allowed"):
        store.open(server.url("/a"))
    assert [path for _, path, _ in server.seen] == ["/a"]


def test_s02_credentials_are_used_and_never_shown(
    server: WebServer, store: Store, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG)
    server.pages["/a"] = Page(DATA)
    url = server.url("/a", "user:hunter2@127.0.0.1")
    assert read(store, url) == DATA
    assert all("Authorization" in headers for _, _, headers in server.seen)
    assert store.url(url) == server.url("/a")
    errors = []
    for bad in (server.url("/missing", "user:hunter2@127.0.0.1"), "http://user:hunter2@localhost:1/", "http://u:hunter2@h:x/"):
        with pytest.raises((BlobNotFound, BadLocation)) as caught:
            store.open(bad)
        errors.append(str(caught.value))
    told = " ".join([*errors, *(str(vars(record)) for record in caplog.records if record.name.startswith("glance"))])
    assert "hunter2" not in told


def test_s04_certificates_are_checked_unless_told_otherwise(tmp_path: Path):
    authority, context = server_certificate(tmp_path, "localhost")
    with web_server(context) as server:
        server.pages["/a"] = Page(DATA)
        allowed = {"allowed_hosts": "[localhost]", "allowed_ports": f"[{server.port}]"}
        url = server.url("/a", "localhost")

        def with_options(**options: Any) -> Store:
            return load(tmp_path, {"glance_store": options, "import_filtering_opts": allowed}).get("http")

        with pytest.raises(BadLocation, match="cannot be fetched"):
            with_options().size(url)
        assert with_options(https_ca_certificates_file=authority).size(url) == len(DATA)
        assert with_options(https_ca_certificates_file=authority, https_insecure="true").size(url) == len(DATA)
        with pytest.warns(match="Unverified HTTPS request"):
            assert with_options(https_insecure="true").size(url) == len(DATA)
