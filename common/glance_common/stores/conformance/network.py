"""What every store behind a network promises when its server is away, hangs, or is the wrong one."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from uuid import uuid4

import pytest

from glance_common.stores.conformance.harness import DATA, RemoteHarness
from glance_common.stores.contract import BlobNotFound, Store, StoreError, StoreUnavailable

PATIENCE = 60.0
"""Seconds beyond twice the timeout that a call may take on a machine with much other work."""


def _calls(store: Store, key: str) -> list[tuple[str, Callable[[], object]]]:
    return [
        ("open", lambda: store.open(key)),
        ("size", lambda: store.size(key)),
        ("delete", lambda: store.delete(key)),
        # A new key: that of a row need not be one that ``add`` takes.
        ("add", lambda: store.add(str(uuid4()), iter([b"data"]), 4)),
        ("walk", lambda: list(store.walk())),
        ("check", store.check),
        ("identity", store.identity),
    ]


def _all_unavailable(store: Store, key: str, within: float) -> None:
    for name, call in _calls(store, key):
        began = time.monotonic()
        with pytest.raises(StoreUnavailable) as caught:
            call()
        assert time.monotonic() - began < within, name
        assert "secret" not in str(caught.value).lower()


def _all_unavailable_side_by_side(store: Store, key: str, within: float) -> None:
    """The same for calls that each wait for the timeout."""
    calls = _calls(store, key)
    began = time.monotonic()
    with ThreadPoolExecutor(len(calls)) as pool:
        made = {name: pool.submit(call) for name, call in calls}
    assert time.monotonic() - began < within
    for name, call in made.items():
        error = call.exception()
        assert isinstance(error, StoreUnavailable), f"{name}: {error!r}"
        assert "secret" not in str(error).lower()


def test_the_first_piece_is_small(remote: RemoteHarness) -> None:
    """It leaves at once; a large one would have to come in first."""
    key = remote.put(bytes(2 * remote.first_piece + 5))
    for offset in (0, remote.first_piece + 1):
        with closing(remote.store.open(key, offset)) as blob:
            assert len(next(iter(blob))) <= remote.first_piece


def test_nothing_listens(remote: RemoteHarness) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    _all_unavailable_side_by_side(remote.at(port), remote.new_key(), 2 * remote.timeout + PATIENCE)


def test_a_server_that_accepts_and_never_answers(remote: RemoteHarness) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=100) as silent:
        store = remote.at(silent.getsockname()[1])
        _all_unavailable_side_by_side(store, remote.new_key(), 2 * remote.timeout + PATIENCE)


def test_a_missing_place_is_no_empty_store(remote: RemoteHarness) -> None:
    _all_unavailable(remote.without_place(), remote.new_key(), PATIENCE)


def test_wrong_credentials(remote: RemoteHarness) -> None:
    key = remote.put(DATA)
    _all_unavailable(remote.with_wrong_credentials(), key, PATIENCE)
    assert remote.read(key) == DATA


def test_an_exchanged_place_is_no_empty_store(remote: RemoteHarness) -> None:
    key = remote.put(DATA)
    other = remote.exchanged()
    _all_unavailable(other, remote.new_key(), PATIENCE)
    assert remote.read(key) == DATA


def test_a_killed_writer_leaves_nothing_behind_its_delete(remote: RemoteHarness) -> None:
    key, other = remote.new_key(), remote.put(DATA)
    remote.write_until_killed(key)
    assert list(remote.unfinished()), "it was killed in the middle"
    with pytest.raises(BlobNotFound):
        remote.store.open(key)
    with pytest.raises(BlobNotFound):
        remote.delete(key)
    assert list(remote.unfinished()) == []
    assert [entry.key for entry in remote.store.walk()] == [other]
    assert remote.read(other) == DATA


@pytest.mark.parametrize("ends", [True, False], ids=["ends", "hangs"])
def test_a_connection_that_breaks_in_the_middle_of_a_read(remote: RemoteHarness, ends: bool) -> None:
    data = DATA * 8
    key = remote.put(data)
    with _proxy(remote.port, len(data) // 2, ends=ends) as port:
        got = bytearray()
        began = time.monotonic()
        try:
            with closing(remote.at(port).open(key)) as blob:
                for piece in blob:
                    got += piece
        except StoreError:
            assert len(got) < len(data)
            assert data.startswith(got)
        else:
            assert got == data, "a read that ends has all bytes"
        assert time.monotonic() - began < 4 * remote.timeout + PATIENCE


def test_readers_and_writers_side_by_side(remote: RemoteHarness) -> None:
    size = (remote.part or len(DATA)) + 1000
    failed: list[BaseException] = []

    def work(number: int) -> None:
        try:
            data = bytes([number]) * size
            key = remote.put(data)
            assert remote.read(key) == data
            assert remote.read(key, 999, 5) == data[:5]
            remote.store.delete(key)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


@contextmanager
def _proxy(target: int, most: int, *, ends: bool) -> Iterator[int]:
    """Give the port of a proxy that passes on ``most`` bytes of answers, and then ends the connection or says no more.

    Only the first connection that has so much to say is broken.
    """
    stop = threading.Event()
    broken = threading.Event()
    threads: list[threading.Thread] = []
    sockets: list[socket.socket] = []

    def run(work: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)
        threads.append(thread)
        thread.start()

    def copy(source: socket.socket, sink: socket.socket, is_answer: bool) -> None:
        passed = 0
        with suppress(OSError):
            while data := source.recv(16384):
                passed += len(data)
                if is_answer and passed > most and not broken.is_set():
                    broken.set()
                    if not ends:
                        stop.wait(PATIENCE)
                    break
                sink.sendall(data)
        for side in (source, sink):
            with suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                sockets.append(client)
                server = socket.create_connection(("127.0.0.1", target))
                sockets.append(server)
                run(copy, client, server, False)
                run(copy, server, client, True)

    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        run(accept)
        try:
            yield listener.getsockname()[1]
        finally:
            stop.set()
            listener.shutdown(socket.SHUT_RDWR)
            threads[0].join()
            # Also those that a store keeps open for later calls.
            for each in sockets:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
    for thread in threads:
        thread.join()
    for each in sockets:
        each.close()
