"""The harnesses of the file and the http driver."""

from pathlib import Path
from uuid import uuid4

from tests.servers.web import Page, WebServer
from tests.support.stores import bare, load

from glance_common.stores.conformance.harness import Harness
from glance_common.stores.contract import Store
from glance_common.stores.decorators.base import Logged, Retrying


class FileHarness(Harness):
    """Files in one or several folders."""

    local = True

    def __init__(self, store: Store, folders: list[Path]) -> None:
        super().__init__(store)
        self._folders = folders

    def objects(self) -> list[str]:
        found = [path for folder in self._folders for path in folder.rglob("*") if path.is_file()]
        return sorted(path.name for path in found if path.name != ".glance-store")

    def unfinished(self) -> list[str]:
        return [path.name for folder in self._folders for path in (folder / ".incoming").glob("*")]


class HttpHarness(Harness):
    """Pages of a web server; the store cannot write."""

    def __init__(self, store: Store, server: WebServer) -> None:
        super().__init__(store)
        self._server = server

    def put(self, data: bytes) -> str:
        key = self.new_key()
        self._server.pages[key.removeprefix(self._server.url(""))] = Page(data)
        return key

    def new_key(self) -> str:
        return self._server.url(f"/{uuid4()}.img")

    def objects(self) -> list[str]:
        return list(self._server.pages)

    def unfinished(self) -> list[str]:
        return []


def file_single(folder: Path) -> FileHarness:
    (folder / "images").mkdir()
    stores = load(folder, {"glance_store": {"filesystem_store_datadir": folder / "images"}})
    return FileHarness(bare(stores.default), [folder / "images"])


def file_several(folder: Path) -> FileHarness:
    folders = [folder / name for name in "abc"]
    for place in folders:
        place.mkdir()
    entries = [f"{folders[0]}:200", f"{folders[1]}:200", f"{folders[2]}:100"]
    stores = load(folder, {"glance_store": {"filesystem_store_datadirs": entries}})
    return FileHarness(bare(stores.default), folders)


def file_thin(folder: Path) -> FileHarness:
    (folder / "images").mkdir()
    options = {"filesystem_store_datadir": folder / "images", "filesystem_thin_provisioning": "true"}
    return FileHarness(bare(load(folder, {"glance_store": options}).default), [folder / "images"])


def file_wrapped(folder: Path) -> FileHarness:
    harness = file_single(folder)
    harness.store = Logged(Retrying(harness.store, sleep=lambda seconds: None))
    return harness


def http(folder: Path, server: WebServer) -> HttpHarness:
    harness = http_wrapped(folder, server)
    harness.store = bare(harness.store)
    return harness


def http_wrapped(folder: Path, server: WebServer) -> HttpHarness:
    groups = {"import_filtering_opts": {"allowed_hosts": "[127.0.0.1]", "allowed_ports": f"[{server.port}]"}}
    return HttpHarness(load(folder, groups).get("http"), server)


WRITABLE = {"file": file_single, "file several": file_several, "file thin": file_thin, "file wrapped": file_wrapped}
READ_ONLY = {"http": http, "http wrapped": http_wrapped}
