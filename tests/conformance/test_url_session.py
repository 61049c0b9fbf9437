"""Fetching through the filter from a real server: pinned addresses, redirects, certificates, what is sent to whom."""

import base64
import dataclasses
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.servers.web import Page, WebServer, web_server
from tests.support.certificates import server_certificate

from glance_common.fetch import url_filter
from glance_common.fetch.guards import ExchangeLimits
from glance_common.fetch.url_filter import UrlFilter, UrlRefused
from glance_common.fetch.url_session import FetchFailed, UrlSession

SECRET = {"Authorization": "Basic c2VjcmV0", "X-Auth-Token": "secret", "Range": "bytes=0-1"}


@pytest.fixture
def server() -> Iterator[WebServer]:
    with web_server() as found:
        yield found


class Network:
    """Names and their addresses, and how often they were looked up."""

    def __init__(self, **names: list[str]) -> None:
        self.names = {name.replace("_", "."): addresses for name, addresses in names.items()}
        self.asked: list[str] = []

    def resolve(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        if host not in self.names:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return self.names[host]


def filter_for(network: Network, **changes: Any) -> UrlFilter:
    """Return a filter in which the names of the network may be on the loopback address of this machine."""
    values: dict[str, Any] = {opt.dest: opt.default for opt in url_filter.OPTIONS}
    values.update(allowed_ports=[], allowed_hosts=[name for name in network.names if name.endswith("example.org")])
    return UrlFilter(SimpleNamespace(**{**values, **changes}), network.resolve)


def test_s33_the_checked_address_is_the_one_contacted(server: WebServer, monkeypatch: pytest.MonkeyPatch):
    """With a second look-up the name would be found nowhere: getaddrinfo may see nothing but addresses."""
    real, names = socket.getaddrinfo, []

    def getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        names.append(host)
        return real(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    server.pages["/x?y=1"] = Page(b"data")
    network = Network(a_example_org=["127.0.0.1"])
    with UrlSession(filter_for(network)).request("GET", server.url("/x?y=1", "a.example.org")) as response:
        assert response.read(1024) == b"data"
    assert network.asked == ["a.example.org"]
    assert set(names) <= {"127.0.0.1"}
    method, path, headers = server.seen[0]
    assert (method, path, headers["Host"]) == ("GET", "/x?y=1", f"a.example.org:{server.port}")
    assert headers["Accept-Encoding"] == "identity"
    assert "Cookie" not in headers


def test_the_next_address_is_tried(server: WebServer):
    server.pages["/x"] = Page(b"data")
    network = Network(a_example_org=["127.0.0.2", "::1", "127.0.0.1"])
    with UrlSession(filter_for(network)).request("GET", server.url("/x", "a.example.org")) as response:
        assert response.read(1024) == b"data"


def test_s27_all_failures_read_alike(server: WebServer):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        network = Network(a_example_org=["127.0.0.1"])
        session = UrlSession(filter_for(network), limits=ExchangeLimits(connect=0.5, idle=0.3))
        texts = set()
        for url in (
            f"http://a.example.org:{port}/x",
            "http://a.example.org:1/x",
            server.url("/x", "a.example.org").replace("http:", "https:"),
        ):
            with pytest.raises(FetchFailed) as caught:
                session.request("GET", url)
            texts.add(
                str(caught.value)
                .replace(f":{port}", "")
                .replace(":1/", "/")
                .replace(f":{server.port}", "")
                .replace("https", "http")
            )
    assert texts == {"http://a.example.org/x cannot be fetched"}


def test_answers_that_are_not_http():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(120)
        port = listening.getsockname()[1]
        def answer() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(FetchFailed):
            UrlSession(filter_for(Network(a_example_org=["127.0.0.1"]))).request("GET", f"http://a.example.org:{port}/")
        thread.join()


# Redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed(server: WebServer, status: int):
    server.pages["/a"] = Page(status=status, headers={"Location": "b?c"})
    server.pages["/b?c"] = Page(b"data")
    session = UrlSession(filter_for(Network(a_example_org=["127.0.0.1"])))
    with session.request("GET", server.url("/a", "a.example.org")) as response:
        assert (response.status_code, response.read(1024)) == (200, b"data")


def test_redirects_that_are_not_to_be_followed_are_answers(server: WebServer):
    server.pages["/a"] = Page(status=307, headers={"Location": "/b"})
    session = UrlSession(filter_for(Network(a_example_org=["127.0.0.1"])), follow=(301, 302))
    with session.request("GET", server.url("/a", "a.example.org")) as response:
        assert response.status_code == 307


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1:{port}/secret",
        "http://localhost:{port}/secret",
        "//127.0.0.1:{port}/secret",
        "http://[::1]:{port}/",
        "http://2130706433:{port}/",
        "http://0x7f.1:{port}/",
        "http://169.254.169.254/latest/meta-data/",
        "file:///etc/passwd",
        "http://user:pw@a.example.org:{port}/secret",
        "http://inner:{port}/secret",
        "gopher://a.example.org/",
        "",
        "http://a.example.org:{port}\\@127.0.0.1/",
        "http://nowhere.test/",
        "HTTP://[::ffff:127.0.0.1]:{port}/secret",
    ],
)
def test_s22_every_redirect_passes_the_filter(server: WebServer, monkeypatch: pytest.MonkeyPatch, location: str):
    server.pages["/a"] = Page(status=302, headers={"Location": location.format(port=server.port)})
    server.pages["/secret"] = Page(b"secret")
    network = Network(a_example_org=["93.184.216.34"], inner=["10.0.0.1"], localhost=["127.0.0.1"])
    # Only the first hop is let through to this machine, by a resolver that lies about a public address.
    session = UrlSession(filter_for(network, allowed_hosts=[]))
    # The first server is public here.
    monkeypatch.setattr(session, "_send", pinned_to(server, session._send))
    with pytest.raises(UrlRefused) as refused:
        session.request("GET", server.url("/a", "a.example.org"))
    assert not any(word in str(refused.value) for word in ("inner", "127.", "localhost", "nowhere"))
    assert [path for _, path, _ in server.seen] == ["/a"]


