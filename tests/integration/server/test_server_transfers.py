"""Bodies and responses arrive whole or visibly broken."""

import hashlib
import json
import os
import random
import socket

import pytest
from tests.support.waiting import wait_for

MIB = 1024 * 1024
DATA = random.Random(5).randbytes(5 * MIB + 12345)
DIGEST = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def server(make_server):
    return make_server().start()


def chunked(data, size):
    pieces = (data[start : start + size] for start in range(0, len(data), size))
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def test_an_upload_of_known_length_comes_in_pieces_and_the_connection_stays(server):
    with server.connect() as client:
        for _ in range(2):
            client.request("PUT", "/upload", Content_Length=len(DATA))
            client.send(DATA)
            status, headers, body = client.response()
            assert (status, headers["connection"]) == (200, "keep-alive")
            document = json.loads(body)
            assert document["sizes"] == [MIB] * 5 + [12345]
            assert document["sha256"] == DIGEST


def test_requests_sent_behind_an_upload_are_answered_in_order(server):
    head = f"PUT /upload HTTP/1.1\r\nHost: a\r\nContent-Length: {len(DATA)}\r\n\r\n".encode()
    with server.connect() as client:
        client.send(head + DATA + b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n" + head + DATA)
        assert json.loads(client.response()[2])["sha256"] == DIGEST
        assert "tag" in json.loads(client.response()[2])
        assert json.loads(client.response()[2])["sha256"] == DIGEST


@pytest.mark.parametrize("size", [1, 777, 65536, MIB, MIB + 1, 10 * MIB])
def test_chunks_of_any_size_come_in_the_same_pieces(server, size):
    data = DATA[:200_000] if size == 1 else DATA
    with server.connect() as client:
        client.request("PUT", "/upload", Transfer_Encoding="chunked")
        client.send(chunked(data, size))
        document = json.loads(client.response()[2])
        assert document["sha256"] == hashlib.sha256(data).hexdigest()
        assert all(length == MIB for length in document["sizes"][:-1])
        client.request("GET", "/hello")
        assert client.response()[0] == 200


def test_a_body_without_a_length_is_empty(server):
    with server.connect() as client:
        client.request("PUT", "/upload")
        assert json.loads(client.response()[2])["sizes"] == []


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"Content_Length": 1000}, b"x" * 999),
        ({"Content_Length": 3 * MIB}, b"x" * (2 * MIB)),
        ({"Content_Length": 10}, b""),
        ({"Transfer_Encoding": "chunked"}, b"5\r\nhello\r\n"),
        ({"Transfer_Encoding": "chunked"}, b"5\r\nhel"),
        ({"Transfer_Encoding": "chunked"}, b"5\r\nhello\r\n0\r\n"),
        ({"Transfer_Encoding": "chunked"}, b"5\r\nhello\r\nzz\r\n"),
    ],
)
def test_a_body_that_stops_early_is_a_disconnect(server, headers, body):
    with server.connect() as client:
        client.request("PUT", "/upload", **headers)
        client.send(body)
        client.sock.shutdown(socket.SHUT_WR)
        status, answered, _ = client.response()
        assert (status, answered["connection"]) == (400, "close")
        assert client.closed_within(30)
    assert server.wait_event("cut")["kind"] == "ClientDisconnected"


def test_a_client_that_vanishes_in_an_upload_is_a_disconnect(server):
    with server.connect() as client:
        client.request("PUT", "/upload", Content_Length=len(DATA))
        client.send(DATA[: 2 * MIB])
        server.wait_event("upload")
    assert server.wait_event("cut")["kind"] == "ClientDisconnected"
    assert server.events("uploaded") == []


@pytest.mark.parametrize("memory", ["", "&memory=1"])
def test_a_file_is_downloaded_whole_or_from_an_offset(server, tmp_path, memory):
    path = tmp_path / "image"
    path.write_bytes(DATA)
    with server.connect() as client:
        client.request("GET", f"/file?path={path}{memory}")
        assert client.response()[2] == DATA
        client.request("GET", f"/file?path={path}&offset=1000000&promise=70000{memory}")
        assert client.response()[2] == DATA[1_000_000:1_070_000]
        client.request("HEAD", f"/file?path={path}{memory}")
        assert client.head()[1]["content-length"] == str(len(DATA))
        client.request("GET", "/hello")
        assert client.response()[0] == 200


