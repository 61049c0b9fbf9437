"""The harness of the rbd driver: a pool of a real cluster, and what an administrator of it sees."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.conformance.remote import SHORT, ConfiguredHarness
from tests.servers.rbd import RbdPool
from tests.support.stores import MemoryIdentities

from glance_common.stores.contract import Store
from glance_common.stores.drivers.rbd.writing import PIECE


class RbdHarness(ConfiguredHarness):
    """A store in a pool of its own."""

    part = PIECE
    in_flight = 16 * 1024 * 1024
    """Three pieces on their way, the one that comes in, each for a moment twice."""

    def __init__(self, folder: Path, pool: RbdPool, **options: Any) -> None:
        self.pool = pool
        self.port = pool.owner.cluster.monitor_port
        self._others: list[RbdPool] = []
        super().__init__(folder, "rbd", pool.options(folder, **options))

    def objects(self) -> list[str]:
        return [*self.pool.images(), *self.pool.trash()]

    def unfinished(self) -> list[str]:
        found = self.pool.trash()
        for name in self.pool.images():
            with self.pool.image(name) as image:
                if not any(snapshot["name"] == "snap" for snapshot in image.list_snaps()):
                    found.append(name)
        return found

    def connection(self) -> Any:
        """Return the connection that the store has now."""
        driver: Any = self.store
        return driver._cluster._current

    def at(self, port: int) -> Store:
        return self.changed(
            rbd_store_ceph_conf=self.pool.conf(self._folder, port=port), rados_connect_timeout=int(SHORT)
        )

    def without_place(self) -> Store:
        return self.changed(
            self.move_identity(f"rbd://{self.pool.fsid}/none"), rbd_store_pool="none"
        )

    def with_wrong_credentials(self) -> Store:
        wrong = "AQAAAAAAAAAAABAAAAAAAAAAAAAAAAAAAAAAAA=="
        return self.changed(rbd_store_ceph_conf=self.pool.conf(self._folder, key=wrong))

    def exchanged(self) -> Store:
        other = self.pool.owner.make_pool()
        self._others.append(other)
        self.changed(MemoryIdentities(), **other.options(self._folder)).identity()
        return self.changed(self.move_identity(f"rbd://{self.pool.fsid}/{other.name}"), **other.options(self._folder))

    def close(self) -> None:
        super().close()
        for other in self._others:
            other.io.close()
            self.pool.owner.remove_pool(other)


MakeRbd = Callable[..., RbdHarness]
"""Returns a harness over a fresh pool, with options of the store."""