def pinned_to(server: WebServer, send: Any) -> Any:
    def redirected(method: str, target: Any, *others: Any) -> Any:
        assert target.addresses == ("93.184.216.34",)
        return send(method, dataclasses.replace(target, addresses=("127.0.0.1",)), *others)

    return redirected


def test_at_most_five_redirects(server: WebServer):
    for number in range(6):
        server.pages[f"/{number}"] = Page(status=301, headers={"Location": f"/{number + 1}"})
    server.pages["/6"] = Page(b"data")
    session = UrlSession(filter_for(Network(a_example_org=["127.0.0.1"])))
    with session.request("GET", server.url("/1", "a.example.org")) as response:
        assert response.read(1024) == b"data"
    server.seen.clear()
    with pytest.raises(UrlRefused, match="more than 5 redirects"):
        session.request("GET", server.url("/0", "a.example.org"))
    assert len(server.seen) == 6


def test_s33_a_name_that_changes_between_hops_is_checked_again(server: WebServer, monkeypatch: pytest.MonkeyPatch):
    server.pages["/a"] = Page(status=302, headers={"Location": "/b"})
    answers = iter([["93.184.216.34"], ["127.0.0.1"]])
    values: dict[str, Any] = {opt.dest: opt.default for opt in url_filter.OPTIONS}
    session = UrlSession(
        UrlFilter(SimpleNamespace(**{**values, "allowed_ports": []}), lambda host, port: next(answers))
    )
    # The first server is public here.
    monkeypatch.setattr(session, "_send", pinned_to(server, session._send))
    with pytest.raises(UrlRefused, match="redirect that is not allowed"):
        session.request("GET", server.url("/a", "rebind.example.org"))


def test_secrets_stay_with_their_host(server: WebServer):
    network = Network(a_example_org=["127.0.0.1"], b_example_org=["127.0.0.1"])
    server.pages["/a"] = Page(status=302, headers={"Location": "/same"})
    server.pages["/same"] = Page(status=302, headers={"Location": server.url("/other", "b.example.org")})
    server.pages["/other"] = Page(status=302, headers={"Location": server.url("/back", "a.example.org")})
    server.pages["/back"] = Page(b"data")
    with UrlSession(filter_for(network)).request("GET", server.url("/a", "a.example.org"), SECRET) as response:
        assert response.status_code == 206
    sent = [{name: value for name, value in headers.items() if name in SECRET} for _, _, headers in server.seen]
    assert sent == [SECRET, SECRET, {"Range": "bytes=0-1"}, {"Range": "bytes=0-1"}]


def test_credentials_of_the_url_become_a_header(server: WebServer):
    server.pages["/a"] = Page(status=302, headers={"Location": server.url("/b", "b.example.org")})
    server.pages["/b"] = Page(b"data")
    network = Network(a_example_org=["127.0.0.1"], b_example_org=["127.0.0.1"])
    url = server.url("/a", "us%65r:pa%3Ass@a.example.org")
    UrlSession(filter_for(network)).request("GET", url).close()
    first, second = (headers for _, _, headers in server.seen)
    assert base64.b64decode(first["Authorization"].removeprefix("Basic ")) == b"user:pa:ss"
    assert "Authorization" not in second


