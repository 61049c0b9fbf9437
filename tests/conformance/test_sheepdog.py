"""The sheepdog driver passes the suite of all drivers on a stand-in cluster that has the traps of the real one."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from tests.conformance.sheepdog_kit import MIB, SheepdogHarness, cluster_of
from tests.servers.sheepdog import running
from tests.support.stores import MemoryIdentities, from_file, read
from tests.support.waiting import wait_for

from glance_common.stores.conformance.harness import DATA, Harness
from glance_common.stores.conformance.network import *  # noqa: F403 - the tests of the suite
from glance_common.stores.conformance.reading import *  # noqa: F403 - as above
from glance_common.stores.conformance.writing import *  # noqa: F403 - as above
from glance_common.stores.contract import BlobExists, BlobNotFound, StoreFull, StoreUnavailable
from glance_common.stores.drivers.sheepdog import driver
from glance_common.stores.loader import load_stores
from glance_common.stores.place_mark import NAME


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[Harness]:
    """A store in a new cluster, and another cluster."""
    with running(tmp_path / "cluster") as cluster, running(tmp_path / "other") as other:
        yield from SheepdogHarness(tmp_path, cluster, other).checked()


@pytest.fixture
def writable(harness: SheepdogHarness) -> SheepdogHarness:
    """The same."""
    return harness


@pytest.fixture
def remote(harness: SheepdogHarness) -> SheepdogHarness:
    """The same."""
    return harness


def test_images_of_an_older_installation_are_read_and_deleted(harness: SheepdogHarness):
    key = harness.new_key()
    cluster_of(harness.store).create(key)
    cluster_of(harness.store).write(key, 0, DATA)
    assert harness.store.key_of(f"sheepdog://{key}") == key
    assert harness.read(key, 300_000, 70_000) == DATA[300_000:370_000]
    assert [(entry.key, entry.size) for entry in harness.store.walk()] == [(key, len(DATA))]
    with pytest.raises(BlobExists):
        harness.store.add(key, [b"other"], 5)
    harness.store.delete(key)
    assert harness.objects() == []


def test_snapshots_and_clones_of_others_keep_their_data(harness: SheepdogHarness):
    key, cluster = harness.put(DATA), cluster_of(harness.store)
    cluster.snapshot(key, "tag with a space")
    cluster.clone(key, "tag with a space", "a volume\\of another program")
    assert harness.read(key) == DATA
    harness.store.delete(key)
    with pytest.raises(BlobNotFound):
        harness.store.open(key)
    assert list(harness.store.walk()) == []
    assert b"".join(cluster.read("a volume\\of another program", 0, len(DATA))) == DATA
    assert {(vdi.name, vdi.tag) for vdi in cluster.vdis()} == {
        (NAME, None), (key, "tag with a space"), ("a volume\\of another program", None),
    }
    cluster.delete(key, "tag with a space")
    cluster.delete("a volume\\of another program")


def test_every_write_names_offset_and_length(harness: SheepdogHarness):
    harness.store.add(harness.new_key(), [bytes(MIB), b"x" * MIB, b"end"], 9)
    wanted = [("0", str(MIB)), (str(MIB), str(MIB)), (str(2 * MIB), "3")]
    written = [words[3:] for words in harness.cluster.seen if words[:2] == ["vdi", "write"] and "~" in words[2]]
    assert list(map(tuple, written))[-3:] == wanted


@pytest.mark.parametrize("size", [1000, 3 * MIB])
def test_a_full_cluster_is_told_and_nothing_stays(harness: SheepdogHarness, size: int):
    key = harness.put(b"first")
    harness.cluster.vdis.room = 1
    with pytest.raises(StoreFull, match="no space for new objects"):
        harness.store.add(harness.new_key(), [bytes(size)], None)
    assert harness.objects() == [key]
    assert harness.store.free() == 0
    harness.cluster.vdis.room = 10**9
    assert harness.put(b"again")


def test_an_image_larger_than_a_vdi_may_be_is_told(harness: SheepdogHarness):
    cluster = cluster_of(harness.store)
    cluster.create("large")
    with pytest.raises(StoreFull, match="too large"):
        cluster.write("large", 4 * 1024**4, b"x")
    assert cluster.delete("large")


@pytest.mark.parametrize("command", ["vdi create", "vdi resize", "vdi write", "vdi snapshot", "vdi clone"])
def test_a_write_that_hangs_ends_and_leaves_nothing_that_its_delete_does_not_find(
    harness: SheepdogHarness, command: str
):
    key = harness.new_key()
    harness.store.identity()
    harness.cluster.hanging.add(command)
    with pytest.raises(StoreUnavailable, match="has not ended within 3 seconds and was killed"):
        harness.changed(sheepdog_store_timeout=3).add(key, [DATA], len(DATA))
    harness.cluster.hanging.clear()
    with pytest.raises(BlobNotFound):
        harness.store.delete(key)
    assert harness.objects() == []


@pytest.mark.parametrize("output", [b"garbage\n", b"= a 0 5\n", b"= a 0 5 0 0 1 6a 2  22", b"\xff\xfe\n", bytes(1000)])
def test_a_list_that_is_none_is_no_empty_store(harness: SheepdogHarness, output: bytes):
    key = harness.put(DATA)
    harness.cluster.garbage["vdi list"] = output
    store = harness.store
    for call in (lambda: store.open(key), lambda: list(store.walk()), lambda: store.delete(key)):
        with pytest.raises(StoreUnavailable):
            call()
    harness.cluster.garbage.clear()
    assert harness.read(key) == DATA


@pytest.mark.parametrize("output", [b"", b"short", DATA[:-1], DATA + b"x"])
def test_a_read_of_another_length_is_no_image(harness: SheepdogHarness, output: bytes):
    key = harness.put(DATA)
    harness.cluster.garbage["vdi read"] = output
    with pytest.raises(StoreUnavailable):
        harness.read(key)
    harness.cluster.garbage.clear()


def test_a_write_that_takes_a_part_of_the_data_is_none(harness: SheepdogHarness):
    key = harness.new_key()
    harness.store.identity()
    harness.cluster.garbage["vdi write"] = b""
    with pytest.raises(StoreUnavailable, match="it took only a part of the data"):
        harness.store.add(key, [DATA], None)
    assert harness.objects() == []


def test_the_mark_is_lost_or_exchanged(harness: SheepdogHarness):
    key = harness.put(DATA)
    cluster = cluster_of(harness.store)
    identity = harness.store.identity()
    cluster.overwrite(NAME, 0, b"no uuid but as many letters as one..")
    with pytest.raises(StoreUnavailable, match="does not hold a uuid"):
        harness.store.delete(key)
    cluster.delete(NAME)
    with pytest.raises(StoreUnavailable, match=f"no object {NAME}"):
        harness.store.delete(key)
    cluster.create(NAME)
    cluster.write(NAME, 0, identity.encode())  # as the page of the store says
    assert harness.store.identity() == identity


def test_a_reader_that_goes_away_leaves_no_process(harness: SheepdogHarness):
    key = harness.put(DATA * 20)
    blob = harness.store.open(key)
    next(iter(blob))
    blob.close()
    # The server sees its peers go.
    wait_for(lambda: not harness.cluster.running, "the end of dog")


def test_free_counts_the_copies(harness: SheepdogHarness):
    harness.cluster.vdis.room = 10**9
    harness.put(bytes(1000))
    assert harness.store.free() == 10**9 - harness.cluster.vdis.used()


@pytest.mark.parametrize(("offset", "length"), [(0, None), (999, 2), (1000, 1000), (500, 5000), (len(DATA) - 1, 1)])
def test_a_read_of_several_runs(harness: SheepdogHarness, monkeypatch: pytest.MonkeyPatch, offset: int, length: int):
    monkeypatch.setattr(driver, "SECTION", 1000)
    key = harness.put(DATA[:3500])
    assert harness.read(key, offset, length) == DATA[:3500][offset:][:length]


def test_an_image_that_is_deleted_between_two_runs_ends_with_an_error(
    harness: SheepdogHarness, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(driver, "SECTION", 1000)
    key = harness.put(DATA[:3500])
    with closing(harness.store.open(key)) as blob:
        pieces = iter(blob)
        assert next(pieces) == DATA[:1000]
        harness.store.delete(key)
        with pytest.raises(StoreUnavailable, match="No VDI found"):
            next(pieces)


@pytest.mark.parametrize("step", ["snapshot", "clone", "delete"])
def test_a_delete_while_an_upload_becomes_visible_stops_it(
    harness: SheepdogHarness, monkeypatch: pytest.MonkeyPatch, step: str
):
    """Whatever step of publishing comes after the delete, the image is not there afterwards."""
    key, own = harness.new_key(), cluster_of(harness.store)
    other = harness.changed()
    original = getattr(own, step)

    def late(*arguments, **options):
        monkeypatch.setattr(own, step, original)
        with suppress(BlobNotFound):
            other.delete(key)
        return original(*arguments, **options)

    harness.store.identity()
    monkeypatch.setattr(own, step, late)
    with pytest.raises(StoreUnavailable):
        harness.store.add(key, [DATA], None)
    assert harness.objects() == []


def test_a_delete_between_snapshot_and_its_list_stops_the_upload_too(
    harness: SheepdogHarness, monkeypatch: pytest.MonkeyPatch
):
    """The delete has listed what there is before the snapshot is made, and goes on after it."""
    key, own = harness.new_key(), cluster_of(harness.store)
    other = harness.changed()
    others = cluster_of(other)
    deleted, snapshot = others.delete, own.snapshot
    waiting: list[tuple[str, ...]] = []

    def held_back(*arguments, **options):
        waiting.append(arguments)
        return False

    def late(name, tag):
        monkeypatch.setattr(others, "delete", held_back)
        with suppress(BlobNotFound):
            other.delete(key)
        snapshot(name, tag)
        for arguments in waiting:
            deleted(*arguments)

    harness.store.identity()
    monkeypatch.setattr(own, "snapshot", late)
    with pytest.raises(StoreUnavailable, match="was deleted while it was written"):
        harness.store.add(key, [DATA], None)
    assert harness.objects() == []


def test_the_configuration_of_the_page_works(
    harness: SheepdogHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    page = (Path(__file__).parents[2] / "docs" / "stores" / "sheepdog.md").read_text()
    (sample,) = re.findall(r"```ini\n(.*?)```", page, re.DOTALL)
    assert "= 10.0.0.11\n" in sample
    (tmp_path / "page.conf").write_text(
        sample.replace("= 10.0.0.11\n", f"= 127.0.0.1\nsheepdog_store_port = {harness.port}\n")
    )
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    # Another service, as far as the cluster knows: one place belongs to one store of a service.
    store = load_stores(from_file(tmp_path / "page.conf"), MemoryIdentities()).default
    key = harness.new_key()
    store.add(key, [DATA], None)
    assert read(store, key) == harness.read(key) == DATA
    assert store.details() == {"address": "127.0.0.1", "port": harness.port}
