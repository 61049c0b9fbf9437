"""However many clients are slow with a request, they take no thread: all others are answered at once.

Limits of time are far beyond the test where the slow clients must not be cut, so that an answer is not owed to that.
"""

import json
import ssl
import subprocess
import time
from contextlib import ExitStack, suppress

import pytest
from tests.support.waiting import wait_for

KIB = 1024
SLOW = 80
"""More than any number of threads here, and than the default."""
PATIENT = {"header_timeout": 600, "document_timeout": 600, "client_timeout": 600}
BEGINNINGS = {
    "nothing": b"",
    "a byte": b"G",
    "half a header": b"GET /hello HTTP/1.1\r\nHost:",
    "half a document": b"POST /document HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{",
    "half a chunked document": b"POST /document HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
    "half a trailer": b"POST /document HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-A:",
    "a refused upload": b"PUT /refuse HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\nx",
}


@pytest.fixture
def crowd():
    """Connect clients that stay until the end of the test."""
    with ExitStack() as stack:
        yield lambda server, count=SLOW, **options: [
            stack.enter_context(server.connect(**options)) for _ in range(count)
        ]


@pytest.mark.parametrize("what", BEGINNINGS)
def test_slow_clients_take_no_thread(make_server, crowd, what):
    server = make_server(threads=2, **PATIENT).start()
    slow = crowd(server)
    for client in slow:
        client.send(BEGINNINGS[what])
    if what == "a refused upload":
        assert {client.response()[0] for client in slow} == {503}
    assert server.hello()["pid"]
    for client in slow:
        with suppress(ConnectionError):
            client.send(b"x")
    assert server.get("/healthcheck")[0] == 200
    with server.connect() as client:
        for _ in range(3):
            client.request("POST", "/document", Content_Length=5)
            client.send(b"12345")
            assert json.loads(client.response()[2]) == {"size": 5}


def test_slow_clients_on_connections_used_before_take_no_thread(make_server, crowd):
    server = make_server(threads=2, **PATIENT).start()
    slow = crowd(server)
    for beginning in (BEGINNINGS["half a header"], BEGINNINGS["half a document"]):
        for client in slow[:40] if "GET" in str(beginning) else slow[40:]:
            client.request("GET", "/hello")
            # In one piece with the rest of the request before, or while its thread still waits for the next.
            client.send(beginning)
            assert client.response()[0] == 200
    assert server.hello()["pid"]
    for client in slow[40:]:
        client.send(b"x" * 99)
        assert json.loads(client.response()[2]) == {"size": 100}


@pytest.mark.parametrize(("beginning", "status"), [
    ("half a header", 408), ("half a document", 408), ("half a chunked document", 408), ("half a trailer", 408),
])
def test_a_slow_request_is_answered_408_after_its_time(make_server, beginning, status):
    server = make_server(threads=1, header_timeout=1, document_timeout=1, client_timeout=600).start()
    with server.connect() as client:
        client.send(BEGINNINGS[beginning])
        answered, headers, body = client.response()
        assert (answered, headers["connection"]) == (status, "close")
        assert b"header_timeout, document_timeout" in body
        assert client.closed_within(30)
    assert not server.events("document")


def test_bytes_do_not_extend_the_time_of_a_document(make_server):
    """A floor of speed that each byte satisfies would be none."""
    server = make_server(threads=1, document_timeout=1, client_timeout=600, min_transfer_rate=0).start()
    with server.connect() as client:
        client.request("POST", "/document", Content_Length=100_000)
        limit = time.monotonic() + 60
        with suppress(ConnectionError):
            while time.monotonic() < limit:
                client.send(b"x")
                client.sock.settimeout(0.05)
                with suppress(TimeoutError):
                    client._fill()
                    break
        client.sock.settimeout(30)
        assert client.response()[0] == 408


def test_an_upload_has_the_time_of_a_transfer(make_server):
    server = make_server(threads=1, header_timeout=1, document_timeout=1, client_timeout=600).start()
    with server.connect() as client:
        client.request("PUT", "/upload", Content_Length=10)
        server.wait_event("upload")
        time.sleep(2.5)
        client.send(b"x" * 10)
        assert client.response()[0] == 200


