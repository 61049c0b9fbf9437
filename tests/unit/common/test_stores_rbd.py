"""URLs, options, errors and bounded calls of the rbd store. tests/conformance has its work on a real cluster."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tests.support.stores import load
from tests.support.waiting import wait_for

from glance_common.stores import ceph_modules
from glance_common.stores.calls import MOST_LOST, CallHangs, Calls, Steps
from glance_common.stores.contract import StoreFull
from glance_common.stores.drivers.rbd import errors
from glance_common.stores.drivers.rbd.address import RbdPlace
from glance_common.stores.drivers.rbd.cluster import free_bytes
from glance_common.stores.settings import StoreConfigError

KEY = "11111111-1111-4111-8111-111111111111"
FSID = "0f6ee2a0-9d4c-4d7b-8d4c-6a5d3a7b9c1e"
PLACE = RbdPlace(FSID, "my images")


def test_urls_are_those_of_nova_and_cinder():
    assert PLACE.url(KEY) == f"rbd://{FSID}/my%20images/{KEY}/snap"
    assert PLACE.key_of(PLACE.url(KEY)) == KEY
    assert PLACE.key_of(PLACE.url(f"{KEY}.2")) == f"{KEY}.2"
    assert PLACE.key_of(f"RBD://{FSID}/my%20images/{KEY}/snap") == KEY
    assert PLACE.key_of(f"rbd://{KEY}") == KEY, "the short form of older records"


@pytest.mark.parametrize(
    "url",
    [
        f"rbd://{FSID[::-1]}/my%20images/{KEY}/snap",
        f"rbd://{FSID}/other/{KEY}/snap",
        f"rbd://{FSID}/my%20images/{KEY}/backup",
        f"rbd://{FSID}/my%20images/{KEY}",
        f"rbd://{FSID}/my%20images/{KEY}/snap/more",
        f"rbd://{FSID}/my%20images//snap",
        f"rbd://{FSID}/my%20images/{KEY}/",
        f"rbd://{FSID}/my%20images/{KEY}/snap?x=1",
        f"rbd://{FSID}/my%20images/{KEY}/snap#x",
        f"rbd://user:secret@{FSID}/my%20images/{KEY}/snap",
        f"rbd://{FSID}/my%20images/{KEY}%2F..%2Fother/snap",
        f"rbd://{FSID}/my%20images/{KEY}@snap/snap",
        f"rbd://{FSID}/my%20images/{KEY}%00/snap",
        f"rbd://{FSID}/my%20images/{KEY}%0a/snap",
        f"rbd://{FSID}%2Fmy%20images/{KEY}/snap",
        f"rbd://{KEY}/", f"rbd://{KEY}%0a", f"rbd:{KEY}", f"rbd:///{KEY}", "rbd://volume-1", "rbd://", "rbd",
        f"rbd://{FSID}/my%20images/{KEY.replace('1', 'ä', 1)}/snap",
        f"http://{FSID}/my%20images/{KEY}/snap",
    ],
)
def test_urls_of_other_places_and_forms_are_refused(url: str):
    assert PLACE.key_of(url) is None


def stores(folder: Path, **options: object):
    return load(folder, {
        "DEFAULT": {"enabled_backends": "main:rbd"}, "glance_store": {"default_backend": "main"}, "main": options,
    })


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"rbd_store_pool": "a/b"}, "[main] rbd_store_pool = a/b: must be the name of a pool"),
        ({"rbd_store_pool": ""}, "rbd_store_pool"),
    ],
)
def test_bad_options_stop_the_start(tmp_path: Path, options: dict[str, object], text: str):
    with pytest.raises(StoreConfigError) as caught:
        stores(tmp_path, **options)
    assert text in str(caught.value)


def test_missing_modules_stop_the_start_and_name_the_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def missing():
        raise ImportError("no module")

    monkeypatch.setattr("glance_common.stores.drivers.rbd.options.bindings", missing)
    with pytest.raises(StoreConfigError, match="install the packages python3-rados and python3-rbd"):
        stores(tmp_path)


def test_the_driver_is_loaded_without_the_modules():
    program = (
        "import sys; sys.modules['rados'] = sys.modules['rbd'] = None\n"
        "from glance_common.stores.kinds import drivers\n"
        "assert 'rbd' in drivers()"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_a_module_is_found_in_the_folders_of_the_distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ceph_modules, "FOLDERS", (str(tmp_path / "none"), str(tmp_path)))
    monkeypatch.setattr("sysconfig.get_config_var", lambda name: ".py")
    with pytest.raises(ImportError, match="no module a_module_of_ceph for this Python"):
        ceph_modules._module("a_module_of_ceph")
    (tmp_path / "a_module_of_ceph.py").write_text("value = 7\n")
    monkeypatch.setitem(sys.modules, "a_module_of_ceph", None)
    monkeypatch.delitem(sys.modules, "a_module_of_ceph")
    assert ceph_modules._module("a_module_of_ceph").value == 7
    (tmp_path / "a_broken_module.py").write_text("import a_module_that_is_not_there\n")
    with pytest.raises(ImportError):
        ceph_modules._module("a_broken_module")
    assert "a_broken_module" not in sys.modules


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_cluster(number: int):
    assert isinstance(errors.of_number(number, "NoSpace", "write", "rbd://x/y"), StoreFull)


@pytest.mark.parametrize(
    ("number", "name", "text", "flags"),
    [
        (errno.ETIMEDOUT, "TimedOut", "does not answer in time", (True, False, False)),
        (errno.EACCES, "PermissionDeniedError", "refuses the user or its key", (False, True, False)),
        (errno.EPERM, "PermissionError", "its caps need 'profile rbd'", (False, True, False)),
        (errno.ESHUTDOWN, "ConnectionShutdown", "shut this client out", (False, False, True)),
        (None, "RadosStateError", "cannot do it", (False, False, True)),
        (errno.ENOENT, "ObjectNotFound", "does not exist", (False, False, False)),
        (errno.EIO, "OSError", "cannot do it (OSError, error 5)", (False, False, False)),
    ],
)
def test_errors_tell_what_to_mend(number: int | None, name: str, text: str, flags: tuple[bool, bool, bool]):
    failed = errors.of_number(number, name, "open an image", "rbd://x/y")
    assert isinstance(failed, errors.RbdFailed)
    assert str(failed).startswith("rbd://x/y: open an image: ")
    assert text in str(failed)
    assert (failed.silent, failed.denied, failed.lost) == flags


def _df(**stats: int) -> tuple[int, bytes, str]:
    pools = [{"name": "other", "stats": {"max_avail": 1}}, {"name": "images", "stats": stats}]
    return 0, json.dumps({"stats": {}, "pools": pools}).encode(), ""


@pytest.mark.parametrize(
    ("answer", "free"),
    [
        (_df(max_avail=1000, stored=10), 1000),
        (_df(max_avail=1000, stored=10, quota_bytes=0), 1000),
        (_df(max_avail=1000, stored=10, quota_bytes=50), 40),
        (_df(max_avail=1000, stored=60, quota_bytes=50), None),
        (_df(max_avail=0), None),
        ((0, b'{"stats":{"total_bytes":0},"pools":[]}\n', ""), None),
        ((-13, b"", "access denied"), None),
    ],
)
def test_the_free_space_of_a_pool(answer: tuple[int, bytes, str], free: int | None):
    assert free_bytes(answer, "images") == free


def test_a_call_returns_and_raises_what_it_does():
    calls = Calls("rbd")
    assert calls.run(lambda: 7, 60) == 7
    with pytest.raises(ZeroDivisionError):
        calls.run(lambda: 1 // 0, 60)
    assert calls.lost == 0


def test_calls_that_hang_cost_a_bounded_number_of_threads():
    calls, go, late = Calls("rbd"), threading.Event(), []

    def hang() -> int:
        go.wait()
        return 7

    for _ in range(MOST_LOST):
        with pytest.raises(CallHangs):
            calls.run(hang, 0.01, late=late.append)
    assert calls.lost == MOST_LOST
    begun = threading.Event()
    with pytest.raises(CallHangs):
        calls.run(begun.set, 60)
    assert not begun.is_set(), "no further call begins"
    go.set()
    wait_for(lambda: calls.lost == 0, "the calls' return")
    assert late == [7] * MOST_LOST, "what came late can be released"
    assert calls.run(lambda: 1, 60) == 1


def test_an_error_that_comes_late_is_no_result():
    calls, go, late = Calls("rbd"), threading.Event(), []

    def fail() -> None:
        go.wait()
        raise OSError

    with pytest.raises(CallHangs):
        calls.run(fail, 0.01, late=late.append)
    go.set()
    wait_for(lambda: calls.lost == 0, "the call's return")
    assert late == []


def test_a_call_that_makes_progress_is_waited_for():
    progress, ended = Steps(), threading.Event()

    def steps() -> str:
        for number in range(8):
            progress(number, 8)
            ended.wait(0.05)
        return "done"

    # Longer than the limit as a whole; a machine that stands still makes the limit come twice without a step.
    for _ in range(20):
        try:
            assert Calls("rbd").run(steps, 0.3, progress=progress) == "done"
            return
        except CallHangs:
            continue
    pytest.fail("never waited")