@pytest.mark.parametrize(
    "target",
    [
        "/file?path={path}&promise=6000000", "/file?path={path}&promise=6000000&memory=1",
        "/pieces?promise=6000000&give=5000000", "/pieces?promise=100&give=0",
        "/pieces?promise=6000000&give=5000000&fail=1",
    ],
)
def test_a_response_shorter_than_promised_closes_the_connection(server, tmp_path, target):
    """The client must not take the next response for the rest of the body."""
    path = tmp_path / "image"
    path.write_bytes(DATA)
    with server.connect() as client:
        client.request("GET", target.format(path=path))
        client.request("GET", "/hello")
        status, headers = client.head()
        body = client.read_to_end()
    assert status == 200
    assert len(body) < int(headers["content-length"])
    assert b"HTTP/1.1" not in body


def test_a_chunked_response_that_fails_has_no_last_chunk(server):
    with server.connect() as client:
        client.request("GET", "/pieces?give=5000000&fail=1")
        assert client.head()[1]["transfer-encoding"] == "chunked"
        body = client.read_to_end()
    assert len(body) > 5_000_000
    assert not body.endswith(b"0\r\n\r\n")
    server.wait_event("closed")


def test_a_file_that_shrinks_while_it_is_sent_closes_the_connection(server, tmp_path):
    path = tmp_path / "image"
    path.write_bytes(b"x" * (64 * MIB))
    with server.connect(receive_buffer=65536) as client:
        client.request("GET", f"/file?path={path}")
        client.head()
        os.truncate(path, 32 * MIB)
        body = client.read_to_end()
    assert len(body) <= 32 * MIB
    wait_for(lambda: "was cut" in server.log())


def test_more_bytes_than_promised_are_not_sent(server):
    with server.connect() as client:
        client.request("GET", "/pieces?promise=10&give=100")
        assert client.response()[2] == b"x" * 10
        client.request("GET", "/hello")
        assert client.response()[0] == 200


def test_a_defect_before_the_response_is_a_500(server):
    status, headers, body = server.get("/fail")
    assert (status, headers["connection"]) == (500, "close")
    assert b"defect" not in body


def test_a_refused_upload_is_answered_without_reading_it(server):
    with server.connect() as client:
        client.request("PUT", "/refuse", Content_Length=10 * 1024 * MIB)
        status, headers, _ = client.response()
        assert (status, headers["connection"]) == (503, "close")
        client.sock.close()


@pytest.mark.parametrize("size", [32, 256])
def test_a_refused_upload_of_any_size_does_not_lose_its_answer(server, size):
    """Many clients send all of a body before they read; a reset would take the answer from them."""
    with server.connect() as client:
        client.request("PUT", "/refuse", Content_Length=size * MIB)
        for _ in range(size):
            client.send(bytes(MIB))
        assert client.response()[0] == 503


def test_a_client_that_sends_for_ever_is_cut(make_server):
    server = make_server(linger_seconds=1).start()
    with server.connect() as client:
        client.request("PUT", "/refuse", Content_Length=1 << 50)
        with pytest.raises(OSError, match=r"reset|Broken pipe"):
            send_for_ever(client)


def send_for_ever(client):
    while True:
        client.send(bytes(MIB))


def test_a_refused_chunked_upload_is_told_that_the_connection_ends(server):
    with server.connect() as client:
        client.request("PUT", "/refuse", Transfer_Encoding="chunked")
        client.send(b"a\r\n0123456789\r\n")
        status, headers, _ = client.response()
        assert (status, headers["connection"]) == (503, "close")


def test_a_refused_upload_is_never_invited(server):
    with server.connect() as client:
        client.request("PUT", "/refuse", Content_Length=1000, Expect="100-continue")
        status, headers, _ = client.response()
        assert (status, headers["connection"]) == (503, "close")


@pytest.mark.parametrize("headers", [{"Content_Length": len(DATA)}, {"Transfer_Encoding": "chunked"}])
def test_a_wanted_upload_is_invited_when_it_is_read(server, headers):
    with server.connect() as client:
        client.request("PUT", "/upload", Expect="100-continue", **headers)
        assert client.head() == (100, {})
        client.send(DATA if "Content_Length" in headers else chunked(DATA, MIB))
        status, headers, body = client.response()
        assert (status, headers["connection"]) == (200, "keep-alive")
        assert json.loads(body)["sha256"] == DIGEST


def test_a_small_unread_body_does_not_cost_the_connection(server):
    with server.connect() as client:
        client.request("POST", "/hello", Content_Length=3000)
        client.send(b"x" * 3000)
        assert client.response()[1]["connection"] == "keep-alive"
        client.request("GET", "/hello")
        assert client.response()[0] == 200


def test_the_application_hears_of_a_client_that_leaves_in_a_download(server):
    with server.connect(receive_buffer=65536) as client:
        client.request("GET", f"/pieces?promise={1024 * MIB}&give={1024 * MIB}")
        client.head()
    server.wait_event("closed")
    wait_for(lambda: "left during GET /pieces" in server.log())