def test_a_document_beyond_all_sizes_does_not_keep_its_thread(make_server):
    """The application reads it, which it should not: the thread is free after the time of a document."""
    server = make_server(threads=1, document_timeout=1, client_timeout=600, max_document=1000).start()
    with server.connect() as client:
        client.request("POST", "/document", Content_Length=2000)
        server.wait_event("document")
        assert server.hello()["pid"]
        assert client.response()[0] == 408
    assert server.events("cut")[0]["kind"] == "ClientTooSlow"


@pytest.mark.parametrize("headers", [{"Content_Length": 700 * KIB}, {"Transfer_Encoding": "chunked"}])
def test_a_document_is_invited_before_it_has_a_thread(make_server, headers):
    server = make_server(threads=1).start()
    body = b"x" * (700 * KIB)
    with server.connect() as client:
        for _ in range(2):
            client.request("POST", "/document", Expect="100-continue", **headers)
            assert client.head() == (100, {})
            assert not server.events("document")
            client.send(body if "Content_Length" in headers else b"af000\r\n" + body + b"\r\n0\r\n\r\n")
            status, answered, document = client.response()
            assert (status, answered["connection"]) == (200, "keep-alive")
            assert json.loads(document) == {"size": 700 * KIB}
            server.event_file.write_text("")


def test_a_document_that_ends_early_is_the_applications_to_refuse(make_server):
    server = make_server(threads=1).start()
    with server.connect() as client:
        client.send(BEGINNINGS["half a document"])
        client.sock.shutdown(1)
        assert client.response()[0] == 408
    assert server.events("cut")[0]["kind"] == "ClientDisconnected"


def test_requests_behind_a_document_and_an_unread_body_are_answered_in_order(make_server):
    server = make_server(threads=1).start()
    hello = b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"
    requests = [
        b"POST /document HTTP/1.1\r\nHost: a\r\nContent-Length: 70000\r\n\r\n" + b"x" * 70000,
        hello,
        b"POST /document HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"PUT /refuse HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n" + (hello * 2000)[:60000],
        b"GET /healthcheck HTTP/1.1\r\nHost: a\r\n\r\n",
        hello,
    ]
    with server.connect() as client:
        client.send(b"".join(requests))
        assert json.loads(client.response()[2]) == {"size": 70000}
        assert "pid" in json.loads(client.response()[2])
        assert json.loads(client.response()[2]) == {"size": 3}
        assert client.response()[0] == 503
        assert json.loads(client.response()[2]) == "OK"
        assert "pid" in json.loads(client.response()[2])


def test_the_health_check_has_a_thread_of_its_own(make_server):
    server = make_server(threads=2, stop_timeout=0, abort_grace=0).start()
    with server.connect() as one, server.connect() as two, server.connect() as checker:
        for client in (one, two):
            client.request("GET", "/slow?seconds=600")
        server.wait_event("slow", 2)
        for _ in range(3):
            checker.request("GET", "/healthcheck")
            assert checker.response()[0] == 200
        assert server.get("/healthcheck")[0] == 200


def test_the_oldest_of_too_many_slow_clients_leave(make_server, crowd):
    """More connections than the worker holds: those that come are served, those that wait for longest are told so."""
    server = make_server(threads=2, **PATIENT, most_idle=40).start()
    slow = []
    for _ in range(60):
        slow += crowd(server, 1)
        slow[-1].send(BEGINNINGS["half a header"])
    assert server.hello()["pid"]
    assert slow[0].response()[0] == 503
    idle = crowd(server, 60)
    assert server.hello()["pid"]
    assert idle[0].closed_within(30)


@pytest.mark.parametrize("encrypted", [False, True])
def test_clients_that_do_not_read_their_answer_take_no_thread(make_server, crowd, certificate, encrypted):
    trust = ssl.create_default_context(cafile=certificate["cert_file"]) if encrypted else None
    server = make_server(threads=2, **PATIENT, **(certificate if encrypted else {})).start()
    size = 8 * 1024 * KIB
    slow = crowd(server, 10, receive_buffer=65536, tls=trust)
    for client in slow:
        client.request("GET", f"/large?size={size}")
        client.request("GET", "/hello")
    server.wait_event("large", 10)
    assert server.hello(trust)["pid"]
    for client in slow[:3]:
        assert json.loads(client.response()[2]) == "x" * size
        assert json.loads(client.response()[2])["pid"]
    slow[3].request("GET", "/hello", Connection="close")
    assert json.loads(slow[3].response()[2]) == "x" * size
    assert [slow[3].response()[1]["connection"] for _ in range(2)] == ["keep-alive", "close"]
    with server.connect(trust, receive_buffer=65536) as last:
        last.request("GET", f"/large?size={size}", Connection="close")
        assert json.loads(last.response()[2]) == "x" * size
        assert last.closed_within(30)


