"""web-download from real servers: what may be fetched, what counts as whole (IMP-03; security section 3)."""

import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.servers.scripted import dripping, scripted_peer
from tests.servers.web import Page, WebServer, web_server
from tests.support.certificates import server_certificate

from glance_api.imports.contract import ImportFailed
from glance_api.imports.sources import body, web_download
from glance_common.fetch import url_filter
from glance_common.fetch.guards import ExchangeLimits
from glance_common.fetch.url_filter import UrlFilter
from glance_common.fetch.url_session import UrlSession
from glance_common.model.errors import BadRequest, GlanceError, TooLarge

MIRROR = "mirror.example.org"
CAP = 1 << 20


@pytest.fixture
def server() -> Iterator[WebServer]:
    with web_server() as found:
        yield found


def rules(**changes: Any) -> SimpleNamespace:
    return SimpleNamespace(**{**{opt.dest: opt.default for opt in url_filter.OPTIONS}, **changes})


def resolve(host: str, port: int) -> Sequence[str]:
    """The mirror is this machine; numbers and localhost are what the system's resolver makes of them."""
    if host in (MIRROR, "other.example.org"):
        return ["127.0.0.1"]
    return [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def mirror_filter() -> UrlFilter:
    """Lets through the mirror alone, on any port: the tests' servers are on the loopback address."""
    return UrlFilter(rules(allowed_hosts=[MIRROR], allowed_ports=[]), resolve)


def fetch(uri: str, the_filter: UrlFilter | None = None, *, cap: int = CAP, **session: Any) -> tuple[bytes, int | None]:
    the_filter = the_filter or mirror_filter()
    with web_download.open_source(UrlSession(the_filter, **session), uri, cap=cap) as source:
        return b"".join(source.pieces), source.announced


def test_the_image_arrives_whole_and_with_its_size(server: WebServer):
    data = bytes(range(256)) * 2000
    server.pages["/x.img"] = Page(data)
    assert fetch(server.url("/x.img", MIRROR)) == (data, len(data))


@pytest.mark.parametrize("page", [Page(b"data" * 1000, announce=False), Page(b"data" * 1000, chunked=True)])
def test_s61_without_a_content_length_the_size_is_unknown(server: WebServer, page: Page):
    server.pages["/x"] = page
    assert fetch(server.url("/x", MIRROR)) == (b"data" * 1000, None)


@pytest.mark.parametrize("page", [Page(b"data" * 5000, cut=6000), Page(b"data" * 5000, cut=6000, chunked=True)])
def test_s61_a_body_that_ends_early_fails(server: WebServer, page: Page):
    server.pages["/x"] = page
    with pytest.raises(ImportFailed, match=r"stopped sending|announced"):
        fetch(server.url("/x", MIRROR))


@pytest.mark.parametrize("encoding", ["gzip", "br, gzip", "X-Gzip"])
def test_an_encoded_body_is_not_the_image(server: WebServer, encoding: str):
    server.pages["/x"] = Page(b"data" * 10, headers={"Content-Encoding": encoding})
    with pytest.raises(ImportFailed, match="only in an encoded form"):
        fetch(server.url("/x", MIRROR))
    server.pages["/x"] = Page(b"data" * 10, headers={"Content-Encoding": "Identity"})
    assert fetch(server.url("/x", MIRROR)) == (b"data" * 10, 40)


def test_s61_what_is_announced_larger_than_the_cap_is_not_read(server: WebServer):
    server.pages["/x"] = Page(b"data" * 1000)
    with pytest.raises(TooLarge, match="4000 bytes; image_size_cap is 3999"):
        fetch(server.url("/x", MIRROR), cap=3999)


def test_s63_pieces_come_one_by_one(server: WebServer):
    """The memory of a transfer does not grow with the image, and the reader may stop at its cap at any time."""
    server.pages["/x"] = Page(bytes(16 << 20), announce=False)
    the_filter = mirror_filter()
    with web_download.open_source(UrlSession(the_filter), server.url("/x", MIRROR), cap=CAP) as source:
        sizes = [len(next(source.pieces)) for _ in range(4)]
    assert max(sizes) <= 2 * body.PIECE


def test_a_source_that_drips_is_given_up():
    script = dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    with scripted_peer(script) as peer, pytest.raises(ImportFailed, match="the source sends less than 99999 bytes a"):
        fetch(peer.url(MIRROR), limits=ExchangeLimits(rate=99999, window=0.3))


@pytest.mark.parametrize("status", [204, 206, 304, 401, 404, 500])
def test_an_answer_without_the_image_fails(server: WebServer, status: int):
    server.pages["/x"] = Page(b"", status=status)
    with pytest.raises(ImportFailed, match=f"status {status}"):
        fetch(server.url("/x", MIRROR))


def test_s27_failures_do_not_say_what_answered():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        texts = set()
        for port in (1, silent.getsockname()[1]):
            with pytest.raises(ImportFailed) as caught:
                fetch(f"http://{MIRROR}:{port}/x", limits=ExchangeLimits(connect=0.5, idle=0.2))
            texts.add(str(caught.value))
    assert texts == {"the source does not answer"}


SSRF = [
    "http://127.0.0.1/", "http://localhost/", "http://LOCALHOST./", "http://0.0.0.0/", "http://[::1]/", "http://[::]/",
    "http://2130706433/", "http://0x7f000001/", "http://0x7f.0.0.1/", "http://017700000001/", "http://0177.0.0.1/",
    "http://127.1/", "http://127.0.1/", "http://0/", "http://127.0.0.1.nip.invalid/", "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/", "http://[::127.0.0.1]/", "http://[64:ff9b::7f00:1]/", "http://[2002:7f00:1::]/",
    "http://169.254.169.254/latest/meta-data/", "http://2852039166/", "http://0xa9fea9fe/", "http://0251.0376.0251.0376/",
    "http://[::ffff:169.254.169.254]/", "http://[fe80::1]/", "http://[fd00:ec2::254]/", "http://224.0.0.1/",
    "http://10.0.0.1/", "http://192.168.0.1/", "http://172.16.0.1/", "http://100.100.100.200/",
    "http://user:secret@example.org/", "http://example.org@127.0.0.1/", "http://127.0.0.1\\@example.org/",
    "http://example.org:22/", "http://example.org:6379/", "file:///etc/passwd", "ftp://example.org/x",
    "gopher://127.0.0.1:6379/_x", "http://exam ple.org/", "http://example.org/\r\nX: y", "http:///x", "//example.org/x",
    "http://\uff11\uff12\uff17.0.0.1/", "http://127\u30020\u30020\u30021/",
]


@pytest.mark.parametrize("uri", SSRF)
def test_s22_s31_inner_addresses_in_any_disguise_are_refused(uri: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(UrlSession, "_send", lambda *args: pytest.fail("something was contacted"))
    the_filter = UrlFilter(rules(), resolve)
    with pytest.raises(BadRequest, match=r"^import_from: ") as caught:
        web_download.check_uri(the_filter, "import_from", uri)
    assert "secret" not in str(caught.value)
    with pytest.raises(BadRequest, match=r"^uri: "):
        fetch(uri, the_filter)


# A header holds no line breaks and no other letters; what has no host leads back to the same server.
REDIRECTS = [uri for uri in SSRF if uri.isascii() and uri.isprintable() and "///" not in uri]


@pytest.mark.parametrize("target", [*REDIRECTS, "http://other.example.org/"])
def test_s22_a_redirect_passes_the_same_rules(server: WebServer, target: str):
    server.pages["/x"] = Page(status=302, headers={"Location": target})
    server.pages["/"] = Page(b"the inner secret")
    with pytest.raises(GlanceError) as caught:
        fetch(server.url("/x", MIRROR))
    assert caught.value.code == 400
    assert len(server.seen) == 1


def test_s22_a_redirect_to_an_open_inner_port_is_refused(server: WebServer, monkeypatch: pytest.MonkeyPatch):
    """No rule but the one about addresses keeps this from succeeding: the port is open and serves an image."""
    server.pages["/inner"] = Page(b"the inner secret")
    server.pages["/x"] = Page(status=302, headers={"Location": server.url("/inner")})
    answers = {MIRROR: "93.184.216.34"}
    the_filter = UrlFilter(rules(allowed_ports=[]), lambda host, port: [answers.get(host, host)])
    session = UrlSession(the_filter)
    send = session._send

    def send_to_this_machine(method: str, target: Any, *others: Any) -> Any:
        return send(method, target.__class__(target.url, target.scheme, target.host, target.port, ("127.0.0.1",), None),
                    *others)

    # The mirror's public address is this machine.
    monkeypatch.setattr(session, "_send", send_to_this_machine)
    uri = server.url("/x", MIRROR)
    with (
        pytest.raises(BadRequest, match="redirect that is not allowed"),
        web_download.open_source(session, uri, cap=CAP),
    ):
        pass
    assert [path for _, path, _ in server.seen] == ["/x"]


def test_s33_a_name_that_changes_after_the_check_is_judged_again_and_pinned(server: WebServer):
    server.pages["/x"] = Page(b"the inner secret")
    answers = iter([["93.184.216.34"], ["127.0.0.1"]])
    the_filter = UrlFilter(rules(allowed_ports=[]), lambda host, port: next(answers))
    web_download.check_uri(the_filter, "method.uri", server.url("/x", "rebind.example.org"))
    with pytest.raises(BadRequest, match="no address that may be contacted"):
        fetch(server.url("/x", "rebind.example.org"), the_filter)
    assert server.seen == []


def test_a_redirect_within_the_rules_is_followed(server: WebServer):
    server.pages["/x"] = Page(status=307, headers={"Location": "/y"})
    server.pages["/y"] = Page(b"data")
    assert fetch(server.url("/x", MIRROR)) == (b"data", 4)


def test_s22_https_never_leads_to_http(server: WebServer, tmp_path: Path):
    server.pages["/plain"] = Page(b"data")
    authority, context = server_certificate(tmp_path, MIRROR)
    with web_server(context) as secure:
        secure.pages["/x"] = Page(status=301, headers={"Location": server.url("/plain", MIRROR)})
        with pytest.raises(BadRequest, match="from https to http"):
            fetch(secure.url("/x", MIRROR), verify=str(authority))
    assert server.seen == []


def test_s04_the_certificate_is_checked(tmp_path: Path):
    authority, context = server_certificate(tmp_path, MIRROR)
    with web_server(context) as secure:
        secure.pages["/x"] = Page(b"data")
        assert fetch(secure.url("/x", MIRROR), verify=str(authority)) == (b"data", 4)
        with pytest.raises(ImportFailed):
            fetch(secure.url("/x", MIRROR))
