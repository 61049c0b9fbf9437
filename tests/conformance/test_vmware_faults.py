"""The vmware driver when sessions end, connections break, servers redirect and datastores are full."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.vmware_kit import VmwareHarness
from tests.servers.gate import Gate
from tests.servers.vcsim import DATACENTER, DATASTORES, PASSWORD, VCenterSimulator
from tests.support.certificates import server_certificate

from glance_common.stores.conformance.harness import DATA
from glance_common.stores.conformance.network import PATIENCE
from glance_common.stores.contract import (
    BlobExists,
    BlobNotFound,
    RangeUnsupported,
    StoreError,
    StoreFull,
    StoreUnavailable,
    WriteDenied,
)
from glance_common.stores.drivers.vmware import reading, soap
from glance_common.stores.drivers.vmware.errors import BROKEN, VmwareFailed
from glance_common.stores.drivers.vmware.window import WINDOW

MIB = 1024 * 1024
LARGE = 2 * WINDOW + 3 * MIB
PLENTY = 10**15

MakeVmware = Callable[..., VmwareHarness]


@pytest.fixture
def server(vcenter: VCenterSimulator) -> Iterator[VCenterSimulator]:
    """The simulator, whose faults are switched off behind the test."""
    vcenter.control()
    yield vcenter
    vcenter.control(redirects=0, rude=0, ranges=1, fault=0, cut=0)
    for name in DATASTORES:
        vcenter.control(ds=name, told=PLENTY, room=PLENTY)


@pytest.fixture
def make(server: VCenterSimulator, tmp_path: Path) -> Iterator[MakeVmware]:
    """A function that returns a harness of datastores, with options of the store."""
    made: list[VmwareHarness] = []

    def harness(*datastores: str, **options: Any) -> VmwareHarness:
        made.append(VmwareHarness(tmp_path, server, *datastores, **options))
        return made[-1]

    yield harness
    for each in made:
        assert each.unfinished() == []
        each.close()


def cookie(harness: VmwareHarness) -> str:
    """Return the cookie of the session that the store has now."""
    line: soap.SoapLine = harness.store._vcenter.line()  # type: ignore[attr-defined]  # of this driver
    return line.cookie


def source(size: int, at: int, act: Callable[[], object]) -> Iterator[bytes]:
    """Yield so many bytes, and do something in the middle."""
    for number in range(0, size, MIB):
        if number == at:
            act()
        yield bytes([number // MIB % 251]) * min(MIB, size - number)


def content(size: int) -> bytes:
    return b"".join(source(size, -1, list))


# Sessions


def test_a_session_that_expired_is_renewed_by_every_call(make: MakeVmware, server: VCenterSimulator):
    harness = make()
    key = harness.put(DATA)
    store = harness.store
    calls: list[Callable[[], object]] = [
        lambda: harness.read(key), lambda: store.size(key), store.identity, lambda: list(store.walk()), store.free,
        lambda: harness.put(DATA), lambda: store.delete(key),
    ]
    for call in calls:
        before = cookie(harness)
        server.end_session(before)
        call()
        assert cookie(harness) != before


@pytest.mark.parametrize("announced", [LARGE, None])
def test_a_session_that_ends_in_mid_upload_is_renewed_at_the_end(
    make: MakeVmware, server: VCenterSimulator, announced: int | None
):
    harness = make()
    key = harness.new_key()
    before = cookie(harness)
    pieces = source(LARGE, 2 * WINDOW, lambda: server.end_session(before))
    assert harness.store.add(key, pieces, announced).size == LARGE
    assert harness.read(key) == content(LARGE)
    assert cookie(harness) != before


@pytest.mark.parametrize("rude", [0, 1], ids=["answers 401", "hangs up"])
@pytest.mark.parametrize("size", [3 * MIB, LARGE])
def test_a_session_that_ended_before_the_data_were_taken(
    make: MakeVmware, server: VCenterSimulator, size: int, rude: int
):
    harness = make()
    key = harness.new_key()
    server.control(rude=rude)
    pieces = source(size, MIB, lambda: server.end_session(cookie(harness)))
    assert harness.store.add(key, pieces, size).size == size
    assert harness.read(key) == content(size)


def test_an_expired_session_is_told_apart_from_a_broken_connection(make: MakeVmware, server: VCenterSimulator):
    harness = make()
    key = harness.new_key()
    server.control(cut=WINDOW + 2 * MIB)
    with pytest.raises(StoreUnavailable, match="connection failed or broke"):
        harness.store.add(key, source(LARGE, -1, list), LARGE)
    assert harness.objects() == []
    server.control(cut=WINDOW + 2 * MIB)
    before = cookie(harness)
    with pytest.raises(StoreUnavailable, match="session ended in the middle of the upload"):
        harness.store.add(key, source(LARGE, WINDOW + MIB, lambda: server.end_session(before)), LARGE)
    assert harness.objects() == []
    assert harness.store.add(key, source(LARGE, -1, list), LARGE).size == LARGE


def test_a_connection_that_breaks_early_is_no_end(make: MakeVmware, server: VCenterSimulator):
    harness = make()
    server.control(cut=MIB)
    key = harness.put(content(WINDOW))
    assert harness.read(key) == content(WINDOW)
    for size in (MIB, LARGE):
        server.control(fault=401)
        other = harness.new_key()
        assert harness.store.add(other, source(size, -1, list), size).size == size
        harness.store.delete(other)
    server.control(fault=500)
    with pytest.raises(StoreUnavailable, match="500"):
        harness.put(DATA)
    assert harness.objects() == [key]


def test_a_question_for_a_task_is_asked_again(make: MakeVmware, monkeypatch: pytest.MonkeyPatch):
    harness = make()
    bound = soap.bound
    asked: list[str] = []

    def breaking(kind: str, *rest: Any) -> Any:
        if kind == "Task":
            asked.append(kind)
            if len(asked) % 3:
                raise VmwareFailed("the connection broke", BROKEN)
        return bound(kind, *rest)

    monkeypatch.setattr(soap, "bound", breaking)
    key = harness.put(DATA)
    harness.store.delete(key)
    assert len(asked) >= 9, "renaming, listing and deleting"


def test_threads_share_one_login(make: MakeVmware, server: VCenterSimulator, monkeypatch: pytest.MonkeyPatch):
    harness = make()
    key = harness.put(DATA)
    logins: list[str] = []
    log_in = soap.log_in

    def counted(line: soap.SoapLine, user: str, password: str) -> None:
        logins.append(user)
        log_in(line, user, password)

    monkeypatch.setattr(soap, "log_in", counted)
    server.end_session(cookie(harness))
    results: list[bytes] = []
    threads = [threading.Thread(target=lambda: results.append(harness.read(key))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [DATA] * 8
    assert len(logins) == 1


def test_a_server_that_comes_back_is_used_again(make: MakeVmware, server: VCenterSimulator):
    harness = make()
    key = harness.put(DATA)
    server.restart()
    assert harness.read(key) == DATA
    assert harness.store.free()
    harness.store.delete(key)


def test_a_server_that_is_killed_in_mid_upload(make: MakeVmware, server: VCenterSimulator):
    harness = make()
    key, other = harness.new_key(), harness.put(DATA)
    with pytest.raises(StoreUnavailable):
        harness.store.add(key, source(LARGE, 2 * WINDOW, server.stop), LARGE)
    server.restart()
    assert len(harness.unfinished()) == 1
    with pytest.raises(BlobNotFound):
        harness.store.open(key)
    assert [entry.key for entry in harness.store.walk()] == [other]
    with pytest.raises(BlobNotFound):
        harness.store.delete(key)
    assert harness.objects() == [other]
    assert harness.store.add(key, source(LARGE, -1, list), LARGE).size == LARGE


def test_a_server_that_hangs_in_mid_upload(make: MakeVmware, server: VCenterSimulator):
    harness = make()
    key = harness.new_key()
    gate = Gate(server.port)
    slow = harness.changed(
        harness.move_identity(harness.place(port=gate.port)), vmware_server_host=f"127.0.0.1:{gate.port}",
        vmware_connect_timeout=10, vmware_read_timeout=10,
    )
    slow.check()
    try:
        began = time.monotonic()
        # More than the buffers of the network take in.
        with pytest.raises(StoreUnavailable, match=r"was silent for 10 seconds|took more than"):
            slow.add(key, source(10 * LARGE, 2 * WINDOW, gate.shut), 10 * LARGE)
        assert time.monotonic() - began < 2 * 20 + PATIENCE
    finally:
        gate.close()
    with pytest.raises(BlobNotFound):
        harness.store.open(key)
    with pytest.raises(BlobNotFound):
        harness.store.delete(key)
    assert harness.objects() == []


def test_s02_s06_no_text_has_a_password_or_a_cookie(
    make: MakeVmware, server: VCenterSimulator, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG)
    harness = make()
    key = harness.put(DATA)
    server.control(fault=500)
    with pytest.raises(StoreError) as caught:
        harness.put(DATA)
    wrong = harness.changed(vmware_server_username=f"another {PASSWORD}")
    with pytest.raises(StoreUnavailable, match="refuses the user or the password") as refused:
        wrong.open(key)
    told = "\n".join([caplog.text, str(caught.value), str(refused.value), str(harness.store.details())])
    for secret in (PASSWORD, cookie(harness).partition("=")[2]):
        assert secret not in told


# Redirects


def test_a_host_gets_tickets_and_never_the_cookie(make: MakeVmware, server: VCenterSimulator):
    harness = make()
    server.control(redirects=1)
    for announced, told in ((LARGE, LARGE), (None, -1)):
        key = harness.new_key()
        assert harness.store.add(key, source(LARGE, -1, list), announced).size == LARGE
        assert harness.read(key, 5, 100) == content(LARGE)[5:105]
        seen = server.control()
        assert f"PUT {told} vmware_cgi_ticket" in seen
        assert {line.split(" ", 2)[2] for line in seen} == {"vmware_cgi_ticket"}
        harness.store.delete(key)


def test_redirects_have_an_end(make: MakeVmware, server: VCenterSimulator):
    harness = make()
    server.control(redirects=5)
    key = harness.put(DATA)
    assert harness.read(key) == DATA
    server.control(redirects=6)
    with pytest.raises(StoreUnavailable, match="more than 5 redirects"):
        harness.read(key)
    with pytest.raises(StoreUnavailable, match="more than 5 redirects"):
        harness.put(DATA)


# Certificates


def test_s04_certificates_are_checked(make: MakeVmware, server: VCenterSimulator, tmp_path: Path):
    harness = make()
    key = harness.put(DATA)
    other, _ = server_certificate(tmp_path, "127.0.0.1", "other")
    colons = ":".join(server.thumbprint.upper()[at : at + 2] for at in range(0, 64, 2))
    good: list[dict[str, Any]] = [
        {"vmware_ca_file": "", "vmware_thumbprint": server.thumbprint},
        {"vmware_ca_file": "", "vmware_thumbprint": colons},
        {"vmware_ca_file": "", "vmware_insecure": "true"},
    ]
    for options in good:
        with closing(harness.changed(**options).open(key)) as blob:
            assert b"".join(blob) == DATA
    bad: list[dict[str, Any]] = [
        {"vmware_ca_file": ""}, {"vmware_ca_file": other}, {"vmware_ca_file": other, "vmware_insecure": "true"},
        {"vmware_thumbprint": "0" * 64}, {"vmware_thumbprint": "0" * 40, "vmware_insecure": "true"},
    ]
    for options in bad:
        with pytest.raises(StoreUnavailable, match="certificate of the server does not fit"):
            harness.changed(**options).open(key)


# Datastores


def test_weight_then_most_space_that_fits(make: MakeVmware, server: VCenterSimulator):
    first, second = DATASTORES
    weights = [f"{DATACENTER}:{first}:5", f"{DATACENTER}:{second}:7"]
    harness = make(*DATASTORES, vmware_datastores=weights)
    for free, chosen in (((9, 8), second), ((9, 1), first), ((1, 9), second)):
        for name, room in zip(DATASTORES, free, strict=True):
            server.control(ds=name, told=room * MIB, room=PLENTY)
        key = harness.new_key()
        harness.store.add(key, [b"data"], 5 * MIB)
        assert [path.name for path in harness.files(chosen)] == [key]
        assert harness.store.url(key).endswith(f"dsName={chosen}")
        harness.store.delete(key)
    assert harness.store.free() == 9 * MIB
    with pytest.raises(StoreFull):
        harness.store.add(harness.new_key(), [b"data"], 10 * MIB)
    alike = make(*DATASTORES)
    for free, chosen in (((9, 8), first), ((8, 9), second)):
        for name, room in zip(DATASTORES, free, strict=True):
            server.control(ds=name, told=room * MIB, room=PLENTY)
        key = alike.put(b"data")
        assert [path.name for path in alike.files(chosen)] == [key]
        alike.store.delete(key)


def test_keys_of_several_datastores_are_found(make: MakeVmware, server: VCenterSimulator):
    harness = make(*DATASTORES)
    keys: dict[str, str] = {}
    for chosen in (*DATASTORES, *DATASTORES):
        for name in DATASTORES:
            server.control(ds=name, told=PLENTY if name == chosen else MIB, room=PLENTY)
        keys[harness.put(DATA)] = chosen
    fresh = harness.changed()
    for key, datastore in keys.items():
        assert fresh.url(key).endswith(f"dcPath={DATACENTER}&dsName={datastore}")
        with closing(fresh.open(key, 7, 5)) as blob:
            assert b"".join(blob) == DATA[7:12]
        with pytest.raises(BlobExists):
            fresh.add(key, [b"other"], 5)
    assert [entry.key for entry in fresh.walk()] == sorted(keys)
    assert len(fresh.identity().split(",")) == 2
    for key in keys:
        fresh.delete(key)
        with pytest.raises(BlobNotFound):
            harness.read(key)
    assert harness.objects() == []


def test_files_of_the_original_are_read(make: MakeVmware, server: VCenterSimulator):
    harness = make()
    key = harness.new_key()
    (server.datastore(DATASTORES[0]) / harness.directory.strip("/") / key).write_bytes(DATA)
    path = harness.directory.replace(" ", "%20")
    for query in (f"dcPath={DATACENTER}&dsName={DATASTORES[0]}", f"dsName={DATASTORES[0]}&dcPath={DATACENTER}"):
        assert harness.store.key_of(f"vsphere://{server.address}/folder{path}/{key}?{query}") == key
    assert harness.read(key) == DATA
    assert [entry.key for entry in harness.store.walk()] == [key]
    harness.store.delete(key)
    assert harness.objects() == []


@pytest.mark.parametrize("announced", [LARGE, None])
def test_a_datastore_that_is_full_in_mid_upload(make: MakeVmware, server: VCenterSimulator, announced: int | None):
    harness = make()
    server.control(ds=DATASTORES[0], told=PLENTY, room=WINDOW + 2 * MIB)
    with pytest.raises(StoreFull):
        harness.store.add(harness.new_key(), source(LARGE, -1, list), announced)
    assert harness.objects() == []


def test_refusals_of_an_upload(make: MakeVmware, server: VCenterSimulator):
    harness = make()
    for status, error in ((507, StoreFull), (413, StoreFull), (403, WriteDenied), (503, StoreUnavailable)):
        server.control(fault=status)
        with pytest.raises(error):
            harness.put(DATA)
    assert harness.objects() == []


def test_a_wrong_announcement_is_told(make: MakeVmware):
    harness = make()
    for announced in (LARGE - 1, LARGE + 1):
        with pytest.raises(StoreError, match="announced"):
            harness.store.add(harness.new_key(), source(LARGE, -1, list), announced)
    assert harness.objects() == []


@pytest.mark.parametrize("options", [{"vmware_datastores": "DC7:LocalDS_0"}, {"vmware_datastores": "DC0:missing"}])
def test_names_that_the_server_does_not_know(make: MakeVmware, options: dict[str, Any]):
    with pytest.raises(StoreUnavailable, match=r"there is no datacenter DC7|DC0 has no datastore missing"):
        make().changed(**options).add("11111111-1111-4111-8111-111111111111", [b"x"], 1)


def test_a_datastore_that_is_missing_keeps_no_upload_from_others(
    make: MakeVmware, caplog: pytest.LogCaptureFixture
):
    harness = make()
    more = harness.changed(vmware_datastores=[f"{DATACENTER}:{DATASTORES[0]}", f"{DATACENTER}:missing:9"])
    key = harness.new_key()
    more.add(key, [b"data"], 4)
    assert "has no datastore missing" in caplog.text
    with closing(more.open(key)) as blob:
        assert b"".join(blob) == b"data"
    with pytest.raises(StoreUnavailable):
        more.open(harness.new_key())
    with pytest.raises(StoreUnavailable):
        more.delete(key)
    assert harness.read(key) == b"data"


# Ranges


def test_a_server_without_ranges_is_read_from_the_start(
    make: MakeVmware, server: VCenterSimulator, monkeypatch: pytest.MonkeyPatch
):
    harness = make()
    key = harness.put(DATA)
    server.control(ranges=0)
    for offset, length in ((0, 5), (700_000, 5), (len(DATA) - 1, None), (len(DATA), None), (len(DATA) + 9, 3)):
        end = None if length is None else offset + length
        assert harness.read(key, offset, length) == DATA[offset:end]
    monkeypatch.setattr(reading, "SKIP", 1000)
    assert harness.read(key, 1000, 5) == DATA[1000:1005]
    with pytest.raises(RangeUnsupported):
        harness.read(key, 1001, 5)


# Tasks


def test_a_task_that_does_not_end_is_given_up(make: MakeVmware, monkeypatch: pytest.MonkeyPatch):
    harness = make()
    key = harness.put(DATA)
    impatient = harness.changed(vmware_task_timeout=0.5, vmware_task_poll_interval=0.05)
    impatient.check()
    bound = soap.bound

    class Running:
        """A task that runs for ever."""

        class info:  # noqa: N801 - the library's name
            state = "running"

    with monkeypatch.context() as patched:
        patched.setattr(soap, "bound", lambda kind, *rest: Running() if kind == "Task" else bound(kind, *rest))
        with pytest.raises(StoreUnavailable, match="took more than"):
            impatient.delete(key)
