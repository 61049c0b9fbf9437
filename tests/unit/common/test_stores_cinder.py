"""URLs, options, leases, errors and disks of the cinder store. tests/conformance has its work on a real Cinder."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from tests.support.stores import load

from glance_common.config.loading import ConfigError
from glance_common.stores.contract import StoreFull
from glance_common.stores.drivers.cinder import brick as bricks
from glance_common.stores.drivers.cinder import errors
from glance_common.stores.drivers.cinder.brick import Brick
from glance_common.stores.drivers.cinder.disks import DeviceDisk, FileLikeDisk
from glance_common.stores.drivers.cinder.errors import CinderFailed
from glance_common.stores.drivers.cinder.host_locks import host_lock
from glance_common.stores.drivers.cinder.options import BrickOptions
from glance_common.stores.drivers.cinder.place import CinderPlace
from glance_common.stores.drivers.cinder.transfers import Transfers
from glance_common.stores.drivers.cinder.volumes import Volume, VolumeLease, lease_text
from glance_common.stores.settings import StoreConfigError

KEY = "11111111-1111-4111-8111-111111111111"
PLACE = CinderPlace("main", "keystone:5000", "service", "fast disks")
LOGIN: dict[str, Any] = {
    "cinder_store_auth_address": "http://127.0.0.1:9/v3", "cinder_store_user_name": "glance",
    "cinder_store_password": "secret", "cinder_store_project_name": "service",
}


def test_urls():
    assert PLACE.name == "cinder://keystone:5000/service/fast%20disks"
    assert PLACE.url(KEY) == f"cinder://main/{KEY}"
    for url in (PLACE.url(KEY), f"cinder://{KEY}", f"CINDER://main/{KEY.upper()}"):
        assert PLACE.key_of(url) == KEY


@pytest.mark.parametrize("url", [
    f"cinder://other/{KEY}", f"cinder://main/{KEY}/x", f"cinder:///{KEY}", f"cinder://main/{KEY}?x", f"cinder:{KEY}",
    f"cinder://main/{KEY}%0a", f"cinder://main/{KEY}\n", f"cinder://main/../{KEY}", f"cinder://main/{KEY}.1",
    "cinder://main/volume-1", "cinder://", "cinder://main/", f"rbd://{KEY}", f"cinder://user@main/{KEY}",
])  # fmt: skip
def test_other_urls_have_no_key(url: str):
    assert PLACE.key_of(url) is None


def stores(folder: Path, **options: object):
    return load(folder, {
        "DEFAULT": {"enabled_backends": "main:cinder"}, "glance_store": {"default_backend": "main"},
        "main": {**LOGIN, **options}, "oslo_concurrency": {"lock_path": folder},
    })


def test_a_cinder_that_is_away_stops_nothing(tmp_path: Path):
    store = stores(tmp_path, cinder_volume_type="images").default
    assert store.url(KEY) == f"cinder://main/{KEY}"
    assert store.details() == {"volume_type": "images", "use_multipath": False}
    assert store.capabilities.add


@pytest.mark.parametrize(("options", "text"), [
    ({"cinder_store_user_name": ""}, "[main] cinder_store_user_name = ***: must be set, as cinder_store_auth_address"),
    ({"cinder_store_password": ""}, "[main] cinder_store_password = ***: must be set"),
    ({"cinder_store_auth_address": "keystone"}, "must be a URL of Keystone"),
    ({"cinder_store_auth_address": "http://u:p@keystone/"}, "must be a URL of Keystone"),
    ({"cinder_store_application_credential_id": "x"}, "cinder_store_application_credential_secret = ***: must be set"),
    ({"cinder_catalog_info": "volumev3"}, "must be <type>:<name>:<interface>"),
    ({"cinder_catalog_info": "volumev3::URL"}, "must be <type>:<name>:<interface>"),
    ({"cinder_catalog_info": "volumev2::publicURL"}, "must be of version 3"),
    ({"cinder_endpoint_template": "http://c/v3/%(user)s"}, "in which only %(project_id)s and %(tenant)s"),
    ({"cinder_endpoint_template": "http://c/v3/%"}, "in which only"),
    ({"cinder_endpoint_template": "http://c/v2"}, "must be a URL with /v3"),
    ({"cinder_endpoint_template": "http://user:word@c/v3"}, "cinder_endpoint_template = ***"),
    ({"cinder_ca_certificates_file": "/none"}, "must be a readable file"),
    ({"cinder_mount_point_base": "mnt"}, "must be an absolute path"),
    ({"cinder_http_retries": 11}, "cinder_http_retries = 11"),
    ({"cinder_state_transition_timeout": 0}, "cinder_state_transition_timeout = 0"),
    ({"cinder_attachment_lease": 4}, "cinder_attachment_lease = 4"),
    ({"cinder_attachment_retry_attempts": 0}, "cinder_attachment_retry_attempts = 0"),
    ({"cinder_volume_type": "x" * 256}, "must be the name of a volume type"),
])  # fmt: skip
def test_bad_options_stop_the_start(tmp_path: Path, options: dict[str, object], text: str):
    with pytest.raises(ConfigError) as caught:
        stores(tmp_path, **options)
    assert text in str(caught.value)
    assert "word" not in str(caught.value).replace("password", "")


def test_options_of_the_original_are_taken(tmp_path: Path):
    """Those without meaning here too."""
    assert stores(
        tmp_path, rootwrap_config="/etc/glance/rootwrap.conf", cinder_use_multipath="true",
        cinder_enforce_multipath="true", cinder_do_extend_attached="true", cinder_os_region_name="RegionOne",
        cinder_catalog_info="block-storage:cinder:internal", cinder_store_user_domain_name="Service",
        cinder_endpoint_template="http://cinder:8776/v3/%(tenant)s",
    ).default.details()["use_multipath"] is True


def test_the_locks_need_a_folder(tmp_path: Path):
    with pytest.raises(StoreConfigError, match=r"\[oslo_concurrency\] lock_path = locks: must be an absolute path"):
        load(tmp_path, {
            "DEFAULT": {"enabled_backends": "main:cinder"}, "glance_store": {"default_backend": "main"},
            "main": LOGIN, "oslo_concurrency": {"lock_path": "locks"},
        })  # fmt: skip


def test_two_stores_cannot_have_one_type_in_one_project(tmp_path: Path):
    groups: dict[str, dict[str, object]] = {
        "DEFAULT": {"enabled_backends": "a:cinder,b:cinder"}, "glance_store": {"default_backend": "a"},
        "oslo_concurrency": {"lock_path": tmp_path},
    }
    with pytest.raises(StoreConfigError, match=r"cinder_volume_type = .* is already used by the store a"):
        load(tmp_path, {**groups, "a": LOGIN, "b": LOGIN})
    several = load(tmp_path, {**groups, "a": LOGIN, "b": {**LOGIN, "cinder_volume_type": "slow"}})
    assert several.ids == ("a", "b")


@pytest.mark.parametrize("missing", ["cinderclient", "os_brick"])
def test_without_the_libraries_the_error_names_the_extra(tmp_path: Path, missing: str):
    """In a process of its own: this one has loaded them."""
    program = f"""
