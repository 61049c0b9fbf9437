"""Where a vmware store has its files, and the URLs that name them (stores section 9)."""

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from glance_common.stores.contract import is_key

SCHEME = "vsphere"
_INJECTED = re.compile(r"[^\x21-\x7e]")


@dataclass(frozen=True, slots=True)
class Datastore:
    """A datastore by its names. ``datacenter`` is the whole path of one in folders."""

    datacenter: str
    name: str
    weight: int = 0

    def is_same(self, other: "Datastore") -> bool:
        """Say whether both name the same datastore."""
        return (self.datacenter, self.name) == (other.datacenter, other.name)


@dataclass(frozen=True, slots=True)
class DatastoreFile:
    """A file in a datastore; ``path`` is below its root and not encoded."""

    datastore: Datastore
    path: str

    @property
    def name(self) -> str:
        """The file in the words of the API."""
        return f"[{self.datastore.name}] {self.path}"


@dataclass(frozen=True, slots=True)
class VmwarePlace:
    """A directory in datastores of a server. ``datastores`` are in the order of their weights."""

    host: str
    directory: str
    datastores: tuple[Datastore, ...]

    def name(self, datastore: Datastore) -> str:
        """Return what a datastore of the store is called in logs and in the registry."""
        return f"{SCHEME}://{_plain(self.host)}/{datastore.datacenter}/{datastore.name}/{self.directory}"

    def file(self, datastore: Datastore, name: str) -> DatastoreFile:
        """Return a file of the directory."""
        return DatastoreFile(datastore, f"{self.directory}/{name}")

    def address(self, file: DatastoreFile) -> str:
        """Return the URL at which the server has the file."""
        names = {"dcPath": file.datastore.datacenter, "dsName": file.datastore.name}
        return f"https://{self.host}/folder/{quote(file.path)}?{urlencode(names, quote_via=quote, safe='')}"

    def url(self, datastore: Datastore, key: str) -> str:
        """Return the location URL of a key."""
        names = {"dcPath": datastore.datacenter, "dsName": datastore.name}
        return f"{SCHEME}://{self.host}/folder/{quote(f'{self.directory}/{key}')}?{urlencode(names)}"

    def parse(self, url: str) -> tuple[Datastore, str] | None:
        """Return datastore and key that a location URL names, None when it is not one of this place."""
        if _INJECTED.search(url):  # urlsplit drops line ends and tabs
            return None
        try:
            parts = urlsplit(url)
            names = parse_qsl(parts.query, strict_parsing=True, max_num_fields=2, errors="strict")
        except ValueError:
            return None
        directory, _, key = unquote(parts.path).rpartition("/")
        if parts.scheme != SCHEME or parts.fragment or _plain(parts.netloc) != _plain(self.host):
            return None
        if directory != f"/folder/{self.directory}" or not is_key(key) or {name for name, _ in names} != {
            "dcPath", "dsName",
        }:
            return None
        told = dict(names)
        named = Datastore(told["dcPath"].strip("/"), told["dsName"])
        return next(((each, key) for each in self.datastores if each.is_same(named)), None)


def _plain(host: str) -> str:
    """Return one spelling of the same server."""
    return host.lower().removesuffix(":443")
