"""Stores for tests: options from plain values, and an identity table in memory."""

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from oslo_config import cfg

from glance_common.config import loading
from glance_common.config.older import in_effect
from glance_common.model.errors import Conflict
from glance_common.stores import loader
from glance_common.stores.contract import Store
from glance_common.stores.decorators.base import Wrapper
from glance_common.stores.drivers.file.driver import FileStore


class MemoryIdentities:
    """What the registry would know; fulfils ``settings.Identities``."""

    def __init__(self) -> None:
        self.table: dict[tuple[str, str], str] = {}

    def known(self, store: str, place: str) -> str | None:
        return self.table.get((store, place))

    def register(self, store: str, place: str, identity: str) -> str:
        for (other, _), known in self.table.items():
            if other != store and known == identity:
                raise Conflict(f"{place} is the place of the store {other}")
        return self.table.setdefault((store, place), identity)


def configuration(folder: Path, groups: Mapping[str, Mapping[str, Any]]) -> cfg.ConfigOpts:
    """Return the options as read from a file with these groups; a list becomes one line an entry."""
    lines = []
    for group, values in groups.items():
        lines.append(f"[{group}]")
        for name, value in values.items():
            lines += [f"{name} = {entry}" for entry in (value if isinstance(value, list) else [value])]
    path = folder / "stores.conf"
    path.write_text("\n".join(lines) + "\n")
    return from_file(path)


def from_file(path: Path) -> cfg.ConfigOpts:
    """Return the options of a file."""
    conf = cfg.ConfigOpts()
    conf(["--config-file", str(path)], project="glance", default_config_dirs=[])
    loading.register(conf, in_effect(conf, loader.list_opts()))
    return conf


def load(
    folder: Path, groups: Mapping[str, Mapping[str, Any]], identities: MemoryIdentities | None = None
) -> loader.Stores:
    """Return the stores that these groups configure."""
    return loader.load_stores(configuration(folder, groups), identities or MemoryIdentities())


def bare(store: Store) -> Store:
    """Return the driver without its wrappers."""
    return bare(store.inner) if isinstance(store, Wrapper) else store


def read(store: Store, key: str) -> bytes:
    """Return the whole object."""
    with closing(store.open(key)) as blob:
        return b"".join(blob)


class FileCase:
    """File stores in a temporary directory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.identities = MemoryIdentities()

    def store(self, *names: str, **options: object) -> FileStore:
        """Return a store over directories ``name`` or ``name:priority``; the directories are made."""
        entries = []
        for name in names or ("a",):
            path, colon, priority = name.partition(":")
            (self.folder / path).mkdir(exist_ok=True)
            entries.append(f"{self.folder / path}{colon}{priority}")
        values = {"filesystem_store_datadirs": entries, **options}
        store = bare(load(self.folder, {"glance_store": values}, self.identities).default)
        assert isinstance(store, FileStore)
        return store

    def files(self, name: str = "a") -> list[str]:
        """Return all files in a directory but the sentinel, unfinished ones included."""
        found = (path for path in (self.folder / name).rglob("*") if path.is_file())
        return sorted(str(path.relative_to(self.folder / name)) for path in found if path.name != ".glance-store")
