"""One harness a driver: a store to test, how data get into it, and what may not be left behind."""

from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from tests.servers.web import Page, WebServer
from tests.support.stores import bare, load

from glance_common.stores.contract import Store
from glance_common.stores.decorators.base import Logged, Retrying

DATA = bytes(range(256)) * 5000
"""1.28 MB: several pieces for every driver."""


@dataclass
class Harness:
    """A store under test."""

    store: Store
    folders: list[Path] = field(default_factory=list)
    server: WebServer | None = None

    def put(self, data: bytes) -> str:
        """Bring data into the store, the driver's own way if it has one, and return their key."""
        key = self.new_key()
        if self.server is not None:
            self.server.pages[key.removeprefix(self.server.url(""))] = Page(data)
        else:
            self.store.add(key, [data], len(data))
        return key

    def read(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        """Return what a reader gets."""
        with closing(self.store.open(key, offset, length)) as blob:
            return b"".join(blob)

    def new_key(self) -> str:
        """Return a key under which there is nothing."""
        return self.server.url(f"/{uuid4()}.img") if self.server is not None else str(uuid4())

    def files(self) -> list[str]:
        """Return every file in the store that is not the store's own mark."""
        found = [path for folder in self.folders for path in folder.rglob("*") if path.is_file()]
        return sorted(path.name for path in found if path.name != ".glance-store")

    def unfinished(self) -> list[str]:
        """Return what unfinished writes left."""
        return [path.name for folder in self.folders for path in (folder / ".incoming").glob("*")]


def file_single(folder: Path) -> Harness:
    (folder / "images").mkdir()
    stores = load(folder, {"glance_store": {"filesystem_store_datadir": folder / "images"}})
    return Harness(bare(stores.default), [folder / "images"])


def file_several(folder: Path) -> Harness:
    folders = [folder / name for name in "abc"]
    for place in folders:
        place.mkdir()
    entries = [f"{folders[0]}:200", f"{folders[1]}:200", f"{folders[2]}:100"]
    stores = load(folder, {"glance_store": {"filesystem_store_datadirs": entries}})
    return Harness(bare(stores.default), folders)


def file_thin(folder: Path) -> Harness:
    (folder / "images").mkdir()
    options = {"filesystem_store_datadir": folder / "images", "filesystem_thin_provisioning": "true"}
    return Harness(bare(load(folder, {"glance_store": options}).default), [folder / "images"])


def file_wrapped(folder: Path) -> Harness:
    harness = file_single(folder)
    harness.store = Logged(Retrying(harness.store, sleep=lambda seconds: None))
    return harness


def http(folder: Path, server: WebServer) -> Harness:
    harness = http_wrapped(folder, server)
    harness.store = bare(harness.store)
    return harness


def http_wrapped(folder: Path, server: WebServer) -> Harness:
    groups = {"import_filtering_opts": {"allowed_hosts": "[127.0.0.1]", "allowed_ports": f"[{server.port}]"}}
    return Harness(load(folder, groups).get("http"), server=server)


WRITABLE = {"file": file_single, "file several": file_several, "file thin": file_thin, "file wrapped": file_wrapped}
READ_ONLY = {"http": http, "http wrapped": http_wrapped}
