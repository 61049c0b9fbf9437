"""No client keeps a thread longer than the operator allows."""

import time
from contextlib import suppress

import pytest
from tests.support.waiting import wait_for

MIB = 1024 * 1024


PATIENCE = 1
"""Seconds of ``client_timeout``."""


def stalled(server, since):
    """Whether the server, whose only thread a stalled client has since then, answers another one after its patience."""
    assert server.hello()["pid"]
    return time.monotonic() - since >= PATIENCE


@pytest.fixture
def one_thread(make_server):
    return make_server(threads=1, client_timeout=PATIENCE).start()


def test_a_client_that_stalls_in_an_upload_is_cut(one_thread):
    with one_thread.connect() as client:
        client.request("PUT", "/upload", Content_Length=2 * MIB)
        client.send(b"x" * MIB)
        assert stalled(one_thread, one_thread.wait_event("upload")["at"])
        assert client.response()[1]["connection"] == "close"
        assert client.closed_within(30)
    assert one_thread.events("cut")[0]["kind"] == "ClientTooSlow"


def test_a_client_that_stalls_in_a_chunked_upload_is_cut(one_thread):
    with one_thread.connect() as client:
        client.request("PUT", "/upload", Transfer_Encoding="chunked")
        client.send(b"100000\r\n" + b"x" * 1000)
        assert stalled(one_thread, one_thread.wait_event("upload")["at"])
        assert client.response()[0] == 400
    assert one_thread.events("cut")[0]["kind"] == "ClientTooSlow"


def test_a_client_that_stalls_on_a_connection_used_before_is_cut(one_thread):
    with one_thread.connect() as client:
        client.request("GET", "/hello")
        assert client.response()[0] == 200
        client.request("PUT", "/upload", Content_Length=2 * MIB)
        assert stalled(one_thread, one_thread.wait_event("upload")["at"])


@pytest.mark.parametrize("kind", ["file", "memory", "pieces"])
def test_a_client_that_stalls_in_a_download_is_cut(one_thread, tmp_path, kind):
    path = tmp_path / "image"
    path.write_bytes(b"x" * (32 * MIB))
    target = {
        "file": f"/file?path={path}", "memory": f"/file?path={path}&memory=1",
        "pieces": f"/pieces?promise={32 * MIB}&give={32 * MIB}",
    }[kind]
    with one_thread.connect(receive_buffer=65536) as client:
        client.request("GET", target)
        began = one_thread.wait_event("download")["at"]
        client.head()
        assert stalled(one_thread, began)
        assert len(client.read_to_end()) < 32 * MIB


def test_idle_connections_need_no_thread(make_server):
    server = make_server(threads=1, client_timeout=60).start()
    idle = [server.connect() for _ in range(50)]
    try:
        # A thread that had one of them would be back after a minute: the client gives up before.
        assert server.hello()["pid"]
        idle[7].request("GET", "/hello")
        assert idle[7].response()[0] == 200
    finally:
        for client in idle:
            client.sock.close()


def test_no_timeout_means_none(make_server):
    server = make_server(threads=1, client_timeout=None, min_transfer_rate=0).start()
    with server.connect() as client:
        client.request("PUT", "/upload", Content_Length=MIB)
        time.sleep(2.5)
        client.send(b"x" * MIB)
        assert client.response()[0] == 200


@pytest.mark.parametrize("headers", [{"Content_Length": MIB}, {"Transfer_Encoding": "chunked"}])
def test_an_upload_below_the_floor_is_cut(make_server, headers):
    server = make_server(client_timeout=60, min_transfer_rate=1000, rate_window=1).start()
    with server.connect() as client:
        client.request("PUT", "/upload", **headers)
        client.send(b"" if "Content_Length" in headers else b"fffff\r\n")
        limit = time.monotonic() + 60
        with suppress(ConnectionError):
            while time.monotonic() < limit and not server.events("cut"):
                client.send(b"x" * 10)
                time.sleep(0.05)
    assert server.wait_event("cut")["kind"] == "ClientTooSlow"
    assert "the least is 1000 bytes/s" in server.events("cut")[0]["text"]


