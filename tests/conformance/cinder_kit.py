"""The harness of the cinder driver: volumes of a type of its own, and what an administrator sees of them."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.conformance.remote import SHORT, ConfiguredHarness
from tests.servers.cinder import CinderServer
from tests.servers.keystone import GLANCE, Keystone
from tests.support.stores import MemoryIdentities, bare

from glance_common.stores.conformance.harness import Harness
from glance_common.stores.contract import Blob, Store, Stored, StoredObject
from glance_common.stores.decorators.base import Wrapper
from glance_common.stores.drivers.cinder.volumes import DELETED, NAME, UPLOAD
from glance_common.stores.drivers.cinder.writing import PIECE

LEASE = 15
"""Seconds after which a process that died lets go of its volumes."""


class RowKeys(Wrapper):
    """A store as the rows of the registry know it: each key leads to the one that ``add`` returned for it."""

    def __init__(self, inner: Store, rows: dict[str, str]) -> None:
        super().__init__(inner)
        self.rows = rows

    def add(self, key: str, pieces: Iterable[bytes], size: int | None) -> Stored:
        stored = self.inner.add(key, pieces, size)
        assert stored.key is not None
        self.rows[key] = stored.key
        return Stored(stored.size, stored.metadata)

    def open(self, key: str, offset: int = 0, length: int | None = None) -> Blob:
        return self.inner.open(self.rows.get(key, key), offset, length)

    def size(self, key: str) -> int:
        return self.inner.size(self.rows.get(key, key))

    def delete(self, key: str) -> None:
        self.inner.delete(self.rows.get(key, key))

    def url(self, key: str) -> str:
        return self.inner.url(self.rows.get(key, key))

    def key_of(self, url: str) -> str | None:
        return self._row(self.inner.key_of(url))

    def walk(self, after: str | None = None) -> Iterator[StoredObject]:
        found = [(self._row(entry.key) or "", entry) for entry in self.inner.walk()]
        for key, entry in sorted(found, key=lambda pair: pair[0]):
            if key > (after or ""):
                yield StoredObject(key, entry.size, entry.modified)

    def _row(self, key: str | None) -> str | None:
        return next((row for row, known in self.rows.items() if known == key), key)


class CinderHarness(ConfiguredHarness):
    """A store whose volumes have a type of their own."""

    part = PIECE
    in_flight = 6 * PIECE
    """Two pieces on their way, each of them twice for Ceph, and the one that comes in."""
    many = 5
    timeout = 2 * SHORT
    """That of a connection and of an answer."""

    def __init__(self, folder: Path, server: CinderServer, keystone: Keystone, kind: str, **options: Any) -> None:
        self.server = server
        self.keystone = keystone
        self.port = server.port
        self.type = kind
        self.rows: dict[str, str] = {}
        super().__init__(folder, "cinder", {
            **login(keystone), "cinder_volume_type": kind, "cinder_attachment_lease": LEASE, **options,
        })

    def changed(self, identities: MemoryIdentities | None = None, **options: Any) -> Store:
        return RowKeys(super().changed(identities, **options), self.rows)

    @property
    def driver(self) -> Any:
        """The store without the registry's rows."""
        assert isinstance(self.store, RowKeys)
        return self.store.inner

    def volumes(self, kind: str = "") -> list[dict[str, Any]]:
        """Return the volumes of the store but its mark."""
        found = self.server.volumes(kind or self.type)
        return [volume for volume in found if str(volume["name"]).startswith(NAME)]

    @property
    def folder(self) -> Path:
        """Where the configuration is."""
        return self._folder

    def volume(self, **values: Any) -> str:
        """Make another volume in the project of the store, and return its id."""
        return self.server.make_volume(GLANCE, volume_type=self.type, **values)

    def attachments(self, volume: str) -> list[str]:
        """Return the ids of the attachments of a volume."""
        found = self.server.call("GET", f"/attachments?all_tenants=1&volume_id={volume}")["attachments"]
        return [str(each["id"]) for each in found]

    def read_by(self, store: Store, key: str) -> bytes:
        """Return what another store reads under the key of a row."""
        with closing(bare(store).open(key)) as blob:
            return b"".join(blob)

    def objects(self) -> list[str]:
        return [str(volume["name"]).removeprefix(NAME) for volume in self.volumes()]

    def checked(self) -> Iterator[Harness]:
        """Give the harness to a test; then nothing unfinished may be there.

        What is finished goes with Cinder: each delete takes a third of a second, and many tests have one.
        """
        yield self
        assert self.unfinished() == []

    def unfinished(self) -> list[str]:
        return [
            str(volume["name"]) for volume in self.volumes()
            if volume["metadata"].keys() & {UPLOAD, DELETED} or volume["status"] not in ("available", "in-use")
        ]

    def place(self, kind: str) -> str:
        """Return what the registry calls the place."""
        server = self.keystone.url.removeprefix("http://").partition("/")[0]
        return f"cinder://{server}/{GLANCE.project}/{kind}"

    def at(self, port: int) -> Store:
        return self.changed(
            cinder_endpoint_template=f"http://127.0.0.1:{port}/v3/%(project_id)s", cinder_connect_timeout=SHORT,
            cinder_read_timeout=SHORT,
        )

    def without_place(self) -> Store:
        return self.changed(self.move_identity(self.place("none")), cinder_volume_type="none")

    def with_wrong_credentials(self) -> Store:
        return self.changed(cinder_store_password="secret")

    def exchanged(self) -> Store:
        other = self.server.make_type()
        self.changed(MemoryIdentities(), cinder_volume_type=other).identity()
        return self.changed(self.move_identity(self.place(other)), cinder_volume_type=other)

    def _groups(self, options: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
        return {**super()._groups(options), **host_options(self._folder)}


class ReadHarness(CinderHarness):
    """A store whose data are only read."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._put: dict[bytes, str] = {}
        super().__init__(*arguments, **options)

    def put(self, data: bytes) -> str:
        if data not in self._put:
            self._put[data] = super().put(data)
        return self._put[data]


def login(keystone: Keystone) -> dict[str, Any]:
    """Return the options of the service's user."""
    return {
        "cinder_store_auth_address": keystone.url, "cinder_store_user_name": GLANCE.name,
        "cinder_store_password": GLANCE.name, "cinder_store_project_name": GLANCE.project,
    }


def host_options(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the options of the host."""
    return {"oslo_concurrency": {"lock_path": folder / "locks"}}


HOST = socket.gethostname()

MakeCinder = Callable[..., CinderHarness]
"""Returns a harness over a fresh type, with options of the store."""
