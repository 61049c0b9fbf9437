"""The stores that are measured: a server, the options of a store of ours and the original's, and the tool of each."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from deploy.local.configuration import Options

from tests.benchmarks.stores.process import ToolProcess
from tests.servers import mongod, vcsim
from tests.servers.ceph import Ceph, link_modules
from tests.servers.cinder import Cinder
from tests.servers.keystone import DEMO, GLANCE, Keystone
from tests.servers.rbd import Administrator
from tests.servers.s3 import S3Keys
from tests.servers.seaweedfs import SeaweedFS
from tests.servers.swift import Swift

Values = dict[str, object]

PLACE = (vcsim.DATACENTER, vcsim.DATASTORES[0])
"""Where the vCenter simulator keeps what is measured."""


@dataclass
class Peer:
    """One server. ``options`` are those of a store of ours, and of the original's where it knows the kind."""

    kind: str
    options: Values
    tool: ToolProcess
    original: bool
    has_ranges: bool = True
    """Whether the tool can read from the middle."""
    host: Options = field(default_factory=dict)
    """More sections."""
    tidy: Callable[[], object] = field(default=lambda: None)
    """Gives back the room of what was deleted."""
    modules: Path | None = None
    """A folder of modules that the original's environment lacks."""
    commands: Path | None = None
    """A folder of programs that the original calls."""

    def stores(self) -> Options:
        """Return the sections of a configuration with this one store."""
        return {
            "DEFAULT": {"enabled_backends": f"measured:{self.kind}"},
            "glance_store": {"default_backend": "measured"},
            "measured": self.options,
            **self.host,
        }


@contextmanager
def _s3(server: SeaweedFS | Ceph, tidy: Callable[[], object] = lambda: None) -> Iterator[Peer]:
    keys: S3Keys = server.keys
    with server.bucket() as bucket:
        options: Values = {
            "s3_store_host": server.url, "s3_store_access_key": keys.access, "s3_store_secret_key": keys.secret,
            "s3_store_bucket": bucket, "s3_store_bucket_url_format": "path",
        }
        settings = {"url": server.url, "access": keys.access, "secret": keys.secret, "bucket": bucket}
        with ToolProcess("s3", settings) as tool:
            yield Peer("s3", options, tool, original=True, tidy=tidy)


@contextmanager
def seaweedfs(folder: Path) -> Iterator[Peer]:
    """S3 of SeaweedFS, its data on the disk."""
    server = SeaweedFS(folder)
    server.start()
    try:
        with _s3(server) as peer:
            yield peer
    finally:
        server.stop()


@contextmanager
def radosgw(folder: Path) -> Iterator[Peer]:
    """S3 of Ceph, its data in memory."""
    server = Ceph(folder, memory=10 << 30)

    def collect() -> None:
        # The gateway keeps what was deleted for hours, and the memory is soon full.
        command = ["radosgw-admin", "-c", str(folder / "ceph.conf"), "-n", "client.rgw.a", "--log-file="]
        subprocess.run([*command, "gc", "process", "--include-all"], check=True, capture_output=True, timeout=600)

    try:
        server.start()
        with _s3(server, collect) as peer:
            yield peer
    finally:
        server.stop()


@contextmanager
def gridfs(folder: Path) -> Iterator[Peer]:
    """GridFS of a MongoDB server, which the original's current release has no store for."""
    with mongod.running(folder) as server:
        database = mongod.new_database()
        options: Values = {"mongodb_store_uri": server.uri(), "mongodb_store_db": database}
        with ToolProcess("gridfs", {"url": server.uri(), "database": database}) as tool:
            yield Peer("gridfs", options, tool, original=False)


@contextmanager
def rbd(folder: Path) -> Iterator[Peer]:
    """RBD of Ceph, its data in memory."""
    server = Ceph(folder, memory=10 << 30, gateway=False)
    try:
        server.start()
        administrator = Administrator(server)
        with administrator.pool() as pool:
            options: Values = pool.options(folder)
            settings = {"conf": str(options["rbd_store_ceph_conf"]), "user": pool.user, "pool": pool.name}
            with ToolProcess("rbd", settings) as tool:
                modules = link_modules(folder / "modules")
                yield Peer("rbd", options, tool, original=True, has_ranges=False, modules=modules)
        administrator.close()
    finally:
        server.stop()


