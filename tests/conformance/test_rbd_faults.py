"""The parts of a Ceph cluster die, fill up, vanish and shut the rbd driver out: nothing is lost, half done or made up.

The cluster of this file keeps its data on disk, so that its parts can be killed and started again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from tests.conformance.rbd_kit import RbdHarness
from tests.servers.ceph import Ceph
from tests.servers.rbd import Administrator
from tests.support.waiting import wait_for

from glance_common.stores.conformance.harness import DATA
from glance_common.stores.contract import BlobNotFound, Store, StoreError, StoreFull, StoreUnavailable

MIB = 1024 * 1024
LARGE = bytes(range(256)) * 4096 * 48
"""48 MiB: more than what is under way at a time."""

SHORT = 6
"""Seconds for an operation of stores that are to find out that it does not end."""

PATIENCE = 60.0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ceph]:
    """A cluster whose data survive kill -9."""
    made = Ceph(tmp_path_factory.mktemp("ceph"), store="bluestore", gateway=False)
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def owner(cluster: Ceph) -> Iterator[Administrator]:
    """Its administrator."""
    made = Administrator(cluster)
    yield made
    made.close()


@pytest.fixture
def harness(owner: Administrator, tmp_path: Path) -> Iterator[RbdHarness]:
    """A patient store in a new pool."""
    with owner.pool() as pool:
        made = RbdHarness(tmp_path, pool, rbd_store_operation_timeout=300, rbd_thin_provisioning="true")
        try:
            yield made
        finally:
            made.close()


def cut(data: bytes, then: Callable[[], object], after: int) -> Iterator[bytes]:
    """Yield pieces of a MiB, and do something after so many."""
    for number, start in enumerate(range(0, len(data), MIB)):
        if number == after:
            then()
        yield data[start : start + MIB]


def read_all(store: Store, key: str, then: Callable[[], object]) -> bytes:
    """Return what can be read, after doing something behind the first piece."""
    got = bytearray()
    with suppress(StoreError), closing(store.open(key)) as blob:
        for piece in blob:
            if not got:
                then()
            got += piece
    return bytes(got)


def restarted(cluster: Ceph, name: str) -> None:
    """Start a daemon unless it runs."""
    if not cluster.is_running(name):
        cluster.start_daemon(name)


def wait_until_usable(store: Store) -> None:
    """Wait until the cluster answers again; the store is not made anew."""

    def answers() -> bool:
        try:
            store.check()
        except StoreUnavailable:
            return False
        return True

    wait_for(answers, "the cluster's return", seconds=3 * PATIENCE)


def test_the_osd_dies_in_the_middle_of_an_upload(cluster: Ceph, harness: RbdHarness):
    store, key, other = harness.changed(rbd_store_operation_timeout=SHORT), harness.new_key(), harness.put(DATA)
    wait_until_usable(store)
    times: list[float] = []

    def die() -> None:
        cluster.kill("osd.0")
        times.append(time.monotonic())

    try:
        with pytest.raises(StoreUnavailable, match="does not answer in time"):
            store.add(key, cut(LARGE, die, 16), len(LARGE))
        assert time.monotonic() - times[0] < 2 * SHORT + PATIENCE
        for act in (lambda: store.open(other), lambda: store.delete(other)):
            began = time.monotonic()
            with pytest.raises(StoreUnavailable, match="does not answer in time"):
                act()
            assert time.monotonic() - began < 2 * SHORT + PATIENCE
    finally:
        restarted(cluster, "osd.0")
    wait_until_usable(harness.store)
    with pytest.raises(BlobNotFound):
        harness.store.open(key)
    with pytest.raises(BlobNotFound):
        harness.delete(key)
    assert harness.objects() == [other]
    # The store that saw the fault goes on as well.
    wait_until_usable(store)
    assert harness.read(other) == DATA


def test_the_osd_dies_and_comes_back_during_transfers(cluster: Ceph, harness: RbdHarness):
    def again() -> None:
        cluster.kill("osd.0")
        cluster.start_daemon("osd.0")

    key = harness.new_key()
    harness.store.add(key, cut(LARGE, again, 16), None)
    assert harness.read(key) == LARGE
    assert read_all(harness.store, key, again) == LARGE
    harness.delete(key)
    assert harness.objects() == []


def test_the_osd_dies_in_the_middle_of_a_download(cluster: Ceph, harness: RbdHarness):
    key = harness.put(LARGE)
    store = harness.changed(rbd_store_operation_timeout=SHORT)
    try:
        began = time.monotonic()
        got = read_all(store, key, lambda: cluster.kill("osd.0"))
        assert time.monotonic() - began < 4 * SHORT + PATIENCE
        assert len(got) < len(LARGE)
        assert LARGE.startswith(got)
    finally:
        restarted(cluster, "osd.0")
    wait_until_usable(harness.store)
    assert harness.read(key) == LARGE
    harness.delete(key)
    assert harness.objects() == []


def test_the_monitor_dies(cluster: Ceph, harness: RbdHarness):
    """Who is connected goes on; who is not gets an answer in time. All work when it is back."""
    key = harness.put(DATA)
    late = harness.changed(rados_connect_timeout=3)
    connected, lost = harness.changed(rbd_store_operation_timeout=SHORT), harness.new_key()
    wait_until_usable(connected)
    cluster.kill("mon.a")
    try:
        assert harness.read(key) == DATA
        began = time.monotonic()
        # A snapshot needs the monitor.
        with pytest.raises(StoreUnavailable, match="make a snapshot: the cluster does not answer in time"):
            connected.add(lost, [DATA], None)
        assert time.monotonic() - began < 2 * SHORT + PATIENCE
        with pytest.raises(BlobNotFound):
            harness.store.open(lost)
        for _ in range(2):
            began = time.monotonic()
            with pytest.raises(StoreUnavailable, match="connect: the cluster does not answer in time"):
                late.open(key)
            assert time.monotonic() - began < 6 + PATIENCE
    finally:
        restarted(cluster, "mon.a")
    wait_until_usable(late)
    assert late.size(key) == len(DATA)
    with suppress(BlobNotFound):
        harness.delete(lost)
    assert harness.objects() == [key]


def calls_under_way() -> int:
    """Return how many threads are in calls of Ceph's library; those of earlier tests may hang in some."""
    return sum(thread.name == "rbd" for thread in threading.enumerate())


