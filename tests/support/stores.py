"""Stores for tests: options from plain values, and an identity table in memory."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from oslo_config import cfg

from glance_common.stores import loader


class MemoryIdentities:
    """What the registry would know; fulfils ``settings.Identities``."""

    def __init__(self) -> None:
        self.table: dict[tuple[str, str], str] = {}

    def known(self, store: str, place: str) -> str | None:
        return self.table.get((store, place))

    def register(self, store: str, place: str, identity: str) -> str:
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
    conf = cfg.ConfigOpts()
    loader.register_opts(conf)
    conf(["--config-file", str(path)], project="glance", default_config_dirs=[])
    return conf


def load(
    folder: Path, groups: Mapping[str, Mapping[str, Any]], identities: MemoryIdentities | None = None
) -> loader.Stores:
    """Return the stores that these groups configure."""
    return loader.load_stores(configuration(folder, groups), identities or MemoryIdentities())
