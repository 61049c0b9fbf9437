"""Answers from files that grow: many of them with few threads, at the pace of the file and of each client."""

import os
import re
import signal
import ssl
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.support.certificates import server_certificate
from tests.support.raw_data import random_bytes
from tests.support.waiting import wait_for

MIB = 1024 * 1024
CLIENTS = 60
DATA = random_bytes(5 * MIB)
TARGET = "/growing?path={path}&size={size}"


@pytest.fixture
def path(tmp_path):
    """A file that has not begun to grow."""
    made = tmp_path / "growing"
    made.touch()
    return made


@pytest.fixture
def server(make_server):
    return make_server(threads=4, min_transfer_rate=0).start()


def target(path, size=None):
    return TARGET.format(path=path, size=size or len(DATA))


def grow(path, data):
    with path.open("ab") as file:
        file.write(data)


def taken(client, count):
    """Return the next bytes."""
    return client.rest({"content-length": count})


def test_many_clients_follow_with_few_threads_and_other_requests_are_answered(server, path):
    with ThreadPoolExecutor(CLIENTS) as pool:
        running = [pool.submit(server.get, target(path)) for _ in range(CLIENTS)]
        server.wait_event("growing", CLIENTS)
        assert server.get("/hello")[0] == 200, "while no byte is there"
        grow(path, DATA[:MIB])
        assert server.get("/hello")[0] == 200
        grow(path, DATA[MIB:])
        assert [answer.result()[0::2] == (200, DATA) for answer in running] == [True] * CLIENTS
    server.wait_event("closed", CLIENTS)


def test_bytes_come_as_soon_as_they_are_there_and_the_connection_is_kept(server, path):
    with server.connect() as client:
        client.request("GET", target(path))
        server.wait_event("growing")
        grow(path, DATA[:1000])
        assert client.head()[0] == 200
        assert taken(client, 1000) == DATA[:1000]
        grow(path, DATA[1000:])
        assert taken(client, len(DATA) - 1000) == DATA[1000:]
        client.request("GET", "/hello")
        assert client.response()[0] == 200


def test_a_client_that_takes_nothing_holds_up_no_other_and_is_cut(make_server, path):
    server = make_server(threads=1, client_timeout=6).start()
    grow(path, DATA * 8)
    with server.connect(receive_buffer=65536) as idle:
        idle.request("GET", target(path, 8 * len(DATA)))
        server.wait_event("growing")
        assert server.get(target(path))[2] == DATA
        server.wait_event("closed", 2)
    assert re.search(r"no byte moved for \d+ s", server.log())


def test_the_lowest_rate_holds(make_server, path):
    server = make_server(min_transfer_rate=10**9, rate_window=0.5).start()
    grow(path, DATA * 8)
    with server.connect(receive_buffer=65536) as idle:
        idle.request("GET", target(path, 8 * len(DATA)))
        server.wait_event("closed")
    assert "the least is 1000000000 bytes/s" in server.log()


def test_clients_that_leave_are_noticed(server, path):
    grow(path, DATA * 8)
    for _ in range(8):
        with server.connect(receive_buffer=65536) as client:
            client.request("GET", target(path, 8 * len(DATA)))
            assert client.head()[0] == 200
    server.wait_event("closed", 8)
    assert server.get("/hello")[0] == 200


def test_what_the_file_cannot_give_comes_from_a_thread(server, path, tmp_path):
    grow(path, DATA[:MIB])
    (tmp_path / "growing.full").touch()
    (tmp_path / "growing.end").touch()
    with server.connect() as client:
        client.request("GET", target(path))
        assert client.head()[0] == 200
        assert taken(client, MIB) == DATA[:MIB]
        assert server.get("/hello")[0] == 200
        assert not server.events("resumed"), "the rest was not admitted yet"
        (tmp_path / "growing.full").unlink()
        assert taken(client, len(DATA) - MIB) == b"r" * (len(DATA) - MIB)
        client.request("GET", "/hello")
        assert client.response()[0] == 200


def test_a_failure_before_the_first_byte_is_a_503(server, path, tmp_path):
    (tmp_path / "growing.end").touch()
    status, headers, body = server.get(target(path) + "&fail=1")
    assert (status, headers["connection"]) == (503, "close")
    assert b"fire" not in body
    grow(path, DATA[:MIB])
    with server.connect() as client:
        client.request("GET", target(path) + "&fail=1")
        assert client.head()[0] == 200
        assert client.read_to_end() == DATA[:MIB]
    assert server.log().count("was cut") == 2


def test_a_file_that_is_shorter_than_it_says_ends_the_connection(server, path):
    grow(path, DATA * 8)
    with server.connect(receive_buffer=65536) as client:
        client.request("GET", target(path, 8 * len(DATA)))
        assert client.head()[0] == 200
        os.truncate(path, 8 * len(DATA) - MIB)
        assert len(client.read_to_end()) < 8 * len(DATA)
    server.wait_event("closed")


def test_a_stop_ends_those_who_wait(server, path):
    grow(path, DATA[:MIB])
    with server.connect() as client, server.connect() as other:
        for each in (client, other):
            each.request("GET", target(path))
            assert each.head()[0] == 200
            assert taken(each, MIB) == DATA[:MIB]
        server.signal(signal.SIGTERM)
        assert client.read_to_end() == other.read_to_end() == b""
        assert server.process.wait(60) == 0
    assert len(server.events("closed")) == 2


def test_a_stop_tells_those_who_have_got_nothing(server, path):
    with server.connect() as client:
        client.request("GET", target(path))
        server.wait_event("growing")
        server.signal(signal.SIGTERM)
        assert client.response()[0] == 503
        assert server.process.wait(60) == 0
    assert "was cut: the server stops" in server.log()


def test_a_reload_lets_them_end(server, path):
    grow(path, DATA[:MIB])
    with server.connect() as client:
        client.request("GET", target(path))
        assert client.head()[0] == 200
        old = server.workers()
        server.reload(tag="new")
        wait_for(lambda: server.get("/hello")[0] == 200, "the new worker")
        grow(path, DATA[MIB:])
        assert taken(client, len(DATA)) == DATA
    wait_for(lambda: not set(old) & set(server.workers()), "the end of the old worker")


def test_with_tls(make_server, path, tmp_path):
    authority, _ = server_certificate(tmp_path, "localhost")
    server = make_server(cert_file=str(authority), key_file=str(tmp_path / "localhost.key")).start()
    trust = ssl.create_default_context(cafile=authority)
    with server.connect(tls=trust, receive_buffer=65536) as client:
        client.request("GET", target(path))
        server.wait_event("growing")
        grow(path, DATA)
        assert client.response()[2] == DATA
