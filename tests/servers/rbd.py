"""What tests need of a Ceph cluster for RBD: pools, users, and what an administrator sees in a pool."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from glance_common.stores.ceph_modules import bindings
from tests.servers.ceph import Ceph
from tests.support.waiting import wait_for

MARK = ".glance-store"


def client_conf(folder: Path, cluster: Ceph, user: str, key: str, port: int | None = None) -> Path:
    """Write a configuration file for a user of the cluster, whose monitor may be said to be at another port."""
    made = folder / f"ceph-{uuid4().hex[:8]}.conf"
    keyring = made.with_suffix(".keyring")
    keyring.write_text(f"[client.{user}]\nkey = {key.strip()}\n")
    monitor = f"v2:127.0.0.1:{port or cluster.monitor_port}"
    made.write_text(f"[global]\nfsid = {cluster.fsid}\nmon_host = {monitor}\nkeyring = {keyring}\n")
    return made


class Administrator:
    """A connection to a cluster with all rights."""

    def __init__(self, cluster: Ceph) -> None:
        self.cluster = cluster
        self._rados = bindings().rados.Rados(
            conffile=str(cluster.folder / "ceph.conf"), conf={"err_to_stderr": "false", "rados_osd_op_timeout": "60"}
        )
        self._rados.connect(timeout=300)

    def close(self) -> None:
        """End the connection."""
        self._rados.shutdown()

    def command(self, prefix: str, **words: Any) -> str:
        """Return the answer of the monitor to a command."""
        code, answer, told = self._rados.mon_command(json.dumps({"prefix": prefix, **words}), b"")
        assert code == 0, (prefix, code, told)
        return str(answer.decode())

    def set_clone_version(self, version: int) -> None:
        """Choose how this connection clones images."""
        if version > 1:
            self.command("osd set-require-min-compat-client", version="mimic")
            # The library makes other clones until it has heard of it.
            self._rados.wait_for_latest_osdmap()
        self._rados.conf_set("rbd_default_clone_format", str(version))

    def set_full_ratios(self, nearly: float, backfill: float, full: float) -> None:
        """Say from which share of used space on the cluster counts as nearly full, and as full."""
        for name, ratio in (("nearfull", nearly), ("backfillfull", backfill), ("full", full)):
            self.command(f"osd set-{name}-ratio", ratio=ratio)

    def make_pool(self) -> RbdPool:
        """Make a pool and a user who may use it as the page about the store says."""
        name = f"images-{uuid4().hex[:8]}"
        self.command("osd pool create", pool=name, pg_num=1)
        io = self._rados.open_ioctx(name)
        io.set_osdmap_full_try()  # otherwise a full cluster keeps every call waiting
        bindings().rbd.RBD().pool_init(io, True)
        user = f"glance-{name}"
        caps = ["mon", "profile rbd", "osd", f"profile rbd pool={name}"]
        key = self.command("auth get-or-create-key", entity=f"client.{user}", caps=caps)
        return RbdPool(self, name, io, user, key.strip())

    def client_conf(self, folder: Path, user: str, osd: str) -> Path:
        """Make a user with these rights at the OSDs; return the configuration file of a program that acts as it."""
        caps = ["mon", "profile rbd", "osd", osd]
        key = self.command("auth get-or-create-key", entity=f"client.{user}", caps=caps)
        return client_conf(folder, self.cluster, user, key)

    @contextmanager
    def foreign_pool(self, name: str) -> Iterator[RbdPool]:
        """Give a look into the pool of another service for the block."""
        io = self._rados.open_ioctx(name)
        try:
            yield RbdPool(self, name, io, "", "")
        finally:
            io.close()

    def remove_pool(self, pool: RbdPool) -> None:
        """Remove a pool with all that is in it, and its user."""
        if self._rados.pool_exists(pool.name):
            self._rados.delete_pool(pool.name)
        self.command("auth rm", entity=f"client.{pool.user}")

    @contextmanager
    def pool(self) -> Iterator[RbdPool]:
        """Give a fresh pool, which ends with the block."""
        pool = self.make_pool()
        try:
            yield pool
        finally:
            pool.io.close()
            self.remove_pool(pool)


class RbdPool:
    """A pool, and the user of the service."""

    def __init__(self, owner: Administrator, name: str, io: Any, user: str, key: str) -> None:
        self.owner = owner
        self.name = name
        self.io = io
        self.user = user
        self._key = key

    @property
    def fsid(self) -> str:
        """The id of the cluster."""
        return self.owner.cluster.fsid

    def conf(self, folder: Path, *, port: int | None = None, key: str | None = None) -> Path:
        """Write a configuration file for the user, as if the monitor were at another port, or with another key."""
        return client_conf(folder, self.owner.cluster, self.user, key or self._key, port)

    def options(self, folder: Path, **more: Any) -> dict[str, Any]:
        """Return the options of a store in this pool."""
        return {
            "rbd_store_pool": self.name, "rbd_store_user": self.user, "rbd_store_ceph_conf": self.conf(folder), **more
        }

    def images(self) -> list[str]:
        """Return the names of all images."""
        return sorted(bindings().rbd.RBD().list(self.io))

    def trash(self) -> list[str]:
        """Return the names of the images in the trash."""
        return [str(entry["name"]) for entry in bindings().rbd.RBD().trash_list(self.io)]

    def image(self, name: str, snapshot: str | None = None) -> Any:
        """Open an image for the block that it is given to."""
        return bindings().rbd.Image(self.io, name, snapshot=snapshot)

    def parent(self, name: str) -> tuple[str, str, str] | None:
        """Return of what an image is a clone (pool, image, snapshot), None when it is none."""
        with self.image(name) as image:
            try:
                pool, parent, snapshot = image.parent_info()
            except bindings().rbd.ImageNotFound:
                return None
            return str(pool), str(parent), str(snapshot)

    def bytes_written(self, name: str) -> int:
        """Return how many bytes of an image take space."""
        extents: list[int] = []
        with self.image(name, "snap") as image:
            image.diff_iterate(0, image.size(), None, lambda at, size, exists: extents.append(size * exists))
        return sum(extents)

    def fill(self) -> None:
        """Say that the cluster is full, and wait until it refuses to write."""
        self.owner.set_full_ratios(0.00001, 0.00002, 0.00003)
        wait_for(lambda: not self._can_write(), "the cluster to be full")

    def give_room(self) -> None:
        """Say that there is room again, and wait until the cluster lets us write."""
        self.owner.set_full_ratios(0.85, 0.9, 0.95)
        wait_for(self._can_write, "the cluster to have room")

    def _can_write(self) -> bool:
        """Write a little: the monitor knows before the OSDs that a cluster is full, and tells nearly full first."""
        try:
            self.io.write_full("probe-of-room", bytes(4096))
        except bindings().rados.NoSpace:
            return False
        self.io.remove_object("probe-of-room")
        return True

    def clone(self, name: str, clone: str, version: int = 1) -> None:
        """Clone an image as Nova and Cinder do: in the old way, or as clusters that serve no old clients let it be.

        A clone of version 2 needs no protected snapshot.
        """
        self.owner.set_clone_version(version)
        bindings().rbd.RBD().clone(self.io, name, "snap", self.io, clone, features=1)