def test_a_slow_upload_above_the_floor_completes(make_server):
    # One part in a window would be enough: what counts is that a window ends before the upload does.
    server = make_server(client_timeout=60, min_transfer_rate=10, rate_window=4).start()
    with server.connect() as client:
        client.request("PUT", "/upload", Content_Length=5000)
        for _ in range(25):
            client.send(b"x" * 200)
            time.sleep(0.2)
        assert client.response()[0] == 200


@pytest.mark.parametrize("kind", ["file", "pieces"])
def test_a_download_below_the_floor_is_cut(make_server, tmp_path, kind):
    server = make_server(client_timeout=60, min_transfer_rate=10 * MIB, rate_window=1).start()
    path = tmp_path / "image"
    path.write_bytes(b"x" * (64 * MIB))
    target = f"/file?path={path}" if kind == "file" else f"/pieces?promise={64 * MIB}&give={64 * MIB}"
    with server.connect(receive_buffer=65536) as client:
        client.request("GET", target)
        client.head()
        limit = time.monotonic() + 30
        with suppress(ConnectionError):
            while time.monotonic() < limit and "left during" not in server.log():
                client.sock.recv(50_000)
                time.sleep(0.05)
    wait_for(lambda: "the least is" in server.log())


def test_a_slow_application_is_not_the_clients_fault(make_server):
    server = make_server(client_timeout=1, min_transfer_rate=1000, rate_window=0.5).start()
    assert server.get("/slow?seconds=2")[0] == 200


def test_a_client_that_does_not_read_its_end_stops_nobody(one_thread, tmp_path):
    """Closing politely waits for the client; that must not happen where connections are accepted."""
    lingering = []
    # Two seconds for each would be more than the next client waits.
    for _ in range(20):
        client = one_thread.connect()
        client.request("PUT", "/refuse", Content_Length=10 * MIB)
        client.response()
        lingering.append(client)
    try:
        with one_thread.connect() as client:
            client.request("GET", "/hello")
            assert client.response()[0] == 200
    finally:
        for client in lingering:
            client.sock.close()


def test_a_header_above_the_limit_is_refused(make_server):
    server = make_server(max_header_line=2000).start()
    assert server.get("/hello", X_Long="x" * 1900)[0] == 200
    assert server.get("/hello", X_Long="x" * 2000)[0] == 431
    assert server.get("/" + "x" * 9000)[0] == 414


def test_without_keepalive_each_connection_serves_once(make_server):
    server = make_server(keepalive=False).start()
    with server.connect() as client:
        client.request("GET", "/hello")
        assert client.response()[1]["connection"] == "close"
        assert client.closed_within(30)


def test_s82_forwarded_headers_are_not_believed(make_server):
    server = make_server().start()
    assert server.hello(X_Forwarded_Proto="https")["scheme"] == "http"


def test_s82_forwarded_headers_are_believed_on_request(make_server):
    server = make_server(trust_proxy_headers=True).start()
    assert server.hello(X_Forwarded_Proto="https")["scheme"] == "https"
    assert server.hello()["scheme"] == "http"


def test_headers_with_underscores_are_dropped(make_server):
    """``X_Roles`` and ``X-Roles`` are the same name in the environ, so one could pass for the other."""
    server = make_server(trust_proxy_headers=True).start()
    with server.connect() as client:
        client.send(
            b"GET /hello HTTP/1.1\r\nHost: a\r\nX_Roles: admin\r\nSCRIPT_NAME: /hello\r\nX-Ok: 1\r\n"
            b"X_Image-Meta-Owner: admin\r\nX-Image-Meta-disk_format: raw\r\n\r\n"
        )
        status, _, body = client.response()
    assert status == 200
    assert b"HTTP_X_OK" in body
    # The names of v1 mean nothing else.
    assert b"HTTP_X_IMAGE_META_DISK_FORMAT" in body
    assert b"admin" not in body