@contextmanager
def swift(folder: Path) -> Iterator[Peer]:
    """Swift, its data on the disk, with the logins of a Keystone: the original knows no others."""
    keystone = Keystone(folder / "keystone")
    server: Swift | None = None
    try:
        keystone.folder.mkdir()
        keystone.start()
        server = Swift(folder / "swift", keystone)
        server.start()
        keystone.set_endpoint("object-store", "swift", f"{server.url}/v1/KEY_$(project_id)s")
        user, container = DEMO, "images"
        options: Values = {
            "swift_store_auth_address": keystone.url, "swift_store_auth_version": 3,
            "swift_store_user": f"{user.project}:{user.name}", "swift_store_key": user.name,
            "swift_store_container": container,
        }
        settings = {
            "url": keystone.url, "user": user.name, "key": user.name, "project": user.project, "container": container,
        }
        with ToolProcess("swift", settings) as tool:
            yield Peer("swift", options, tool, original=True)
    finally:
        if server is not None:
            server.stop()
        keystone.stop()


@contextmanager
def cinder(folder: Path) -> Iterator[Peer]:
    """Volumes of Cinder in RBD of Ceph, its data in memory."""
    for name in ("ceph", "keystone", "cinder"):
        (folder / name).mkdir()
    ceph, keystone = Ceph(folder / "ceph", memory=10 << 30, gateway=False), Keystone(folder / "keystone")
    server = Cinder(folder / "cinder", ceph, keystone)
    with ExitStack() as stack:
        stack.callback(server.remove_key)
        for each in (ceph, keystone, server):
            stack.callback(each.stop)
            each.start()
        kind, locks = server.make_type(), str(folder / "locks")
        options: Values = {
            "cinder_store_auth_address": keystone.url, "cinder_store_user_name": GLANCE.name,
            "cinder_store_password": GLANCE.name, "cinder_store_project_name": GLANCE.project,
            "cinder_volume_type": kind,
        }
        settings = {
            "address": keystone.url, "user": GLANCE.name, "project": GLANCE.project, "kind": kind, "locks": locks,
        }
        with ToolProcess("cinder", settings) as tool:
            modules = link_modules(folder / "modules")
            host: Options = {"oslo_concurrency": {"lock_path": locks}}
            yield Peer(
                "cinder", options, tool, original=True, host=host, modules=modules, commands=_sudo(folder / "commands")
            )


def _sudo(folder: Path) -> Path:
    """Return a folder with a sudo for root, which runs at once what the original wants to run by its own wrapper.

    The real one looks for that wrapper in the folders of the system only, where the original is not installed.
    """
    folder.mkdir()
    program = folder / "sudo"
    program.write_text('#!/bin/sh\n[ "$1" = glance-rootwrap ] && shift 2\nexec "$@"\n')
    program.chmod(0o755)
    return folder


@contextmanager
def vmware(folder: Path) -> Iterator[Peer]:
    """A datastore of a vCenter simulator. The original wants a WSDL of 4 MB, which the simulator does not have."""
    with vcsim.running(folder) as server:
        directory = "/images"
        options: Values = {**server.options(directory), "vmware_datastores": ":".join(PLACE)}
        settings = {
            "address": server.address, "ca": str(server.ca), "user": vcsim.USER, "password": vcsim.PASSWORD,
            "datacenter": PLACE[0], "datastore": PLACE[1], "directory": "tool",
        }
        with ToolProcess("vmware", settings) as tool:
            yield Peer("vmware", options, tool, original=False)


PEERS: dict[str, Callable[[Path], AbstractContextManager[Peer]]] = {
    "radosgw": radosgw, "seaweedfs": seaweedfs, "gridfs": gridfs, "rbd": rbd, "swift": swift, "cinder": cinder,
    "vmware": vmware,
}  # fmt: skip