def test_answers_that_are_not_taken_cannot_fill_the_memory(make_server, crowd):
    size = 16 * 1024 * KIB
    # One thread never waits, so that the clients enter in their order.
    server = make_server(threads=1, **PATIENT, most_held=2 * size).start()
    slow = crowd(server, 10, receive_buffer=65536)
    for client in slow:
        client.request("GET", f"/large?size={size}")
        # It was handed over then, except for what the kernel took, which is much less.
        client.headers = client.head()[1]
    wait_for(lambda: "is dismissed: too many clients are slow" in server.log(), "the end of the first")
    assert len(slow[0].read_to_end()) < size
    assert json.loads(slow[9].rest(slow[9].headers)) == "x" * size


def test_an_answer_that_is_not_taken_ends_with_the_time_that_the_floor_allows(make_server):
    size = 8 * 1024 * KIB
    server = make_server(threads=1, client_timeout=600, min_transfer_rate=size, rate_window=1).start()
    with server.connect(receive_buffer=65536) as client:
        client.request("GET", f"/large?size={size}")
        server.wait_event("large")
        wait_for(lambda: "the answer was not taken in time" in server.log(), "the end of patience")
        assert len(client.read_to_end()) < size


def test_slow_clients_cannot_fill_the_memory(make_server, crowd):
    server = make_server(threads=1, **PATIENT, max_document=1024 * KIB, most_held=4096 * KIB).start()
    slow = crowd(server, 10)
    for client in slow:
        client.request("POST", "/document", Content_Length=1000 * KIB)
        with suppress(ConnectionError):
            client.send(b"x" * (900 * KIB))
    assert slow[0].response()[0] == 503
    slow[9].send(b"x" * (100 * KIB))
    assert json.loads(slow[9].response()[2]) == {"size": 1000 * KIB}
    assert server.hello()["pid"]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    home = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost", "-keyout", f"{home}/key", "-out", f"{home}/crt"],
        check=True, capture_output=True,
    )
    return {"cert_file": f"{home}/crt", "key_file": f"{home}/key"}


@pytest.mark.parametrize("stall", ["before the handshake", "in the handshake", "in the header", "in a document"])
def test_slow_clients_of_tls_take_no_thread(make_server, crowd, certificate, stall):
    server = make_server(threads=2, **PATIENT, **certificate).start()
    trust = ssl.create_default_context(cafile=certificate["cert_file"])
    in_tls = stall in ("in the header", "in a document")
    slow = crowd(server, **({"tls": trust} if in_tls else {}))
    sent = {
        "before the handshake": b"", "in the handshake": b"\x16\x03\x01",
        "in the header": BEGINNINGS["half a header"], "in a document": BEGINNINGS["half a document"],
    }[stall]
    for client in slow:
        client.send(sent)
    assert server.get("/healthcheck", trust)[0] == 200
    assert server.hello(trust)["pid"]
    if stall == "in a document":
        slow[5].send(b"x" * 99)
        assert json.loads(slow[5].response()[2]) == {"size": 100}


def test_a_slow_handshake_ends_with_its_time(make_server, certificate):
    server = make_server(threads=1, header_timeout=1, client_timeout=600, **certificate).start()
    with server.connect() as client:
        client.send(b"\x16\x03\x01")
        assert client.closed_within(30)
    wait_for(lambda: server.get("/hello", ssl.create_default_context(cafile=certificate["cert_file"]))[0] == 200)


def test_a_connection_of_tls_may_be_opened_before_it_is_needed(make_server, certificate):
    server = make_server(threads=1, header_timeout=1, **certificate).start()
    with server.connect(ssl.create_default_context(cafile=certificate["cert_file"])) as client:
        time.sleep(2.5)
        client.request("GET", "/hello")
        assert client.response()[0] == 200
