"""The service behind the real proxies with the configurations of ``deploy``."""

import json
import socket
import subprocess
from contextlib import ExitStack

import psutil
import pytest
import requests
from tests.servers import haproxy, nginx
from tests.servers.haproxy import Haproxy
from tests.servers.nginx import Nginx
from tests.support.server import Client

KIB = 1024
SLOW = 60
"""More than the threads of the server."""


@pytest.fixture
def server(make_server):
    return make_server(threads=4, header_timeout=600, document_timeout=600, client_timeout=600).start()


@pytest.fixture(params=["nginx", "haproxy"])
def connect(request, server, tmp_path):
    """Return a function that connects a client to a proxy in front of the server."""
    folder = tmp_path / "proxy"
    folder.mkdir()
    proxy = Haproxy(folder, server.port) if request.param == "haproxy" else Nginx(folder, server.port, {})
    with ExitStack() as clients:
        try:
            proxy.start()
            yield lambda: clients.enter_context(Client(socket.create_connection(("127.0.0.1", proxy.port), 60)))
        finally:
            proxy.stop()


def established(server):
    """Return how many connections the server has."""
    connections = psutil.Process(server.workers()[0]).net_connections("tcp")
    return sum(connection.status == "ESTABLISHED" for connection in connections)


def test_s82_what_clients_say_about_themselves_does_not_arrive(connect):
    client = connect()
    names = ("Forwarded", "X_Forwarded_For", "X_Forwarded_Host", "X_Forwarded_Proto", "X_Forwarded_Prefix",
             "X_Forwarded_Port", "x_forwarded_server")
    lies = dict.fromkeys(names, "evil.example.com")
    client.request("GET", "/hello", **lies)
    status, _, body = client.response()
    assert status == 200
    assert b"evil" not in body
    headers = json.loads(body)["headers"]
    assert headers["HTTP_X_FORWARDED_FOR"] == "127.0.0.1"
    assert headers["HTTP_X_FORWARDED_HOST"] == headers["HTTP_HOST"] == "localhost"
    assert headers["HTTP_X_FORWARDED_PROTO"] == "http"
    assert "HTTP_FORWARDED" not in headers
    assert "HTTP_X_FORWARDED_PREFIX" not in headers


@pytest.mark.parametrize("framing", [{"Content_Length": 30 * KIB}, {"Transfer_Encoding": "chunked"}])
@pytest.mark.parametrize(
    "target", ["POST /v2/document", "PATCH /v2/images/document", "PUT /v2/images/x/members/document"]
)
def test_slow_documents_stay_in_the_proxy(connect, server, framing, target):
    slow = [connect() for _ in range(SLOW)]
    for client in slow:
        client.request(*target.split(), **framing)
        client.send(b"7800\r\n{" if "Transfer_Encoding" in framing else b"{")
    other = connect()
    for path in ("/healthcheck", "/hello"):
        other.request("GET", path)
        assert other.response()[0] == 200
    assert established(server) < SLOW
    assert not server.events("document")
    rest = b"x" * (30 * KIB - 1) + (b"\r\n0\r\n\r\n" if "Transfer_Encoding" in framing else b"")
    for client in slow[:2]:
        client.send(rest)
        assert json.loads(client.response()[2]) == {"size": 30 * KIB}


@pytest.mark.parametrize("target", [
    "PUT /v2/images/x/file", "PUT /v2.9/images/x/stage", "POST /v1/images", "PUT /v1.1/images/x",
])
def test_image_data_reach_the_service_while_they_come(connect, server, target):
    client = connect()
    client.request(*target.split(), Content_Length=5000 * KIB)
    client.send(b"x" * (200 * KIB))
    server.wait_event("upload")
    client.send(b"x" * (4800 * KIB))
    assert sum(json.loads(client.response()[2])["sizes"]) == 5000 * KIB


@pytest.fixture(params=["none", "nginx", "haproxy"])
def address(request, server, tmp_path):
    """The address of the server itself, or of a proxy in front of it."""
    if request.param == "none":
        yield f"http://127.0.0.1:{server.port}"
        return
    folder = tmp_path / "proxy"
    folder.mkdir()
    proxy = Haproxy(folder, server.port) if request.param == "haproxy" else Nginx(folder, server.port, {})
    try:
        proxy.start()
        yield f"http://127.0.0.1:{proxy.port}"
    finally:
        proxy.stop()


@pytest.mark.parametrize("size", [32, 256])
def test_a_refused_upload_of_any_size_is_answered(address, tmp_path, size):
    """Clients send all of it before they read: requests always, curl when it need not ask first."""
    url = f"{address}/v2/images/x/file?refused=1"
    path = tmp_path / "image"
    with path.open("wb") as file:
        file.truncate(size * KIB * KIB)
    for _ in range(3):
        with path.open("rb") as file:
            answer = requests.put(url, data=file, timeout=60)
        assert (answer.status_code, answer.json()) == (503, {"error": "refused"})
        done = subprocess.run(
            ["curl", "-sS", "-H", "Expect:", "-T", path, "-w", " %{http_code}", url],
            check=True, capture_output=True, text=True,
        )
        assert done.stdout == '{"error": "refused"} 503'


def test_a_large_document_arrives_whole(connect):
    client = connect()
    client.request("POST", "/v2/document", Content_Length=900 * KIB, Expect="100-continue")
    assert client.head()[0] == 100
    client.send(b"x" * (900 * KIB))
    assert json.loads(client.response()[2]) == {"size": 900 * KIB}


def test_a_document_that_does_not_come_is_answered_by_the_proxy(connect, server):
    client = connect()
    client.request("POST", "/v2/document", Content_Length=100)
    client.send(b"{")
    client.sock.settimeout(60)
    answered = client.read_to_end()
    # nginx closes without an answer.
    assert answered in (b"",) or answered.startswith(b"HTTP/1.1 408"), answered
    assert not server.events("document")


def test_headers_of_images_arrive(connect):
    """v1 sends every property as a header, with underscores in the names."""
    client = connect()
    properties = {f"X_Image_Meta_Property_{number}": "x" * 100 for number in range(128)}
    client.request("GET", "/hello", **properties)
    status, _, body = client.response()
    assert status == 200
    assert len([name for name in json.loads(body)["headers"] if "META_PROPERTY" in name]) == 128


def test_the_samples_are_valid(tmp_path):
    (tmp_path / "nginx.conf").write_text(
        f"events {{}}\nerror_log {tmp_path}/error.log;\npid {tmp_path}/pid;\n"
        f"http {{ include {nginx.SAMPLES}/glance.conf; }}\n"
    )
    for command in (
        [haproxy.PROGRAM, "-c", "-f", haproxy.SAMPLES / "glance.cfg"],
        [haproxy.PROGRAM, "-c", "-f", haproxy.SAMPLES / "glance.cfg", "-f", haproxy.SAMPLES / "registry.cfg"],
        [nginx.PROGRAM, "-t", "-p", tmp_path, "-c", tmp_path / "nginx.conf"],
    ):
        checked = subprocess.run(command, capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stderr
