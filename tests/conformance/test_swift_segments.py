"""Large objects of the swift driver, seen from the side of real servers: static ones, and dynamic ones of others."""

import re
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest
from tests.conformance.swift_kit import MIB, MakeSwift, driver_of, on, whole_life
from tests.servers.swift import Swift, remove_container

from glance_common.stores.conformance.harness import DATA
from glance_common.stores.contract import StoreFull, StoreUnavailable
from glance_common.stores.drivers.swift.client import SwiftAccount


@pytest.mark.parametrize("at_once", [1, 3])
def test_segments_one_after_another_and_at_the_same_time(make_swift: MakeSwift, at_once: int):
    whole_life(make_swift(swift_store_segments_at_once=at_once))


def test_small_objects_are_one_and_large_ones_have_segments(make_swift: MakeSwift):
    harness = make_swift()
    for size, announced, segments in (
        (0, None, 0), (MIB, None, 0), (6 * MIB - 1, 6 * MIB - 1, 0), (6 * MIB, 6 * MIB, 3), (3 * MIB, None, 2),
    ):
        key = harness.new_key()
        harness.store.add(key, [bytes(size)], announced)
        assert len(harness.objects_of(key)) == segments + 1
        assert harness.store.size(key) == size


@on("swift")
def test_manifests_name_every_segment_with_size_and_digest(make_swift: MakeSwift):
    harness = make_swift()
    key = harness.new_key()
    harness.store.add(key, [bytes(5 * MIB)], None)
    found = harness.manifest(key)
    assert [entry["bytes"] for entry in found] == [2 * MIB, 2 * MIB, MIB]
    assert all(re.fullmatch(f"/{harness.container}/{key}-[0-9a-f]{{12}}-0000[123]", entry["name"]) for entry in found)
    assert all(re.fullmatch("[0-9a-f]{32}", entry["hash"]) for entry in found)


def test_segments_grow_so_that_the_largest_number_is_enough(make_swift: MakeSwift, monkeypatch: pytest.MonkeyPatch):
    """The server's limits count: here four segments of at most 3 MiB, so 11 MiB of unknown size, and 12 of a known."""
    harness = make_swift()
    limits = {"slo": {"max_manifest_segments": 4}, "swift": {"max_file_size": 3 * MIB}}
    monkeypatch.setattr(SwiftAccount, "info", lambda account: limits)
    for at_once in (1, 2):
        harness.store = harness.made(swift_store_segments_at_once=at_once)
        for size, announced in ((11 * MIB, None), (12 * MIB, 12 * MIB)):
            key = harness.new_key()
            harness.store.add(key, [bytes(MIB)] * (size // MIB), announced)
            assert harness.store.size(key) == size
            assert len(harness.objects_of(key)) == 5
            harness.store.delete(key)
            with pytest.raises(StoreFull, match="larger than 4 segments"):
                harness.store.add(key, [bytes(MIB)] * (size // MIB + 1), announced)
            assert harness.objects() == []


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swift]:
    """A Swift whose objects have at most 3 MiB, or four segments."""
    server = Swift(tmp_path_factory.mktemp("narrow"), largest=3 * MIB, segments=4)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@on("narrow")
@pytest.mark.parametrize("at_once", [1, 2])
def test_a_server_with_low_limits(make_swift: MakeSwift, at_once: int):
    """What is too large for one object has segments, whatever the options say; what fits in none leaves nothing."""
    harness = make_swift(
        swift_store_large_object_size=100, swift_store_large_object_chunk_size=50, swift_store_segments_at_once=at_once
    )
    for size, announced, segments in (
        (3 * MIB, 3 * MIB, 0), (3 * MIB + 1, 3 * MIB + 1, 2), (12 * MIB, 12 * MIB, 4), (12 * MIB, None, 4),
    ):
        key = harness.new_key()
        harness.store.add(key, [bytes(MIB)] * (size // MIB) + [bytes(size % MIB)], announced)
        assert harness.store.size(key) == size
        assert len(harness.objects_of(key)) == segments + 1
        harness.store.delete(key)
    for announced in (2 * MIB, 13 * MIB, None):
        with pytest.raises(StoreFull, match="is larger than"):
            harness.store.add(harness.new_key(), [bytes(MIB)] * 13, announced)
        assert harness.objects() == []


@on("narrow")
def test_a_server_that_refuses_the_size_is_full(make_swift: MakeSwift, monkeypatch: pytest.MonkeyPatch):
    harness = make_swift()
    monkeypatch.setattr(SwiftAccount, "info", lambda account: {})
    with pytest.raises(StoreFull, match="413"):
        harness.store.add(harness.new_key(), [bytes(MIB)] * 5, 5 * MIB)
    assert harness.objects() == []


def test_the_server_tells_its_limits(make_swift: MakeSwift):
    info = driver_of(make_swift().store)._account.info()
    assert info["slo"]["max_manifest_segments"] == 1000
    assert info["swift"]["max_file_size"] >= 5 * 1024 * MIB


@pytest.mark.parametrize("segments_in", ["same", "other"])
def test_dynamic_large_objects_of_older_installations(make_swift: MakeSwift, segments_in: str):
    """Segments that a prefix names: those of the original are beside the object, those of its client elsewhere."""
    harness = make_swift()
    key, other = harness.new_key(), harness.put(b"other")
    container = harness.container if segments_in == "same" else f"{harness.container}_segments"
    prefix = f"{key}-" if segments_in == "same" else f"{key}/1700000000.5/{len(DATA)}/"
    harness.client.put_container(container)
    try:
        for number, begin in enumerate(range(0, len(DATA), 500_000), 1):
            harness.client.put_object(container, f"{prefix}{number:05d}", DATA[begin : begin + 500_000])
        headers = {"X-Object-Manifest": f"{container}/{prefix}"}
        harness.client.put_object(harness.container, key, b"", headers=headers)
        assert harness.store.size(key) == len(DATA)
        assert harness.read(key) == DATA
        assert harness.read(key, 499_990, 20) == DATA[499_990:500_010]
        assert {entry.key: entry.size for entry in harness.store.walk()} == {key: len(DATA), other: 5}
        harness.store.delete(key)
        assert harness.objects() == [other]
        assert segments_in == "same" or harness.client.get_container(container)[1] == []
    finally:
        if segments_in == "other":
            remove_container(harness.client, container)


def test_a_manifest_that_names_what_is_not_its_own(make_swift: MakeSwift, caplog: pytest.LogCaptureFixture):
    harness = make_swift()
    key, other = harness.new_key(), harness.put(b"other")
    headers = {"X-Object-Manifest": f"{harness.container}/{other[:8]}"}
    harness.client.put_object(harness.container, key, b"", headers=headers)
    harness.store.delete(key)
    assert harness.objects() == [other]
    assert f"the segments of {key} stay" in caplog.text


def test_an_object_that_lost_a_segment_is_damaged_and_not_absent(make_swift: MakeSwift):
    harness = make_swift()
    key = harness.new_key()
    harness.store.add(key, [bytes(5 * MIB)], None)
    harness.client.delete_object(harness.container, harness.objects_of(key)[1])
    with pytest.raises(StoreUnavailable, match="segments of the object are missing"), \
            closing(harness.store.open(key)) as blob:
        b"".join(blob)
    with suppress(StoreUnavailable):  # Ceph does not know without the segment
        assert harness.store.size(key) == 5 * MIB
    harness.store.delete(key)
    assert harness.objects() == []
