"""Faults put between the swift driver and real servers: nothing is lost, and nothing is left."""

import logging
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Any

import pytest
from requests.exceptions import ConnectionError as ConnectionBroken
from swiftclient import client as swiftclient
from swiftclient.exceptions import ClientException
from tests.conformance.swift_kit import MIB, MakeSwift

from glance_common.stores.conformance.harness import DATA
from glance_common.stores.contract import BlobExists, BlobNotFound, StoreUnavailable
from glance_common.stores.drivers.swift import reading, upload
from glance_common.stores.drivers.swift.client import SwiftBody
from glance_common.stores.drivers.swift.errors import SwiftFailed


class Fault:
    """Makes the n-th call of a function of python-swiftclient fail, before or after it reached the server."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch
        self.fired = 0

    def at(
        self, function: str, error: Exception, *, number: int = 1, after: bool = False, times: int = 1,
        manifest: bool = False,
    ) -> None:
        """``manifest``: only calls about manifests count, otherwise only others."""
        act = getattr(swiftclient, function)
        seen = 0

        def called(*arguments: Any, **parameters: Any) -> Any:
            nonlocal seen
            counts = bool(parameters.get("query_string")) == manifest
            seen += counts
            if not counts or not number <= seen < number + times:
                return act(*arguments, **parameters)
            self.fired += 1
            if after:
                with suppress(ClientException):
                    answer = act(*arguments, **parameters)
                    if function == "get_object":
                        answer[1].close()
            raise error

        self._patch.setattr(swiftclient, function, called)


@pytest.fixture
def fault(monkeypatch: pytest.MonkeyPatch) -> Fault:
    """Faults of calls; pauses before further tries are none."""
    monkeypatch.setattr(upload, "_PAUSES", (0.0, 0.0))
    monkeypatch.setattr(reading, "_PAUSES", (0.0,))
    return Fault(monkeypatch)


def answer_of(status: int) -> Exception:
    return ClientException("failed", http_status=status)


def broken() -> Exception:
    return ConnectionBroken("broken off by the test")


@pytest.mark.parametrize(
    ("function", "number", "size", "at_once", "manifest"),
    [
        ("get_object", 1, 1000, 1, False), ("head_object", 1, 1000, 1, False), ("head_object", 2, 1000, 1, False),
        ("put_object", 1, 1000, 1, False), ("put_object", 1, 5 * MIB, 1, True), ("put_object", 2, 5 * MIB, 2, False),
        ("put_object", 1, 5 * MIB, 2, True),
    ],
)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_passing_fault_is_overcome(
    make_swift: MakeSwift, fault: Fault, function: str, number: int, size: int, at_once: int, manifest: bool,
    after: bool,
):
    """Also when the data arrived and only the answer was lost: the second try must not take them for others'."""
    harness = make_swift(swift_store_segments_at_once=at_once)
    fault.at(function, broken(), number=number, after=after, manifest=manifest)
    data = (DATA * 5)[:size]
    key = harness.new_key()
    assert harness.store.add(key, [data], None).size == size
    assert fault.fired == 1
    assert harness.read(key) == data
    harness.store.delete(key)
    assert harness.objects() == []


@pytest.mark.parametrize("size", [5 * MIB, 7 * MIB])
def test_a_stream_whose_answer_alone_is_lost(make_swift: MakeSwift, fault: Fault, size: int):
    """What was streamed cannot be sent again, and need not be: the object is there."""
    harness = make_swift(swift_store_large_object_size=6 if size < 6 * MIB else 7)
    fault.at("put_object", broken(), after=True, manifest=size > 6 * MIB)
    key = harness.new_key()
    assert harness.store.add(key, [bytes(size)], size).size == size
    assert harness.store.size(key) == size
    assert fault.fired == 1


@pytest.mark.parametrize("at_once", [1, 2])
@pytest.mark.parametrize("manifest", [False, True])
@pytest.mark.parametrize("status", [503, 403])
def test_a_fault_that_stays_leaves_nothing(
    make_swift: MakeSwift, fault: Fault, at_once: int, manifest: bool, status: int
):
    harness = make_swift(swift_store_segments_at_once=at_once)
    fault.at("put_object", answer_of(status), number=1 if manifest else 2, times=100, manifest=manifest)
    with pytest.raises(StoreUnavailable, match=str(status)):
        harness.store.add(harness.new_key(), [bytes(7 * MIB)], None)
    assert harness.objects() == []


