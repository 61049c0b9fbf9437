"""What the harnesses of stores behind a network share: the same store from changed options."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.stores import MemoryIdentities, bare, load

from glance_common.stores.conformance.harness import RemoteHarness
from glance_common.stores.contract import Store

PATIENT = 60.0
"""Timeout in seconds of stores that are to work, on a machine with much other work."""

SHORT = 1.0
"""Timeout of stores that are to find out that their server does not answer."""


class ConfiguredHarness(RemoteHarness):
    """A store of ``options`` under the id ``main``; others are made of it by changing some of these."""

    timeout = SHORT

    def __init__(self, folder: Path, kind: str, options: Mapping[str, Any]) -> None:
        self._folder = folder
        self._kind = kind
        self._options = dict(options)
        self.identities = MemoryIdentities()
        self._made: list[Store] = []
        super().__init__(self.changed())

    def changed(self, identities: MemoryIdentities | None = None, **options: Any) -> Store:
        """Return the driver with these options changed, by default with what the registry knows of the places."""
        groups = self._groups({**self._options, **options})
        self._made.append(bare(load(self._folder, groups, identities or self.identities).default))
        return self._made[-1]

    def close(self) -> None:
        """Close the connections of all stores that were made."""
        for store in self._made:
            store.close()  # type: ignore[attr-defined]  # drivers with connections have it

    def _groups(self, options: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
        return {
            "DEFAULT": {"enabled_backends": f"main:{self._kind}"}, "glance_store": {"default_backend": "main"},
            "main": options,
        }

    def move_identity(self, place: str) -> MemoryIdentities:
        """Return what a registry would know if the store had been at ``place`` all the time."""
        self.store.identity()
        moved = MemoryIdentities()
        (identity,) = self.identities.table.values()
        moved.table = {("main", place): identity}
        return moved

    def write_until_killed(self, key: str) -> None:
        """See the base class."""
        self.store.identity()
        self.changed()
        table = json.dumps([[store, place, identity] for (store, place), identity in self.identities.table.items()])
        writer = subprocess.Popen(
            [sys.executable, "-m", "tests.conformance.writer", self._folder / "stores.conf", "main", key, table],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
        )
        assert writer.stdout is not None
        try:
            for _ in range(2 * max((self.part or 0) // (1024 * 1024), 1) + 8):
                assert writer.stdout.readline() == "taken\n"
        finally:
            writer.kill()
            writer.wait()
            writer.stdout.close()
