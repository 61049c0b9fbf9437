"""The harnesses of the sheepdog driver: on a stand-in cluster, and on a real one."""

from __future__ import annotations

from pathlib import Path

from tests.conformance.remote import PATIENT, SHORT, ConfiguredHarness
from tests.servers.sheepdog import Sheepdog, install_dog
from tests.support.stores import MemoryIdentities

from glance_common.stores.contract import Store
from glance_common.stores.drivers.sheepdog.cluster import Cluster
from glance_common.stores.drivers.sheepdog.driver import SheepdogStore
from glance_common.stores.place_mark import NAME

MIB = 1024 * 1024


def cluster_of(store: Store) -> Cluster:
    """Return the cluster as the driver sees it."""
    assert isinstance(store, SheepdogStore)
    return store._cluster


class ClusterHarness(ConfiguredHarness):
    """A cluster that this test alone uses, at a port of 127.0.0.1."""

    part = MIB
    in_flight = 10 * MIB
    """Two parts and 8 MiB."""

    first_piece = 256 * 1024
    """What has come out of ``dog`` by then, without waiting for more."""

    def __init__(self, folder: Path, program: Path, port: int) -> None:
        self.port = port
        super().__init__(folder, "sheepdog", {
            "sheepdog_store_address": "127.0.0.1", "sheepdog_store_port": port, "sheepdog_store_chunk_size": 1,
            "sheepdog_store_timeout": PATIENT, "sheepdog_store_program": program,
        })

    def objects(self) -> list[str]:
        return [vdi.name for vdi in cluster_of(self.store).vdis() if vdi.name != NAME]

    def unfinished(self) -> list[str]:
        return [name for name in self.objects() if "~" in name]

    def at(self, port: int):
        moved = self.move_identity(f"sheepdog://127.0.0.1:{port}")
        return self.changed(moved, sheepdog_store_port=port, sheepdog_store_timeout=SHORT)

    def without_place(self):
        raise NotImplementedError

    def with_wrong_credentials(self):
        raise NotImplementedError

    def exchanged(self):
        raise NotImplementedError

    def close(self) -> None:
        pass  # no connections


class SheepdogHarness(ClusterHarness):
    """A stand-in for a cluster, and another one."""

    def __init__(self, folder: Path, cluster: Sheepdog, other: Sheepdog) -> None:
        self.cluster = cluster
        self.other = other
        self.folder = folder
        super().__init__(folder, install_dog(folder), cluster.port)

    def objects(self) -> list[str]:
        return [name for name in self.cluster.names() if name != NAME]

    def without_place(self):
        self.other.vdis.is_formatted = False
        moved = self.move_identity(f"sheepdog://127.0.0.1:{self.other.port}")
        return self.changed(moved, sheepdog_store_port=self.other.port)

    def with_wrong_credentials(self):
        return self.changed(sheepdog_store_program=install_dog(self.folder, "dog-of-a-user"))

    def exchanged(self):
        self.changed(MemoryIdentities(), sheepdog_store_port=self.other.port).identity()
        moved = self.move_identity(f"sheepdog://127.0.0.1:{self.other.port}")
        return self.changed(moved, sheepdog_store_port=self.other.port)
