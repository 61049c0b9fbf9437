"""The cinder driver and a real Cinder: what a volume looks like, types, identities, extending, several readers."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.cinder_kit import CinderHarness, MakeCinder, host_options, login
from tests.servers.cinder import SERVICE_TYPE, Cinder
from tests.servers.keystone import ADMIN, ALT_DEMO, DEMO, GLANCE, Keystone, User
from tests.support.stores import MemoryIdentities, bare, load

from glance_common.stores import caller as callers
from glance_common.stores.caller import StoreCaller
from glance_common.stores.conformance.harness import DATA
from glance_common.stores.contract import (
    BlobNotFound,
    InUse,
    LocationRefused,
    Store,
    StoreForbidden,
    StoreFull,
    StoreUnavailable,
    WriteDenied,
)
from glance_common.stores.drivers.cinder import writing
from glance_common.stores.drivers.cinder.disks import RbdDisk
from glance_common.stores.drivers.cinder.writing import PIECE

LARGE = bytes(range(256)) * 4096 * 13
"""13 MiB: several pieces."""


def test_what_a_volume_looks_like(make_cinder: MakeCinder):
    harness = make_cinder()
    key = harness.new_key()
    with callers.data_of("a-project"):
        harness.store.add(f"{key}.2", [DATA], len(DATA))
    (volume,) = harness.volumes()
    assert (volume["name"], volume["size"], volume["status"]) == (f"image-{key}.2", 1, "available")
    assert volume["metadata"] == {
        "glance_image_id": key, "image_size": str(len(DATA)), "image_owner": "a-project",
        "glance_store": harness.store.identity(), "readonly": "True",
    }
    assert harness.attachments(volume["id"]) == []
    assert harness.driver.url(volume["id"]) == f"cinder://main/{volume['id']}"
    assert harness.driver.key_of(f"cinder://{volume['id']}") == volume["id"]
    free = harness.store.free()
    assert free is None or free > 0


def test_walk_goes_by_the_keys_of_rows(make_cinder: MakeCinder):
    """Those of the original are walked too; volumes of others are not."""
    harness = make_cinder()
    ours = [harness.driver.add(harness.new_key(), [b"data"], 4).key for _ in range(2)]
    original = harness.server.make_volume(
        volume_type=harness.type, metadata={"glance_image_id": harness.new_key(), "image_size": "7"}
    )
    other = harness.server.make_volume(
        volume_type=harness.type, metadata={"glance_image_id": harness.new_key(), "glance_store": harness.new_key()}
    )
    guest = harness.server.make_volume(volume_type=harness.type)
    # The administrator's project is another one.
    assert [entry.key for entry in harness.driver.walk()] == sorted(ours)
    admin = harness.changed(
        MemoryIdentities(), cinder_store_user_name=ADMIN.name, cinder_store_password=ADMIN.name,
        cinder_store_project_name=ADMIN.project,
    )
    found = list(bare(admin).walk())
    assert [(entry.key, entry.size) for entry in found] == [(original, 7)]
    assert bare(admin).size(original) == 7
    assert len(harness.read_by(admin, original)) == 7
    for volume in (original, other, guest):
        harness.server.call("DELETE", f"/volumes/{volume}")


@pytest.mark.parametrize("attached", [False, True])
def test_an_image_of_unknown_size(make_cinder: MakeCinder, monkeypatch: pytest.MonkeyPatch, attached: bool):
    """The driver takes a GiB for 4 MiB here, so that the volume grows several times."""
    monkeypatch.setattr(writing, "GIB", PIECE)
    harness = make_cinder(cinder_do_extend_attached=str(attached).lower())
    key = harness.new_key()
    harness.store.add(key, (LARGE[at : at + 99_999] for at in range(0, len(LARGE), 99_999)), None)
    assert harness.read(key) == LARGE
    (volume,) = harness.volumes()
    assert volume["size"] == 4
    harness.delete(key)


def test_no_room(make_cinder: MakeCinder, monkeypatch: pytest.MonkeyPatch):
    """A quota that is reached, at the beginning and in the middle; nothing is left."""
    monkeypatch.setattr(writing, "GIB", PIECE)
    harness = make_cinder()
    harness.store.identity()
    harness.server.set_quota(GLANCE.project, **{f"gigabytes_{harness.type}": 2})
    for size in (None, len(LARGE)):
        with pytest.raises(StoreFull, match="a quota of the project is reached"):
            harness.store.add(harness.new_key(), [LARGE], size)
        assert harness.objects() == []
    assert harness.put(DATA)
    with pytest.raises(StoreFull, match="a quota of the project is reached"):
        harness.put(DATA)


def test_a_type_that_encrypts_is_refused(make_cinder: MakeCinder):
    harness = make_cinder()
    kind = harness.server.make_type(encrypted=True)
    store = harness.changed(MemoryIdentities(), cinder_volume_type=kind)
    with pytest.raises(WriteDenied, match="the volume type encrypts volumes"):
        store.add(harness.new_key(), [DATA], None)
    assert harness.volumes(kind) == []


def test_a_type_that_no_backend_has(make_cinder: MakeCinder):
    harness = make_cinder()
    kind = harness.server.make_type(volume_backend_name="none")
    store = harness.changed(MemoryIdentities(), cinder_volume_type=kind)
    with pytest.raises(StoreUnavailable, match="create a volume: the volume is error"):
        store.add(harness.new_key(), [DATA], None)
    assert harness.volumes(kind) == []


def test_volumes_of_others_are_neither_read_nor_deleted(make_cinder: MakeCinder):
    harness = make_cinder()
    guest = harness.volume(name="of a guest")
    for act in (harness.driver.open, harness.driver.size):
        with pytest.raises(LocationRefused, match="the volume is not an image"):
            act(guest)
    with pytest.raises(StoreForbidden, match="no image"):
        harness.driver.delete(guest)
    named = harness.new_key()
    namesake = harness.volume(name=f"image-{named}")
    with pytest.raises(BlobNotFound):
        harness.driver.delete(named)
    assert harness.server.volume(guest) is not None
    assert harness.server.volume(namesake) is not None


def test_a_finished_image_that_no_row_knows(make_cinder: MakeCinder):
    """The service died between the end of the upload and the note of it: the planned key finds the volume."""
    harness = make_cinder()
    key = harness.new_key()
    harness.driver.add(f"{key}.1", [DATA], None)
    harness.driver.delete(f"{key}.1")
    assert harness.objects() == []


def test_readers_of_several_processes(make_cinder: MakeCinder):
    """With a type of several attachments. Each process has a store of its own."""
    harness = make_cinder()
    key = harness.put(LARGE)
    others = [harness.changed() for _ in range(2)]
    with closing(harness.store.open(key)) as first, closing(others[0].open(key, 5)) as second:
        assert LARGE.startswith(next(iter(first)))
        assert b"".join(second) == LARGE[5:]
        assert harness.read_by(others[1], harness.rows[key]) == LARGE
    (volume,) = harness.volumes()
    assert volume["status"] == "available"
    assert harness.attachments(volume["id"]) == []


@pytest.mark.parametrize("operation", ["read", "write"])
def test_transfers_of_a_volume_of_ceph_are_under_way_side_by_side(
    make_cinder: MakeCinder, monkeypatch: pytest.MonkeyPatch, operation: str
):
    """One at a time would leave Ceph idle between them."""
    harness = make_cinder()
    key = harness.put(LARGE)
    real, both, begun = getattr(RbdDisk, operation), threading.Barrier(2), itertools.count()

    def transfer(disk: RbdDisk, at: int, data: Any) -> Any:
        if next(begun) < both.parties:
            both.wait(30)
        return real(disk, at, data)

    monkeypatch.setattr(RbdDisk, operation, transfer)
    if operation == "write":
        key = harness.put(LARGE)
    assert harness.read(key) == LARGE


def test_a_type_without_multiattach(make_cinder: MakeCinder):
    """The readers of one process share the attachment; another process is told to try again."""
    harness = make_cinder(multiattach=False, cinder_attachment_retry_attempts=1)
    key = harness.put(LARGE)
    other = harness.changed()
    with closing(harness.store.open(key)) as first, closing(harness.store.open(key, 7)) as second:
        assert LARGE.startswith(next(iter(first)))
        with pytest.raises(StoreUnavailable, match="attached elsewhere, or not available; a type with multiattach"):
            other.open(key)
        assert b"".join(second) == LARGE[7:]
        with pytest.raises(InUse, match="has it attached"):
            harness.store.delete(key)
    assert harness.read_by(other, harness.rows[key]) == LARGE


def test_a_token_that_ended_is_renewed(make_cinder: MakeCinder):
    harness = make_cinder()
    key = harness.put(DATA)
    tokens = harness.driver._machinery._tokens
    harness.keystone.revoke(tokens.get().secret)
    assert harness.read(key) == DATA
    harness.delete(key)


def test_a_user_without_special_roles(make_cinder: MakeCinder):
    """It owns the volumes, which is enough for all that the store does."""
    store = bare(make_cinder().changed(
        MemoryIdentities(), cinder_store_user_name=DEMO.name, cinder_store_password=DEMO.name,
        cinder_store_project_name=DEMO.project,
    ))
    key = store.add("0b1c0a0e-5a51-4a3c-9d21-3c8f1d0a7d55", [DATA], None).key
    assert key is not None
    with closing(store.open(key)) as blob:
        assert b"".join(blob) == DATA
    assert [entry.key for entry in store.walk()] == [key]
    store.delete(key)


def test_an_application_credential(make_cinder: MakeCinder):
    harness = make_cinder()
    credential, secret = harness.keystone.application_credential(GLANCE)
    store = harness.changed(
        MemoryIdentities(), cinder_store_application_credential_id=credential,
        cinder_store_application_credential_secret=secret,
    )
    key = harness.new_key()
    store.add(key, [DATA], None)
    assert harness.read(key) == DATA, "it is the same project"


def test_a_region_that_the_catalog_has_not(make_cinder: MakeCinder):
    store = make_cinder().changed(cinder_os_region_name="Nowhere")
    with pytest.raises(StoreUnavailable, match="the catalog has no such service"):
        store.check()


class Callers:
    """A store without a user: each caller has volumes in its own project."""

    def __init__(self, folder: Path, server: Cinder, keystone: Keystone) -> None:
        self.server = server
        self.keystone = keystone
        self.kind = server.make_type()
        self.folder = folder
        self.store = self.made()

    def made(self, **options: Any) -> Store:
        """Return the driver with more options."""
        groups = {
            "glance_store": {"stores": "cinder", "default_store": "cinder", "cinder_volume_type": self.kind, **options},
            **host_options(self.folder),
        }
        return bare(load(self.folder, groups, MemoryIdentities()).default)

    @contextmanager
    def calling(self, user: User) -> Iterator[None]:
        """Let a user call in the block, with the catalog as Keystone's middleware gives it."""
        project = self.keystone.project_ids[user.project]
        url = f"{self.server.url}/v3/{project}"
        endpoints = [{"region": "RegionOne", "publicURL": url, "internalURL": url, "adminURL": url}]
        catalog = json.dumps([{"type": SERVICE_TYPE, "name": "cinderv3", "endpoints": endpoints}])
        callers.begin_request(StoreCaller(project, self.keystone.token(user), catalog))
        try:
            yield
        finally:
            callers.begin_request(StoreCaller())