import sys
from pathlib import Path
from tests.unit.common.test_stores_cinder import stores
for name in [name for name in sys.modules if name.partition(".")[0] == {missing!r}]:
    del sys.modules[name]
sys.modules[{missing!r}] = None
for name in [name for name in sys.modules if "drivers.cinder" in name and name.rpartition(".")[2] != "cinder"]:
    if name.rpartition(".")[2] not in ("driver", "options", "place", "volumes", "errors"):
        del sys.modules[name]
try:
    stores(Path({str(tmp_path)!r}))
except Exception as error:
    print(type(error).__name__, error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL,
        cwd=Path(__file__).parents[3],
    )
    assert done.stdout.startswith("StoreConfigError [main] cinder_volume_type"), done
    assert "pip install glance-services[cinder]" in done.stdout


def test_no_eventlet_comes_in():
    """os-brick's libraries take it when it is there; it changes what a fork does."""
    program = """
import sys
from glance_common.stores.drivers.cinder import brick
brick.load()
print(sorted({name.partition(".")[0] for name in sys.modules} & {"eventlet", "greenlet"}))
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], check=True, capture_output=True, text=True,
        stdin=subprocess.DEVNULL,
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_leases():
    assert not VolumeLease.read(lease_text(60, "host-a")).is_over
    assert VolumeLease.read(lease_text(60, "host-a")).host == "host-a"
    assert VolumeLease.read(f"{int(time.time()) - 2} host-a").is_over
    assert not VolumeLease.read("stuck host-a").is_over
    assert VolumeLease.read("stuck host-a").until is None
    for nonsense in ("", "x", "x y", "-1 host"):
        assert VolumeLease.read(nonsense).is_over


def shown(**metadata: str) -> Volume:
    return Volume.of({
        "id": KEY, "status": "available", "size": 2, "metadata": metadata, "created_at": "2026-01-01T00:00:00.5",
        "updated_at": None,
    })  # fmt: skip


def test_what_a_volume_is():
    assert not shown().is_image
    assert not shown(image_size="5").is_finished
    unfinished = shown(glance_image_id=KEY, glance_upload=lease_text(60, "host"))
    assert unfinished.is_image
    assert not unfinished.is_finished
    assert unfinished.upload is not None
    assert shown(glance_image_id=KEY, image_size="5").bytes == 5
    late = shown(glance_image_id=KEY, image_size="5", glance_upload=lease_text(60, "host"))
    assert late.is_finished, "a renewal that arrived late undoes nothing"
    assert late.upload is None
    by_cinder = shown(glance_image_id=KEY)
    assert (by_cinder.is_finished, by_cinder.bytes) == (True, 2 * 1024**3)
    assert shown().changed == 1767225600.5


@pytest.mark.parametrize(("status", "text"), [
    (401, "the token is refused"), (403, "forbids"), (404, "cinder_volume_type"), (406, "3.54"), (409, "otherwise"),
    (500, "a fault of its own"), (418, "does not take the call"),
])  # fmt: skip
def test_answers_of_cinder(status: int, text: str):
    error = errors.of_status(status, "act", "cinder://place")
    assert isinstance(error, CinderFailed)
    assert text in str(error)
    assert error.may_pass is (status == 500)


def test_a_quota_is_no_room():
    assert isinstance(errors.of_status(413, "create a volume", "cinder://place"), StoreFull)


def test_what_this_host_cannot_do():
    class BrickException(Exception):
        pass

    told = str(errors.of_device(BrickException("CHAP password secret"), "connect", "cinder://place"))
    assert "the keys of this host" in told
    assert "secret" not in told
    assert "error 5" in str(errors.of_device(OSError(5, "secret"), "write", "cinder://place"))


def options(folder: Path, **more: Any) -> BrickOptions:
    return BrickOptions(**{
        "host": "host-a", "multipath": False, "enforce_multipath": False, "mount_base": str(folder),
        "lock_path": str(folder), "helper": None, "change": 60.0, "transfer": 60.0, **more,
    })  # fmt: skip


def test_a_host_without_the_helper(tmp_path: Path):
    """It attaches what needs no privileges. In a process of its own that believes not to be root's."""
    program = f"""
import os
from pathlib import Path
os.geteuid = lambda: 1000
from glance_common.stores.drivers.cinder.brick import Brick
from tests.unit.common.test_stores_cinder import options
brick = Brick(options(Path({str(tmp_path)!r}), helper="/none/privsep-helper"), "cinder://place")
print({{name: value for name, value in brick.properties().items() if name in ("host", "multipath", "initiator")}})
"""
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL,
        cwd=Path(__file__).parents[3],
    )
    assert done.stdout == "{'host': 'host-a', 'multipath': False}\n"
    assert "only volumes that need no privileges, those of Ceph, can be attached" in done.stderr


