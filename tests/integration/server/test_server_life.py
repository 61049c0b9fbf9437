"""Start, reload, stop, and what happens when the master dies."""

import os
import signal
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from deploy.local import processes
from tests.support.waiting import wait_for

MIB = 1024 * 1024


def begin_upload(server, client, size=2 * MIB):
    """Start an upload and wait until the application reads it."""
    seen = len(server.events("upload"))
    client.request("PUT", "/upload", Content_Length=size)
    client.send(b"x" * (size // 2))
    server.wait_event("upload", seen + 1)


def failed_start(server, seconds=60):
    server.start(ready=False)
    status = server.process.wait(seconds)
    return status, [line for line in server.log().splitlines() if line.startswith("ERROR: ")]


def test_term_lets_a_transfer_finish(make_server):
    server = make_server(stop_timeout=60).start()
    with server.connect() as client:
        begin_upload(server, client)
        server.signal(signal.SIGTERM)
        wait_for(server.refuses, what="the begin of the stop")
        client.send(b"x" * MIB)
        status, headers, _ = client.response()
        assert (status, headers["connection"]) == (200, "close")
    assert server.process.wait(30) == 0
    assert len(server.events("stopped")) == 1


def test_term_refuses_new_connections_and_tells_the_application(make_server):
    server = make_server(stop_timeout=60)
    server.configure(stop_linger=60)
    server.start()
    with server.connect() as kept, server.connect() as busy:
        kept.request("GET", "/hello")
        assert b'"stopping": false' in kept.response()[2]
        begin_upload(server, busy)
        server.signal(signal.SIGTERM)
        wait_for(server.refuses, what="the end of new connections")
        kept.request("GET", "/hello")
        status, headers, body = kept.response()
        assert (status, headers["connection"]) == (200, "close")
        assert b'"stopping": true' in body
        busy.send(b"x" * MIB)
        assert busy.response()[0] == 200
    assert server.process.wait(30) == 0


def test_a_balancer_learns_of_the_stop_before_it_and_is_served_meanwhile(make_server):
    server = make_server(drain_time=3600).start()
    with server.connect() as kept, server.connect() as busy:
        begin_upload(server, busy)
        server.signal(signal.SIGTERM)
        wait_for(lambda: server.get("/healthcheck")[0] == 503, what="the begin of the drain")
        kept.request("GET", "/hello")
        status, headers, body = kept.response()
        assert (status, headers["connection"]) == (200, "close")
        assert b'"stopping": false' in body
        with server.connect() as late:
            begin_upload(server, late)
            late.send(b"x" * MIB)
            assert late.response()[0] == 200
        os.kill(server.workers()[0], signal.SIGKILL)
        wait_for(lambda: server.workers() and server.get("/healthcheck")[0] == 503, what="the next worker")
        assert server.process.poll() is None
    server.signal(signal.SIGQUIT)
    assert server.process.wait(30) == 0


def test_the_stop_follows_the_drain(make_server):
    server = make_server(drain_time=0.5).start()
    assert server.get("/healthcheck")[0] == 200
    assert server.stop() == 0
    assert len(server.events("stopped")) == 1


def test_an_interrupt_does_not_wait_for_a_balancer(make_server):
    server = make_server(drain_time=3600).start()
    server.signal(signal.SIGINT)
    assert server.process.wait(30) == 0


def test_term_aborts_what_does_not_finish_and_lets_it_clean_up(make_server):
    server = make_server(stop_timeout=1, client_timeout=60).start()
    with server.connect() as client:
        client.request("PUT", "/upload?cleanup=1", Content_Length=2 * MIB)
        client.send(b"x" * MIB)
        server.wait_event("upload")
        started = time.monotonic()
        assert server.stop() == 0
        assert 2 <= time.monotonic() - started < 30
    assert server.events("cut")[0]["aborting"] is True
    assert server.events("cleaned")
    assert server.events("stopped")


def test_term_aborts_a_download_that_does_not_finish(make_server):
    server = make_server(stop_timeout=1, client_timeout=60).start()
    with server.connect(receive_buffer=65536) as client:
        client.request("GET", f"/pieces?promise={64 * MIB}&give={64 * MIB}")
        server.wait_event("download")
        assert server.stop() == 0
    assert server.events("closed")


def test_a_request_that_cannot_be_aborted_does_not_hold_the_stop(make_server):
    server = make_server(stop_timeout=0.5, abort_grace=1).start()
    with server.connect() as client:
        client.request("GET", "/slow?seconds=60")
        server.wait_event("slow")
        started = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - started < 30
    assert "did not end" in server.log()


def test_a_stopped_worker_does_not_hold_the_stop_for_ever(make_server):
    server = make_server(stop_timeout=0, abort_grace=0).start()
    os.kill(server.workers()[0], signal.SIGSTOP)
    assert server.stop() == 0


def test_a_second_interrupt_aborts_at_once(make_server):
    server = make_server(stop_timeout=60, client_timeout=60).start()
    with server.connect() as client:
        begin_upload(server, client)
        server.signal(signal.SIGINT)
        wait_for(server.refuses, what="the begin of the stop")
        assert server.process.poll() is None
        server.signal(signal.SIGINT)
        assert server.process.wait(30) == 0
    assert server.events("cut")[0]["aborting"] is True


def test_quit_aborts_at_once_and_ends_in_order(make_server):
    server = make_server(stop_timeout=60, client_timeout=60).start()
    with server.connect() as client:
        begin_upload(server, client)
        server.signal(signal.SIGQUIT)
        assert server.process.wait(30) == 0
    assert server.events("cut")[0]["aborting"] is True
    assert "Traceback" not in server.log()


def test_an_interrupt_to_the_whole_group_stops_like_term(make_server):
    server = make_server(stop_timeout=60).start()
    with server.connect() as client:
        begin_upload(server, client)
        os.killpg(server.process.pid, signal.SIGINT)
        wait_for(server.refuses, what="the begin of the stop")
        client.send(b"x" * MIB)
        assert client.response()[0] == 200
    assert server.process.wait(30) == 0


def next_hello(server, old):
    """Return what a worker says that is not the old one."""
    document = server.hello()
    return document if document["pid"] != old else None


def test_hup_serves_with_the_new_configuration_while_old_transfers_finish(make_server, tmp_path):
    path = tmp_path / "image"
    path.write_bytes(bytes(range(256)) * 4 * 32 * 1024)
    server = make_server(client_timeout=60).start()
    old = server.hello()["pid"]
    with server.connect() as upload, server.connect(receive_buffer=65536) as download:
        begin_upload(server, upload)
        download.request("GET", f"/file?path={path}")
        _, headers = download.head()
        server.reload(tag="new", settings=server.config["settings"] | {"threads": 7})
        document = wait_for(lambda: next_hello(server, old), what="the end of the old worker's accepting")
        assert document["tag"] == "new"
        assert set(server.workers()) == {old, document["pid"]}
        upload.send(b"x" * MIB)
        assert upload.response()[0] == 200
        assert download.rest(headers) == path.read_bytes()
    wait_for(lambda: server.workers() == [document["pid"]], what="the end of the old worker")
    assert [event["pid"] for event in server.events("stopped")] == [old]


def test_hup_loses_no_request(make_server):
    server = make_server(workers=2)
    # A busy machine may hold up a client between its connection and its request.
    server.configure(stop_linger=60)
    server.start()
    failures, served, done, known = [], [], threading.Event(), set()

    def client():
        while not done.is_set():
            try:
                served.append(server.hello()["pid"])
            except Exception as error:
                failures.append(repr(error))

    threads = [threading.Thread(target=client) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for tag in range(3):
            known.update(server.workers())
            wait_for(lambda: failures or known & set(served), what="an answer")
            server.reload(tag=tag)
            wait_for(lambda: failures or set(served) - known, what="an answer of the new workers")
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert failures == []


def test_hup_to_the_whole_group_is_a_reload(make_server):
    """logrotate and terminals signal every process, not only the master."""
    server = make_server(client_timeout=60).start()
    old = server.workers()
    with server.connect() as client:
        begin_upload(server, client)
        os.killpg(server.process.pid, signal.SIGHUP)
        wait_for(lambda: server.log().count("Ready: ") == 2)
        wait_for(lambda: server.hello()["pid"] not in old, what="the end of the old workers' accepting")
        client.send(b"x" * MIB)
        assert client.response()[0] == 200
    wait_for(lambda: len(server.workers()) == 1)


def test_a_supervisor_that_takes_no_messages_stops_nothing(make_server, tmp_path):
    """The kernel keeps only a few of them, and lets the sender of the next one wait."""
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as deaf:
        deaf.bind(address)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as others, suppress(BlockingIOError):
            others.setblocking(False)
            while True:
                others.sendto(b"STATUS=", address)
        server = make_server().start(environ={"NOTIFY_SOCKET": address})
        server.reload(tag="new")
        wait_for(lambda: server.hello()["tag"] == "new", what="the end of the reload")
    server.signal(signal.SIGTERM)
    assert server.process.wait(60) == 0
    assert "systemd cannot be notified: timed out" in server.log()


def test_hup_gives_old_workers_a_limit(make_server):
    server = make_server(graceful_timeout=1, client_timeout=60).start()
    with server.connect() as client:
        begin_upload(server, client)
        server.reload(tag="new")
        assert server.wait_event("cut")["aborting"] is True
    wait_for(lambda: len(server.workers()) == 1)
    assert server.hello()["tag"] == "new"


def test_term_after_hup_reaches_the_old_workers(make_server):
    server = make_server(stop_timeout=1, client_timeout=60).start()
    with server.connect() as client:
        begin_upload(server, client)
        server.reload(tag="new")
        assert server.stop() == 0
    assert server.events("cut")[0]["aborting"] is True
    assert len(server.events("stopped")) == 2


@pytest.mark.parametrize("trouble", ["refuse", "broken", "dies"])
def test_hup_with_a_bad_configuration_changes_nothing(make_server, trouble):
    server = make_server(workers=2).start()
    server.configure(tag="old")
    before = set(server.workers())
    with server.connect() as client:
        begin_upload(server, client)
        server.reload(tag="bad", **{trouble: "bad"})
        client.send(b"x" * MIB)
        assert client.response()[0] == 200
    wait_for(lambda: set(server.workers()) == before, what="the old workers alone")
    assert server.hello()["tag"] is None
    server.reload(tag="good", **{trouble: ""})
    wait_for(lambda: server.hello()["tag"] == "good", what="the end of the old workers' accepting")


def test_a_killed_worker_is_replaced(make_server):
    server = make_server().start()
    killed = server.workers()[0]
    os.kill(killed, signal.SIGKILL)
    wait_for(lambda: killed not in server.workers() and len(server.workers()) == 1)
    assert server.hello()["pid"] != killed


def test_a_replacement_that_cannot_start_is_tried_again_while_the_others_serve(make_server):
    server = make_server(workers=2).start()
    broken = server.directory / "broken"
    broken.touch()
    first = server.workers()
    killed = first[0]
    os.kill(killed, signal.SIGKILL)

    def failures():
        return server.log().count("A worker cannot start: broken for a while")

    wait_for(lambda: failures() >= 2)
    assert server.hello()["pid"] != killed
    broken.unlink()
    wait_for(lambda: server.hello()["pid"] not in first, what="the replacement")
    assert len(server.events("factory")) == 3 + failures(), "two at first, the failures, one success"
    tries = [event["at"] for event in server.events("factory")[2:]]
    assert tries[1] - tries[0] > 0.9, "a pause comes before the next try"
    assert tries[2] - tries[1] > 1.9, "and a longer one before the one after it"


def test_workers_end_when_the_master_is_killed_and_a_new_one_can_bind(make_server):
    server = make_server(workers=2, bind_patience=60).start()
    orphans = server.workers()
    server.signal(signal.SIGKILL)
    server.process.wait()
    server.log_file.write_text("")
    server.start()
    assert server.hello()["pid"] not in orphans
    wait_for(lambda: not any(map(processes.is_running, orphans)), what="the end of the orphans")


def test_an_address_in_use_is_tried_again_then_an_error(make_server):
    server = make_server(bind_patience=1)
    with socket.create_server(("127.0.0.1", server.port)):
        started = time.monotonic()
        status, errors = failed_start(server)
        assert time.monotonic() - started >= 1
    assert status == 1
    assert errors == [f"ERROR: test-server: cannot listen on 127.0.0.1:{server.port}: Address already in use"]


def test_an_address_that_becomes_free_is_taken(make_server):
    server = make_server(bind_patience=60)
    with socket.create_server(("127.0.0.1", server.port)):
        server.start(ready=False)
        wait_for(lambda: "is in use" in server.log())
    wait_for(lambda: "Ready: " in server.log())


def test_an_address_of_another_machine_is_an_error_at_once(make_server):
    status, errors = failed_start(make_server(host="192.0.2.1", bind_patience=120))
    assert status == 1
    assert "Cannot assign requested address" in errors[0]


@pytest.mark.parametrize(
    ("config", "words"),
    [({"broken": "bad"}, "[DEFAULT] tag = bad: is broken"), ({"dies": 1}, "a worker process died while it started")],
)
def test_a_worker_that_cannot_start_ends_the_start(make_server, config, words):
    server = make_server(workers=3)
    server.configure(**config)
    status, errors = failed_start(server)
    assert status == 1
    assert errors == [f"ERROR: test-server: {words}"]
    assert len(server.events("factory")) <= 3
    assert "Traceback" not in server.log()


def test_files_are_not_for_everybody(make_server):
    server = make_server().start()
    lines = Path(f"/proc/{server.workers()[0]}/status").read_text().splitlines()
    assert "Umask:\t0027" in lines


@pytest.fixture
def notify_socket(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(30)
        yield sock


def test_systemd_hears_of_start_reload_and_stop(make_server, notify_socket):
    server = make_server()
    server.start(ready=False, environ={"NOTIFY_SOCKET": notify_socket.getsockname()})
    assert notify_socket.recv(4096).startswith(b"READY=1")
    assert server.hello()["pid"], "serving when it says so"
    server.reload(tag="new")
    assert notify_socket.recv(4096).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
    assert notify_socket.recv(4096).startswith(b"READY=1")
    server.reload(refuse="bad")
    assert notify_socket.recv(4096).startswith(b"RELOADING=1")
    assert notify_socket.recv(4096) == b"READY=1"
    server.stop()
    assert notify_socket.recv(4096) == b"STOPPING=1"
