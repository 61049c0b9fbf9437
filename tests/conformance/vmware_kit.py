"""The harness of the vmware driver: a directory in the datastores of a vCenter simulator."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.conformance.remote import PATIENT, SHORT, ConfiguredHarness
from tests.servers.vcsim import DATACENTER, DATASTORES, VCenterSimulator
from tests.support.stores import MemoryIdentities

from glance_common.stores.contract import is_key
from glance_common.stores.drivers.vmware.window import WINDOW
from glance_common.stores.place_mark import NAME


class VmwareHarness(ConfiguredHarness):
    """A directory of its own."""

    part = WINDOW
    in_flight = WINDOW + 16 * 1024 * 1024
    timeout = 2 * SHORT
    """That of a connection and of an answer."""

    def __init__(self, folder: Path, server: VCenterSimulator, *datastores: str, **options: Any) -> None:
        self.server = server
        self.port = server.port
        self.directory = f"/images of {uuid4().hex}/below"
        self.datastores = datastores or DATASTORES[:1]
        super().__init__(folder, "vmware", {
            **server.options(self.directory, *self.datastores),
            "vmware_connect_timeout": PATIENT, "vmware_read_timeout": PATIENT, **options,
        })
        self.store.check()  # so that pyVmomi is loaded before a test counts memory

    def files(self, datastore: str) -> list[Path]:
        """Return the files in the directory of a datastore."""
        folder = self.server.datastore(datastore) / self.directory.strip("/")
        return sorted(path for path in folder.glob("*") if path.name != NAME)

    def objects(self) -> list[str]:
        return [path.name for name in self.datastores for path in self.files(name)]

    def unfinished(self) -> list[str]:
        return [name for name in self.objects() if not is_key(name)]

    def place(self, directory: str = "", port: int = 0) -> str:
        """Return what the registry calls the place."""
        directory = (directory or self.directory).strip("/")
        return f"vsphere://127.0.0.1:{port or self.port}/{DATACENTER}/{self.datastores[0]}/{directory}"

    def at(self, port: int):
        return self.changed(
            self.move_identity(self.place(port=port)), vmware_server_host=f"127.0.0.1:{port}",
            vmware_connect_timeout=SHORT, vmware_read_timeout=SHORT,
        )

    def without_place(self):
        missing = f"/missing-{uuid4().hex}"
        return self.changed(self.move_identity(self.place(missing)), vmware_store_image_dir=missing)

    def with_wrong_credentials(self):
        return self.changed(vmware_server_password="secret")

    def exchanged(self):
        other = f"/other-{uuid4().hex}"
        self.changed(MemoryIdentities(), vmware_store_image_dir=other).identity()
        return self.changed(self.move_identity(self.place(other)), vmware_store_image_dir=other)