def test_volumes_of_the_callers(cinder: Cinder, keystone: Keystone, tmp_path: Path):
    case = Callers(tmp_path, cinder, keystone)
    image = "5f0c3b52-94a5-4d4f-8c52-5ce1cc1d2c6f"
    with case.calling(DEMO):
        key = case.store.add(image, [DATA], None).key
        assert key is not None
        with closing(case.store.open(key)) as blob:
            assert b"".join(blob) == DATA
        assert case.store.identity() == ""
    volume = cinder.volume(key)
    assert volume is not None
    assert volume["os-vol-tenant-attr:tenant_id"] == keystone.project_ids[DEMO.project]
    assert volume["metadata"]["image_owner"] == keystone.project_ids[DEMO.project]
    with case.calling(ALT_DEMO), pytest.raises(StoreUnavailable, match="the project of this caller has no volume"):
        case.store.size(key)
    with pytest.raises(StoreUnavailable, match="no caller waits whose token could be used"):
        case.store.delete(key)
    # As the page says: the scrubber has a user that may delete volumes of all projects.
    case.made(**login(keystone)).delete(key)
    assert cinder.volume(key) is None


@pytest.fixture
def harness(make_cinder: MakeCinder) -> CinderHarness:
    """A store."""
    return make_cinder()


def test_a_mark_that_is_lost_can_be_made_again(harness: CinderHarness):
    """As the page says."""
    key, identity = harness.put(DATA), harness.store.identity()
    (mark,) = [each for each in harness.server.volumes(harness.type) if each["name"] == f".glance-store.{harness.type}"]
    harness.server.call("DELETE", f"/volumes/{mark['id']}", user=GLANCE)
    with pytest.raises(StoreUnavailable, match=f"has no object .glance-store, which must hold {identity}"):
        harness.store.delete(key)
    harness.volume(name=mark["name"], metadata={"glance_store": identity})
    harness.delete(key)