def test_the_environment_sends_nothing_and_nobody(server: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "netrc").write_text("machine a.example.org login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    server.pages["/x"] = Page(b"data", headers={"Set-Cookie": "a=b"})
    session = UrlSession(filter_for(Network(a_example_org=["127.0.0.1"])))
    for _ in range(2):
        session.request("GET", server.url("/x", "a.example.org")).close()
    assert all("Authorization" not in headers and "Cookie" not in headers for _, _, headers in server.seen)
    assert len(server.seen) == 2


# Proxies


def test_a_proxy_gets_the_name(server: WebServer):
    url = "http://unknown.example.org/x"
    server.pages[url] = Page(b"through the proxy")
    session = UrlSession(filter_for(Network(), allowed_hosts=[]), proxies={"http": f"127.0.0.1:{server.port}"})
    with session.request("GET", url) as response:
        assert response.read(1024) == b"through the proxy"
    for refused in ("http://127.0.0.1/x", "http://169.254.169.254/x", "https://unknown.example.org/x"):
        with pytest.raises(UrlRefused):
            session.request("GET", refused)


# TLS


@pytest.fixture
def tls(tmp_path: Path) -> Iterator[tuple[WebServer, str]]:
    authority, context = server_certificate(tmp_path, "a.example.org")
    with web_server(context) as found:
        found.pages["/x"] = Page(b"data")
        yield found, str(authority)


def test_s04_the_certificate_is_checked_for_the_name_and_not_for_the_address(tls: tuple[WebServer, str]):
    server, authority = tls
    network = Network(a_example_org=["127.0.0.1"], b_example_org=["127.0.0.1"])
    session = UrlSession(filter_for(network), verify=authority)
    with session.request("GET", server.url("/x", "a.example.org")) as response:
        assert response.read(1024) == b"data"
    with pytest.raises(FetchFailed):
        session.request("GET", server.url("/x", "b.example.org"))


def test_s04_unknown_authorities_are_refused_by_default(tls: tuple[WebServer, str]):
    server, _ = tls
    with pytest.raises(FetchFailed):
        UrlSession(filter_for(Network(a_example_org=["127.0.0.1"]))).request("GET", server.url("/x", "a.example.org"))


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_verification_can_be_turned_off(tls: tuple[WebServer, str]):
    server, _ = tls
    session = UrlSession(filter_for(Network(b_example_org=["127.0.0.1"])), verify=False)
    with session.request("GET", server.url("/x", "b.example.org")) as response:
        assert response.read(1024) == b"data"


def test_the_name_is_sent_in_sni(tmp_path: Path):
    authority, context = server_certificate(tmp_path, "a.example.org")
    seen: list[str | None] = []

    def note(connection: ssl.SSLSocket | ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        seen.append(name)

    context.sni_callback = note
    with web_server(context) as server:
        server.pages["/x"] = Page(b"data")
        session = UrlSession(filter_for(Network(a_example_org=["127.0.0.1"])), verify=str(authority))
        session.request("GET", server.url("/x", "a.example.org")).close()
    assert seen == ["a.example.org"]


def test_https_never_leads_to_http(tls: tuple[WebServer, str], server: WebServer):
    secure, authority = tls
    secure.pages["/a"] = Page(status=302, headers={"Location": server.url("/x", "a.example.org")})
    session = UrlSession(filter_for(Network(a_example_org=["127.0.0.1"])), verify=authority)
    with pytest.raises(UrlRefused, match="leads from https to http"):
        session.request("GET", secure.url("/a", "a.example.org"))
    assert server.seen == []


def test_http_may_lead_to_https(tls: tuple[WebServer, str], server: WebServer):
    secure, authority = tls
    server.pages["/a"] = Page(status=302, headers={"Location": secure.url("/x", "a.example.org")})
    session = UrlSession(filter_for(Network(a_example_org=["127.0.0.1"])), verify=authority)
    with session.request("GET", server.url("/a", "a.example.org")) as response:
        assert response.read(1024) == b"data"


def test_a_missing_file_of_authorities_is_a_failure_and_no_crash(tls: tuple[WebServer, str]):
    server, _ = tls
    session = UrlSession(filter_for(Network(a_example_org=["127.0.0.1"])), verify="/does/not/exist")
    with pytest.raises(FetchFailed):
        session.request("GET", server.url("/x", "a.example.org"))
