"""What the rbd driver promises of images in a real Ceph cluster, beyond the suite of all drivers."""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from tests.conformance.rbd_kit import MakeRbd
from tests.servers.rbd import Administrator
from tests.support.stores import MemoryIdentities, bare, load

from glance_common.stores.ceph_modules import bindings
from glance_common.stores.conformance.harness import DATA
from glance_common.stores.contract import BlobNotFound, InUse, StoreUnavailable, WriteDenied
from glance_common.stores.drivers.rbd.writing import RbdUpload
from glance_common.stores.place_mark import NAME

MIB = 1024 * 1024


@pytest.mark.parametrize(("chunk", "order"), [(1, 20), (8, 23), (32, 25)])
def test_an_image_as_nova_and_cinder_want_it(make_rbd: MakeRbd, chunk: int, order: int):
    harness = make_rbd(rbd_store_chunk_size=chunk)
    key = harness.put(DATA)
    with harness.pool.image(key) as image:
        assert image.size() == len(DATA)
        assert image.stat()["order"] == order
        assert image.features() == bindings().rbd.RBD_FEATURE_LAYERING
        (snapshot,) = image.list_snaps()
        assert (snapshot["name"], snapshot["size"]) == ("snap", len(DATA))
        assert image.is_protected_snap("snap")
    assert harness.store.url(key) == f"rbd://{harness.pool.fsid}/{harness.pool.name}/{key}/snap"
    assert harness.store.details() == {
        "fsid": harness.pool.fsid, "pool": harness.pool.name, "chunk_size": chunk * MIB, "thin_provisioning": False,
    }


