"""The cinder driver on devices: the core of its tests with a real Cinder on LVM and iSCSI.

``test_cinder_devices.py`` runs this in a user-mode Linux, where a volume takes half a minute. So each test is here for
something that devices do otherwise than volumes of Ceph.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from tests.conformance import test_cinder_faults as faults
from tests.conformance import test_cinder_server as with_server
from tests.conformance.cinder_kit import CinderHarness, MakeCinder, ReadHarness
from tests.servers.keystone import Keystone
from tests.servers.lvm_cinder import LvmCinder

from glance_common.stores.conformance import writing as suite
from glance_common.stores.conformance.harness import DATA
from glance_common.stores.conformance.network import test_a_killed_writer_leaves_nothing_behind_its_delete
from glance_common.stores.conformance.reading import test_round_trip, test_two_readers_at_once
from glance_common.stores.conformance.writing import test_zeros_to_the_end
from glance_common.stores.drivers.cinder import disks

__all__ = [
    "test_a_killed_writer_leaves_nothing_behind_its_delete", "test_round_trip", "test_two_readers_at_once",
    "test_zeros_to_the_end",
]

LEASE = 30
"""Seconds of a lease, on a machine on which a call to Cinder takes seconds."""


@pytest.fixture(scope="module")
def cinder(keystone: Keystone, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LvmCinder]:
    """The Cinder of this machine."""
    server = LvmCinder(tmp_path_factory.mktemp("cinder"), keystone)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def harness(cinder: LvmCinder, keystone: Keystone, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReadHarness]:
    """A store that is read: the same data are the same volume."""
    folder = tmp_path_factory.mktemp("read")
    made = ReadHarness(folder, cinder, keystone, cinder.make_type(), cinder_attachment_lease=LEASE)
    yield made
    made.close()


@pytest.fixture
def make_cinder(cinder: LvmCinder, keystone: Keystone, tmp_path: Path) -> Iterator[MakeCinder]:
    """A function that returns a harness over a fresh type of volumes, with options of the store."""
    with ExitStack() as stack:

        def made(*, multiattach: bool = True, **options: str | int) -> CinderHarness:
            kind = cinder.make_type(multiattach=multiattach)
            harness = CinderHarness(tmp_path, cinder, keystone, kind, cinder_attachment_lease=LEASE, **options)
            stack.callback(harness.close)
            return harness

        yield made


@pytest.fixture
def writable(make_cinder: MakeCinder) -> Iterator[CinderHarness]:
    """A store with volumes of a new type."""
    harness = make_cinder()
    for _ in harness.checked():
        yield harness


@pytest.fixture
def remote(writable: CinderHarness) -> CinderHarness:
    """The same."""
    return writable


@pytest.fixture(autouse=True)
def no_disk_stays() -> Iterator[None]:
    """No test leaves a device behind (S-20)."""
    yield
    assert scsi_disks() == []


def scsi_disks() -> list[str]:
    """Return the SCSI disks of this machine; all of them are volumes that are attached."""
    return sorted(each.name for each in Path("/sys/block").iterdir() if each.name.startswith("sd"))


def test_data_go_through_a_device(make_cinder: MakeCinder, monkeypatch: pytest.MonkeyPatch):
    """They are on the disk before it is let go, and read from it again; the image is shorter than its volume."""
    used: list[tuple[str, str, int]] = []

    def noted(what: str) -> None:
        real = getattr(disks.DeviceDisk, what)

        def act(disk: disks.DeviceDisk, *arguments: object) -> object:
            facts = os.fstat(disk._file)
            assert stat.S_ISBLK(facts.st_mode)
            used.append((what, Path(f"/sys/dev/block/{os.major(facts.st_rdev)}:{os.minor(facts.st_rdev)}")
                         .resolve().name, len(scsi_disks())))
            return real(disk, *arguments)

        monkeypatch.setattr(disks.DeviceDisk, what, act)

    for what in ("read", "write", "sync"):
        noted(what)
    harness = make_cinder()
    key = harness.put(DATA)
    assert [what for what, _, _ in used] == ["write", "sync"]
    assert scsi_disks() == [], "the device is gone with the upload"
    assert harness.read(key, 1_000_000, None) == DATA[1_000_000:]
    assert {(name[:2], attached) for _, name, attached in used} == {("sd", 1)}
    assert used[-1][0] == "read"
    (volume,) = harness.volumes()
    assert (volume["status"], volume["metadata"]["image_size"]) == ("available", str(len(DATA)))
    assert harness.attachments(volume["id"]) == []


def test_an_image_of_unknown_size(make_cinder: MakeCinder, monkeypatch: pytest.MonkeyPatch):
    """Its volume grows while it is detached, and each device is larger than the one before."""
    with_server.test_an_image_of_unknown_size(make_cinder, monkeypatch, attached=False)


def test_readers_of_several_processes_share_a_device(make_cinder: MakeCinder):
    """The first one to end must not take the device from the others."""
    harness = make_cinder()
    key = harness.put(with_server.LARGE)
    others = [harness.changed() for _ in range(2)]
    with closing(harness.store.open(key)) as first:
        got = iter(first)
        data = next(got)
        with closing(others[0].open(key, 5)) as second:
            assert b"".join(second) == with_server.LARGE[5:]
        assert len(scsi_disks()) == 1
        assert harness.read_by(others[1], harness.rows[key]) == with_server.LARGE
        assert data + b"".join(got) == with_server.LARGE


def test_a_reader_that_is_killed(make_cinder: MakeCinder):
    """What it had attached is disconnected after the end of its lease."""
    faults.test_a_reader_that_is_killed(make_cinder, multiattach=True)


def test_a_failing_source_leaves_nothing(writable: CinderHarness):
    suite.test_a_failing_source_leaves_nothing(writable, 2000)