def test_a_volume_that_is_a_path(tmp_path: Path):
    """Through os-brick's own connector for paths: the driver opens it, and the helper is not asked for what it may."""
    device = tmp_path / "device"
    device.write_bytes(bytes(1000))
    brick = Brick(options(tmp_path), "cinder://place")
    connected = brick.connect({"driver_volume_type": "local", "device_path": str(device)}, writable=True)
    assert connected.is_shared
    assert isinstance(connected.disk, DeviceDisk)
    connected.disk.write(10, b"data")
    connected.disk.sync()
    assert connected.disk.read(8, 8) == b"\0\0data\0\0"
    connected.disk.close()
    brick.ask("disconnect", connected.disconnect)
    assert device.read_bytes() == bytes(10) + b"data" + bytes(986)


def test_a_path_that_is_not_ours_goes_to_us_and_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    device = tmp_path / "device"
    device.write_bytes(b"data")
    told: list[tuple[str, int]] = []
    monkeypatch.setattr(bricks, "_own", lambda path, user: told.append((path, user)))
    monkeypatch.setattr(os, "access", lambda *_: False)
    brick = Brick(options(tmp_path), "cinder://place")
    connected = brick.connect({"driver_volume_type": "local", "device_path": str(device)}, writable=False)
    assert told == [(str(device), os.getuid())]
    connected.disk.close()
    brick.ask("disconnect", connected.disconnect)
    assert told[1:] == [(str(device), device.stat().st_uid)]