@pytest.mark.parametrize("thin", ["true", "false"])
@pytest.mark.parametrize("known", [True, False])
def test_sparse_data(make_rbd: MakeRbd, thin: str, known: bool):
    """A GiB with 3 MiB of data, at the edges of pieces and blocks, reads as it was written."""
    harness = make_rbd(rbd_thin_provisioning=thin)
    size = (1024 if thin == "true" else 48) * MIB
    data = {0: b"a" * MIB, 4 * MIB - 5: b"b" * 10, size // 2 + 7: b"c" * MIB, size - MIB: b"d" * MIB}

    def pieces() -> Iterator[bytes]:
        at = 0
        for begin, part in data.items():
            for start in range(at, begin, MIB):
                yield bytes(min(MIB, begin - start))
            yield part
            at = begin + len(part)

    key = harness.new_key()
    assert harness.store.add(key, pieces(), size if known else None).size == size
    assert harness.store.size(key) == size
    for begin, part in data.items():
        first = max(begin - 3, 0)
        assert harness.read(key, first, len(part) + 6) == (bytes(begin - first) + part + bytes(6))[
            : min(len(part) + 6, size - first)
        ]
    taken = harness.pool.bytes_written(key)
    # The OSD of this cluster keeps no holes within an object of 8 MiB.
    assert taken <= len(data) * 8 * MIB if thin == "true" else taken >= size


def test_thin_data_of_every_form(make_rbd: MakeRbd):
    harness = make_rbd(rbd_thin_provisioning="true")
    zeros, ones = bytes(256 * 1024), b"1" * 256 * 1024
    for blocks in ("0", "1", "01", "10", "0101101", "1" * 16 + "0", "0" * 33, "0" * 15 + "1" + "1" + "0" * 15):
        for more in (b"", b"\0", b"x"):
            data = b"".join(ones if block == "1" else zeros for block in blocks) + more
            key = harness.new_key()
            harness.store.add(key, [data], None)
            assert harness.read(key) == data, blocks


def test_an_image_without_its_snapshot_is_unfinished(make_rbd: MakeRbd):
    harness = make_rbd()
    key = harness.new_key()
    bindings().rbd.RBD().create(harness.pool.io, key, MIB)
    for act in (harness.store.open, harness.store.size):
        with pytest.raises(BlobNotFound):
            act(key)
    assert list(harness.store.walk()) == []
    with pytest.raises(BlobNotFound):
        harness.store.delete(key)
    assert harness.objects() == []


def test_an_image_that_others_made(make_rbd: MakeRbd):
    """Nova makes snapshots of its disks in the pool, under the id of the image."""
    harness = make_rbd()
    rbd, key = bindings().rbd, harness.new_key()
    rbd.RBD().create(harness.pool.io, key, 3 * MIB, 22)
    with harness.pool.image(key) as image:
        image.write(DATA, 7)
        image.create_snap("snap")
    assert harness.read(key) == bytes(7) + DATA + bytes(3 * MIB - len(DATA) - 7)
    assert [entry.key for entry in harness.store.walk()] == [key]
    harness.store.delete(key)
    assert harness.objects() == []


def test_images_of_others_in_the_pool_stay(make_rbd: MakeRbd):
    harness = make_rbd()
    for name in ("volume-1", "a b"):
        bindings().rbd.RBD().create(harness.pool.io, name, MIB)
    key = harness.put(DATA)
    assert [entry.key for entry in harness.store.walk()] == [key]
    harness.store.delete(key)
    assert harness.objects() == ["a b", "volume-1"]


def test_clones_keep_an_image_until_they_are_gone(make_rbd: MakeRbd):
    harness = make_rbd()
    key = harness.put(DATA)
    harness.pool.clone(key, "disk")
    for _ in range(2):
        with pytest.raises(InUse, match="has clones"):
            harness.store.delete(key)
        assert harness.read(key) == DATA
    with harness.pool.image("disk") as clone:
        assert clone.read(0, clone.size()) == DATA
    bindings().rbd.RBD().remove(harness.pool.io, "disk")
    harness.store.delete(key)
    assert harness.objects() == []


def test_clones_of_version_2_keep_an_image_until_they_are_gone(make_rbd: MakeRbd):
    """Such a clone can be made of a snapshot that is not protected, and lets the snapshot be removed."""
    harness = make_rbd()
    rbd = bindings().rbd
    key = harness.put(DATA)
    harness.pool.clone(key, "disk", version=2)
    with pytest.raises(InUse, match="has clones"):
        harness.store.delete(key)
    assert harness.read(key) == DATA
    # A clone that is made after the store has looked for one.
    with harness.pool.image(key) as image:
        image.unprotect_snap("snap")
        image.remove_snap("snap")
    with pytest.raises(InUse, match="has clones"):
        harness.store.delete(key)
    assert harness.pool.images() == sorted([key, "disk"])
    with harness.pool.image("disk") as clone:
        assert clone.read(0, clone.size()) == DATA
    rbd.RBD().remove(harness.pool.io, "disk")
    with pytest.raises(BlobNotFound):
        harness.store.delete(key)
    assert harness.objects() == []


def test_an_image_with_other_snapshots_goes_to_the_trash(make_rbd: MakeRbd, caplog: pytest.LogCaptureFixture):
    harness = make_rbd()
    rbd, key = bindings().rbd, harness.put(DATA)
    with harness.pool.image(key) as image:
        image.create_snap("backup")
    with caplog.at_level(logging.WARNING):
        harness.store.delete(key)
    assert f"{key} has snapshots of others: it is in Ceph's trash" in caplog.text
    assert (harness.pool.images(), harness.pool.trash()) == ([], [key])
    with pytest.raises(BlobNotFound):
        harness.store.open(key)
    with pytest.raises(BlobNotFound):
        harness.store.delete(key)
    (entry,) = rbd.RBD().trash_list(harness.pool.io)
    with rbd.Image(harness.pool.io, image_id=entry["id"]) as image:
        assert image.read(0, len(DATA)) == DATA, "the operator decides about it"
        image.remove_snap("backup")
    with pytest.raises(BlobNotFound):
        harness.store.delete(key)
    assert harness.objects() == []


def test_a_read_keeps_the_data(make_rbd: MakeRbd):
    """Ceph would remove the data under a reader that it does not know of, who gets zeros then."""
    harness = make_rbd()
    key = harness.put(DATA * 10)
    with closing(harness.store.open(key)) as blob:
        pieces = iter(blob)
        got = next(pieces)
        with pytest.raises(InUse, match="being read"):
            harness.store.delete(key)
        with pytest.raises(bindings().rbd.ImageHasSnapshots):
            bindings().rbd.RBD().remove(harness.pool.io, key)
        assert got + b"".join(pieces) == DATA * 10
    harness.store.delete(key)


def test_a_delete_while_the_snapshot_is_made(make_rbd: MakeRbd, monkeypatch: pytest.MonkeyPatch):
    """The last moment at which a delete can come: the image is whole, and its writer has not looked yet."""
    harness = make_rbd()
    key = harness.new_key()
    finish = RbdUpload._finish

    def interrupted(self: RbdUpload, written: int) -> None:
        self._image.create_snap("snap")
        with pytest.raises(InUse):
            harness.store.delete(key)
        self._image.remove_snap("snap")
        bindings().rbd.RBD().trash_move(harness.pool.io, key, 0)
        finish(self, written)

    monkeypatch.setattr(RbdUpload, "_finish", interrupted)
    with pytest.raises(StoreUnavailable, match="was deleted while it was written"):
        harness.store.add(key, [DATA], None)
    assert harness.objects() == []


def test_an_image_of_another_writer_is_not_withdrawn(make_rbd: MakeRbd):
    """The name was given away while the first writer was at work."""
    harness = make_rbd()
    key = harness.new_key()

    def pieces() -> Iterator[bytes]:
        yield DATA
        bindings().rbd.RBD().trash_move(harness.pool.io, key, 0)
        harness.store.add(key, [b"second"], None)
        yield DATA

    with pytest.raises(StoreUnavailable, match="was deleted while it was written"):
        harness.store.add(key, pieces(), None)
    assert harness.read(key) == b"second"
    assert harness.objects() == [key]


def test_a_user_who_may_only_read(make_rbd: MakeRbd):
    harness = make_rbd()
    key = harness.put(DATA)
    pool = harness.pool
    caps = ["mon", "profile rbd", "osd", f"profile rbd-read-only pool={pool.name}"]
    pool.owner.command("auth caps", entity=f"client.{pool.user}", caps=caps)
    reader = harness.changed()
    with pytest.raises(WriteDenied, match="caps need 'profile rbd'"):
        reader.add(harness.new_key(), [DATA], None)
    with pytest.raises(StoreUnavailable, match="caps need 'profile rbd'"):
        reader.delete(key)
    # A reader that the cluster does not know of could get zeros.
    with pytest.raises(StoreUnavailable, match="caps need 'profile rbd'"):
        reader.open(key)
    caps[-1] = f"profile rbd pool={pool.name}"
    pool.owner.command("auth caps", entity=f"client.{pool.user}", caps=caps)
    assert harness.read(key) == DATA


def test_a_pool_that_lost_its_mark_is_none_of_ours(make_rbd: MakeRbd):
    harness = make_rbd()
    key = harness.put(DATA)
    harness.pool.io.remove_object(NAME)
    for act in (lambda: harness.store.delete(key), lambda: harness.store.open(harness.new_key()), harness.store.check,
                lambda: harness.store.add(harness.new_key(), [DATA], None), lambda: list(harness.store.walk())):
        with pytest.raises(StoreUnavailable, match=r"no object \.glance-store"):
            act()


def test_the_connection_of_a_parent_is_not_used_after_a_fork(make_rbd: MakeRbd):
    """A worker of the service is a fork; the parent's connection would hang in it."""
    harness = make_rbd()
    key = harness.put(DATA)
    child = os.fork()
    if not child:
        try:
            same = harness.read(key) == DATA
            harness.put(b"of the child")
            os._exit(0 if same else 1)
        except BaseException:
            os._exit(2)
    result: list[int] = []
    waiting = threading.Thread(target=lambda: result.append(os.waitpid(child, 0)[1]))
    waiting.start()
    waiting.join(60)
    if waiting.is_alive():
        os.kill(child, 9)
        waiting.join()
    assert result == [0]
    assert harness.read(key) == DATA
    assert len(list(harness.store.walk())) == 2


def test_stores_of_one_process_share_a_cluster(make_rbd: MakeRbd):
    one, two = make_rbd(), make_rbd()
    key = one.put(DATA)
    with pytest.raises(BlobNotFound):
        two.store.open(key)
    assert two.store.key_of(one.store.url(key)) is None
    assert one.store.identity() != two.store.identity()


def test_the_configuration_of_the_page_works(rbd: Administrator, tmp_path: Path):
    page = (Path(__file__).parents[2] / "docs" / "stores" / "rbd.md").read_text()
    sample = re.findall(r"```ini\n(.*?)```", page, re.DOTALL)[0]
    with rbd.pool() as pool:
        for old, new in (
            ("/etc/ceph/ceph.conf", str(pool.conf(tmp_path))), ("= glance\n", f"= {pool.user}\n"),
            ("= images\n", f"= {pool.name}\n"),
        ):
            assert old in sample
            sample = sample.replace(old, new)
        groups: dict[str, dict[str, str]] = {}
        for line in sample.strip().splitlines():
            if line.startswith("["):
                groups[line.strip("[]")] = {}
            else:
                name, _, value = line.partition(" = ")
                groups[list(groups)[-1]][name] = value
        store: Any = bare(load(tmp_path, groups, MemoryIdentities()).default)
        key = str(uuid4())
        store.add(key, [DATA], None)
        with closing(store.open(key)) as blob:
            assert b"".join(blob) == DATA
        store.close()
