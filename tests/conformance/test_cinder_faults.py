"""Processes die, volumes come into states of error, and Cinder goes away: no data are lost or made up (S-20)."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress

import pytest
from tests.conformance.cinder_kit import LEASE, CinderHarness, MakeCinder
from tests.servers.cinder import Cinder
from tests.servers.keystone import GLANCE
from tests.support.waiting import wait_for

from glance_common.stores.conformance.harness import DATA
from glance_common.stores.contract import BlobNotFound, InUse, StoreError, StoreFull, StoreUnavailable
from glance_common.stores.drivers.cinder import brick as bricks
from glance_common.stores.drivers.cinder import writing
from glance_common.stores.drivers.cinder.client import CinderApi
from glance_common.stores.drivers.cinder.disks import RbdDisk

MIB = 1024 * 1024
LARGE = bytes(range(256)) * 4096 * 13

_READER = """
import sys
from pathlib import Path
from tests.support.stores import MemoryIdentities, bare, from_file
from glance_common.stores import loader
store = bare(loader.load_stores(from_file(Path(sys.argv[1])), MemoryIdentities()).default)
blob = store.open(sys.argv[2])
next(iter(blob))
print("reading", flush=True)
sys.stdin.read()
"""


@contextmanager
def reader(harness: CinderHarness, key: str) -> Iterator[subprocess.Popen[str]]:
    """Let another process read an image in the block."""
    harness.changed()
    process = subprocess.Popen(
        [sys.executable, "-c", _READER, harness.folder / "stores.conf", harness.rows[key]],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        assert process.stdout.readline() == "reading\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stdin.close()


def pieces(then: Callable[[], object]) -> Iterator[bytes]:
    """Yield data, and do something in the middle."""
    for number, at in enumerate(range(0, len(LARGE), MIB)):
        if number == 9:
            then()
        yield LARGE[at : at + MIB]


@pytest.mark.parametrize("multiattach", [True, False])
def test_a_reader_that_is_killed(make_cinder: MakeCinder, multiattach: bool):
    """Its attachment goes with its lease: the image can be read by others then, and be deleted."""
    harness = make_cinder(multiattach=multiattach, cinder_attachment_retry_attempts=6)
    key = harness.put(DATA)
    with reader(harness, key), pytest.raises(InUse, match="has it attached"):
        harness.store.delete(key)
    (volume,) = harness.volumes()
    assert volume["status"] == "in-use", "nothing tells Cinder of the death"

    def can_read() -> bool:
        with suppress(StoreUnavailable):
            return harness.read(key) == DATA
        return False

    wait_for(can_read, "the end of the attachment")
    harness.delete(key)
    assert harness.objects() == []


def test_a_slow_reader_keeps_its_volume(make_cinder: MakeCinder):
    harness = make_cinder()
    key = harness.put(LARGE)
    with closing(harness.store.open(key)) as blob:
        got = iter(blob)
        data = next(got)
        leases: set[str] = set()

        def is_renewed() -> bool:
            (volume,) = harness.volumes()
            leases.update(value for name, value in volume["metadata"].items() if name.startswith("glance_attached_"))
            return len(leases) > 3

        wait_for(is_renewed, f"renewals over more than {LEASE} seconds")
        with pytest.raises(InUse, match="has it attached"):
            harness.store.delete(key)
        assert data + b"".join(got) == LARGE
    harness.delete(key)
    assert harness.objects() == []


def test_a_volume_that_cannot_be_extended(make_cinder: MakeCinder, monkeypatch: pytest.MonkeyPatch):
    """Its backend has no room: the upload fails and leaves nothing. A GiB has 4 MiB for the driver here."""
    harness = make_cinder()
    monkeypatch.setattr(writing, "GIB", writing.PIECE)
    monkeypatch.setattr(
        CinderApi, "extend",
        lambda _, volume, gib: harness.server.act(volume, "os-reset_status", status="error_extending"),
    )
    with pytest.raises(StoreFull, match="no room to extend the volume to 2 GiB"):
        harness.store.add(harness.new_key(), [LARGE], None)
    assert harness.objects() == []


def test_an_operator_calls_the_volume_broken(make_cinder: MakeCinder, monkeypatch: pytest.MonkeyPatch):
    """After the last byte. The upload fails, and leaves nothing."""
    harness = make_cinder()
    real = CinderApi.detach

    def detach(api: CinderApi, attachment: str) -> None:
        real(api, attachment)
        (volume,) = harness.volumes()
        harness.server.act(volume["id"], "os-reset_status", status="error")

    with monkeypatch.context() as patch:
        patch.setattr(CinderApi, "detach", detach)
        with pytest.raises(StoreUnavailable, match="the volume is error"):
            harness.put(DATA)
    assert harness.objects() == []


def test_a_volume_that_cannot_be_attached(make_cinder: MakeCinder):
    harness = make_cinder(cinder_attachment_retry_attempts=1)
    key = harness.put(DATA)
    volume = harness.rows[key]
    harness.server.act(volume, "os-reset_status", status="maintenance")
    with pytest.raises(StoreUnavailable, match="not available"):
        harness.store.open(key)
    harness.server.act(volume, "os-reset_status", status="available")
    assert harness.read(key) == DATA


def test_attachments_of_others_stay(make_cinder: MakeCinder):
    """Nova may boot from the volume of an image."""
    harness = make_cinder()
    key = harness.put(DATA)
    body = {"attachment": {"volume_uuid": harness.rows[key], "connector": None, "mode": "ro"}}
    made = harness.server.call("POST", "/attachments", body, user=GLANCE)["attachment"]["id"]
    with pytest.raises(InUse, match="attached by another service"):
        harness.store.delete(key)
    harness.server.call("DELETE", f"/attachments/{made}", user=GLANCE)
    harness.delete(key)


def test_cinder_dies_in_the_middle_of_an_upload(make_cinder: MakeCinder):
    """What it could not remove is found by the key afterwards; downloads that have begun go on."""
    harness = make_cinder(cinder_http_retries=0)
    key, other = harness.new_key(), harness.put(LARGE)
    blob = harness.store.open(other)
    try:
        got = iter(blob)
        data = next(got)
        with pytest.raises(StoreUnavailable, match=r"nothing answers|connection broke"):
            harness.store.add(key, pieces(harness.server.kill), len(LARGE))
        assert data + b"".join(got) == LARGE
        blob.close()
        for act in (lambda: harness.store.open(other), lambda: harness.store.delete(other), harness.store.check):
            with pytest.raises(StoreUnavailable, match=r"nothing answers|connection broke"):
                act()
    finally:
        harness.server.start()
    with pytest.raises(BlobNotFound):
        harness.delete(key)
    assert harness.objects() == [other]
    assert harness.read(other) == LARGE
    harness.delete(other)
    assert harness.objects() == []


def test_a_device_that_cannot_be_let_go(make_cinder: MakeCinder, monkeypatch: pytest.MonkeyPatch):
    """Cinder neither gives the volume to another user nor deletes it until an operator has disconnected it (S-20)."""
    harness = make_cinder()
    key = harness.put(DATA)

    def fail(_: object) -> None:
        raise OSError(5, "the device is busy")

    with monkeypatch.context() as patch:
        patch.setattr(bricks.Connected, "disconnect", fail)
        assert harness.read(key) == DATA
    with pytest.raises(InUse, match="could not let go of its device"):
        harness.store.delete(key)
    for kept in list(harness.driver._machinery._attacher.brick.kept):
        kept.disconnect()
    (attachment,) = harness.attachments(harness.rows[key])
    harness.server.call("DELETE", f"/attachments/{attachment}", user=GLANCE)
    harness.delete(key)


def test_reads_and_writes_that_hang(make_cinder: MakeCinder, monkeypatch: pytest.MonkeyPatch):
    """As when the path to the storage is cut: they end in time, and the next ones work."""
    harness = make_cinder()
    key = harness.put(DATA)
    hurried, hangs = harness.changed(cinder_io_timeout=1), threading.Event()
    with monkeypatch.context() as patch:
        for name in ("read", "write"):
            patch.setattr(RbdDisk, name, lambda *_: hangs.wait(60))
        with pytest.raises(StoreUnavailable, match="read: no answer in time"), closing(hurried.open(key)) as blob:
            next(iter(blob))
        with pytest.raises(StoreUnavailable, match="write: no answer in time"):
            hurried.add(harness.new_key(), [DATA], None)
    hangs.set()
    assert harness.read(key) == DATA
    wait_for(lambda: harness.objects() == [key], "the end of the volume that was given up")


def test_no_key_of_the_storage(make_cinder: MakeCinder, cinder: Cinder):
    """A host that lacks it says so, and leaves nothing attached."""
    harness = make_cinder()
    key = harness.put(DATA)
    with cinder.without_key(), pytest.raises(StoreUnavailable, match="the keys of this host"):
        harness.store.open(key)
    assert harness.read(key) == DATA
    with cinder.without_key(), pytest.raises(StoreError, match="the keys of this host"):
        harness.put(DATA)
    harness.delete(key)
    assert harness.objects() == []