def test_segments_that_cannot_be_removed_are_logged_and_go_with_the_key(
    make_swift: MakeSwift, fault: Fault, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    harness = make_swift()
    key = harness.new_key()
    with monkeypatch.context() as patch:
        one, two = Fault(patch), Fault(patch)
        one.at("put_object", answer_of(503), times=100, manifest=True)
        two.at("delete_object", answer_of(503))
        with caplog.at_level(logging.WARNING), pytest.raises(StoreUnavailable, match="503"):
            harness.store.add(key, [bytes(3 * MIB)], None)
    assert f"segments of {key} stay until its deletion" in caplog.text
    assert len(harness.unfinished()) == 2
    with pytest.raises(BlobNotFound):
        harness.store.delete(key)
    assert harness.objects() == []


@pytest.mark.parametrize(("size", "announced"), [(1000, None), (5 * MIB, 5 * MIB), (5 * MIB, None)])
def test_a_key_that_is_taken_in_the_meantime_keeps_its_data(make_swift: MakeSwift, size: int, announced: int | None):
    """Ceph ignores that a key must be new, and Swift looks only when a write begins."""
    harness = make_swift()
    key = harness.new_key()

    def pieces() -> Iterator[bytes]:
        yield bytes(size)
        harness.client.put_object(harness.container, key, b"the first")

    with pytest.raises(BlobExists):
        harness.store.add(key, pieces(), announced)
    assert harness.read(key) == b"the first"
    assert harness.objects() == [key]


def break_reads(monkeypatch: pytest.MonkeyPatch, every: int) -> list[int]:
    """Let every n-th read break off; return the sizes that were asked for."""
    asked: list[int] = []
    read = SwiftBody.read

    def breaking(self: SwiftBody, size: int) -> bytes:
        asked.append(size)
        if len(asked) % every == 0:
            raise SwiftFailed("broken off by the test", may_pass=True)
        return read(self, size)

    monkeypatch.setattr(SwiftBody, "read", breaking)
    return asked


@pytest.mark.parametrize("segmented", [False, True])
def test_sto21_a_read_goes_on_at_the_byte_where_it_broke(
    make_swift: MakeSwift, fault: Fault, monkeypatch: pytest.MonkeyPatch, segmented: bool
):
    harness = make_swift(swift_store_retry_get_count=10)
    data = DATA * 4
    key = harness.new_key()
    harness.store.add(key, [data], None if segmented else len(data))
    break_reads(monkeypatch, 3)
    assert harness.read(key) == data
    assert harness.read(key, 99, 3 * MIB) == data[99 : 99 + 3 * MIB]


@pytest.mark.parametrize("resumes", [0, 2])
def test_sto21_a_read_goes_on_only_so_often(
    make_swift: MakeSwift, fault: Fault, monkeypatch: pytest.MonkeyPatch, resumes: int
):
    harness = make_swift(swift_store_retry_get_count=resumes)
    key = harness.put(DATA)
    with closing(harness.store.open(key)) as blob:
        asked = break_reads(monkeypatch, 1)
        with pytest.raises(StoreUnavailable, match="broken off by the test"):
            list(blob)
    assert len(asked) == resumes + 1


@pytest.mark.parametrize("instead", [b"other", "same size", None])
def test_sto21_a_read_never_goes_on_with_other_data(
    make_swift: MakeSwift, fault: Fault, monkeypatch: pytest.MonkeyPatch, instead: bytes | str | None
):
    """The object is replaced behind the store while a read is broken off: no byte of the other one comes."""
    harness = make_swift()
    data = DATA * 4
    key = harness.put(data)
    with closing(harness.store.open(key)) as blob:
        pieces = iter(blob)
        got = next(pieces)
        if instead is None:
            harness.client.delete_object(harness.container, key)
        else:
            other = instead if isinstance(instead, bytes) else bytes(len(data))
            harness.client.put_object(harness.container, key, other)
        break_reads(monkeypatch, 1)
        with pytest.raises(StoreUnavailable, match="deleted or changed"):
            list(pieces)
    assert data.startswith(got)