def test_many_callers_wait_for_one_connection(cluster: Ceph, harness: RbdHarness):
    """Callers of a dead monitor wait side by side, and for one thread of Ceph's library."""
    late, before = harness.changed(rados_connect_timeout=2), calls_under_way()
    failed: list[BaseException] = []

    def ask() -> None:
        try:
            late.check()
        except BaseException as error:
            failed.append(error)

    cluster.kill("mon.a")
    try:
        began = time.monotonic()
        threads = [threading.Thread(target=ask) for _ in range(50)]
        for thread in threads:
            thread.start()
        assert calls_under_way() <= before + 1
        for thread in threads:
            thread.join()
        assert time.monotonic() - began < 50, "not one after another"
        assert [type(error).__name__ for error in failed] == ["RbdFailed"] * 50
    finally:
        restarted(cluster, "mon.a")
    wait_until_usable(late)


def test_a_full_pool(harness: RbdHarness):
    key, lost = harness.put(LARGE), harness.new_key()

    try:
        with pytest.raises(StoreFull, match="full"):
            harness.store.add(lost, cut(LARGE, harness.pool.fill, 16), len(LARGE))
        assert harness.objects() == [key], "nothing is left"
        with pytest.raises(StoreFull):
            harness.store.add(lost, [DATA], None)
        assert harness.read(key) == LARGE
        harness.store.delete(key)
        assert harness.objects() == [], "a full pool can be emptied"
    finally:
        harness.pool.give_room()
    assert harness.put(DATA)


def test_the_pool_is_deleted_in_the_middle_of_an_upload(harness: RbdHarness):
    key = harness.new_key()
    with pytest.raises(StoreUnavailable):
        harness.store.add(key, cut(LARGE, lambda: harness.pool.owner.remove_pool(harness.pool), 16), None)
    for act in (lambda: harness.store.open(key), lambda: harness.store.delete(key), harness.store.check,
                lambda: list(harness.store.walk())):
        with pytest.raises(StoreUnavailable, match="pool"):
            act()


def test_the_pool_is_deleted_in_the_middle_of_a_download(harness: RbdHarness):
    """Ceph gives zeros for objects that are not there."""
    key = harness.put(LARGE)
    got = read_all(harness.store, key, lambda: harness.pool.owner.remove_pool(harness.pool))
    assert len(got) < len(LARGE)
    assert LARGE.startswith(got)


def test_a_pool_that_was_made_anew_is_another_one(harness: RbdHarness):
    key = harness.put(DATA)
    owner, pool = harness.pool.owner, harness.pool
    owner.command("osd pool rename", srcpool=pool.name, destpool=f"{pool.name}-kept")
    owner.command("osd pool create", pool=pool.name, pg_num=1)
    owner.command("osd pool application enable", pool=pool.name, app="rbd")
    for act in (lambda: harness.store.open(key), lambda: harness.store.delete(key), harness.store.check):
        with pytest.raises(StoreUnavailable):
            act()
    owner.command("osd pool rename", srcpool=pool.name, destpool=f"{pool.name}-empty")
    owner.command("osd pool rename", srcpool=f"{pool.name}-kept", destpool=pool.name)
    wait_until_usable(harness.store)
    assert harness.read(key) == DATA


def blocklist(harness: RbdHarness) -> None:
    """Shut the store's client out, as an operator or another program may."""
    rados = harness.connection().rados
    harness.pool.owner.command("osd blocklist", blocklistop="add", addr=rados.get_addrs())
    rados.wait_for_latest_osdmap()


def test_a_client_that_is_shut_out_connects_again(harness: RbdHarness):
    key, lost = harness.put(LARGE), harness.new_key()
    first = harness.connection()
    with pytest.raises(StoreUnavailable):
        harness.store.add(lost, cut(LARGE, lambda: blocklist(harness), 16), len(LARGE))
    wait_until_usable(harness.store)
    assert harness.connection() is not first
    assert harness.read(key) == LARGE
    with pytest.raises(BlobNotFound):
        harness.delete(lost)
    assert harness.objects() == [key]
    got = read_all(harness.store, key, lambda: blocklist(harness))
    assert LARGE.startswith(got)
    wait_until_usable(harness.store)
    assert harness.read(key) == LARGE


def allocated(cluster: Ceph) -> int:
    """Return the bytes that the OSD takes on the disk."""
    return (cluster.folder / "osd" / "block").stat().st_blocks * 512


def test_zeros_take_no_space(cluster: Ceph, harness: RbdHarness):
    """A GiB with 128 MiB of data, in 32 places."""
    key, data = harness.new_key(), b"data" * (MIB // 4)
    before = allocated(cluster)
    harness.store.add(key, (data if number % 32 < 4 else bytes(MIB) for number in range(1024)), None)
    assert harness.store.size(key) == 1024 * MIB
    # Its own journal and tables take some MiB.
    assert allocated(cluster) - before < 1.1 * 128 * MIB + 32 * MIB
    assert harness.read(key, 31 * MIB + 7, 5 * MIB) == bytes(MIB - 7) + data * 4 + bytes(7)