def test_a_device_stays_open_for_a_transfer_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Its descriptor would be another file's otherwise."""
    path = tmp_path / "device"
    path.write_bytes(b"12345678")
    disk = DeviceDisk(str(path), writable=True)
    hangs, began, real = threading.Event(), threading.Event(), os.pread

    def pread(file: int, size: int, at: int) -> bytes:
        began.set()
        hangs.wait(60)
        return real(file, size, at)

    monkeypatch.setattr(os, "pread", pread)
    got: list[bytes] = []
    thread = threading.Thread(target=lambda: got.append(disk.read(2, 3)))
    thread.start()
    assert began.wait(60)
    disk.close()
    with pytest.raises(OSError, match="closed"):
        disk.write(0, b"x")
    hangs.set()
    thread.join()
    assert got == [b"345"]
    with pytest.raises(OSError, match="closed"):
        disk.read(0, 1)


class OddFile(io.RawIOBase):
    """As os-brick's for Ceph: takes bytes alone, and has no descriptor."""

    def __init__(self) -> None:
        super().__init__()
        self.data = bytearray(100)
        self.at = 0
        self.flushed = 0

    def seek(self, offset: int, whence: int = 0) -> int:
        self.at = offset
        return offset

    def read(self, size: int = -1) -> bytes:
        return bytes(self.data[self.at : self.at + size])

    def write(self, data: Any) -> None:  # type: ignore[override]  # they return nothing
        assert isinstance(data, bytes)
        self.data[self.at : self.at + len(data)] = data

    def flush(self) -> None:
        self.flushed += 1


def test_a_volume_that_is_like_a_file():
    file = OddFile()
    disk = FileLikeDisk(file)
    disk.write(5, bytearray(b"data"))
    disk.write(9, memoryview(b"!"))
    before = file.flushed
    disk.sync()
    assert disk.read(5, 5) == b"data!"
    assert file.flushed == before + 1


def test_transfers_end_in_time_and_in_order(tmp_path: Path):
    brick = Brick(options(tmp_path, transfer=0.2), "cinder://place")
    transfers, hangs = Transfers(brick, "cinder://place", "write"), threading.Event()
    transfers.begin(lambda: 1)
    transfers.begin(lambda: 2)
    assert (transfers.oldest(), transfers.oldest()) == (1, 2)
    transfers.begin(lambda: hangs.wait(60))
    with pytest.raises(CinderFailed, match="write: no answer in time"):
        transfers.drain()
    assert brick.calls.lost == 1
    hangs.set()

    def full() -> None:
        raise OSError(28, "of the device")

    transfers.begin(full)
    with pytest.raises(StoreFull):
        transfers.drain()


def test_one_holder_of_a_lock(tmp_path: Path):
    folder = tmp_path / "new"
    with (
        host_lock(str(folder), KEY, 60), pytest.raises(CinderFailed, match="another process holds the lock"),
        host_lock(str(folder), KEY, 0),
    ):
        raise AssertionError
    with host_lock(str(folder), KEY, 0):
        pass
    (tmp_path / "file").touch()
    with pytest.raises(CinderFailed, match="see lock_path"), host_lock(str(tmp_path / "file"), KEY, 0):
        raise AssertionError
