"""The harness of the swift driver: a container of a real server, and what an administrator of it sees."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from deploy.local import processes
from tests.conformance.remote import PATIENT
from tests.servers.swift import SwiftServer
from tests.support.stores import MemoryIdentities, bare, load
from tests.support.waiting import wait_for

from glance_common.stores.conformance.harness import DATA, RemoteHarness
from glance_common.stores.contract import BlobExists, BlobNotFound, Store
from glance_common.stores.drivers.swift.store import SwiftStore
from glance_common.stores.place_mark import NAME

MIB = 1024 * 1024
_WRITER = """
import sys
from pathlib import Path
from tests.conformance.s3_kit import writer
store = writer(Path(sys.argv[1]))
def pieces():
    while True:
        yield bytes(range(256)) * 4096
store.add(sys.argv[2], pieces(), None)
"""


def driver_of(store: Store) -> SwiftStore:
    """Return the store as what it is."""
    assert isinstance(store, SwiftStore)
    return store


class SwiftHarness(RemoteHarness):
    """Objects in a container. ``client`` is python-swiftclient's and sees everything; ``options`` are the store's."""

    part = 2 * MIB
    in_flight = 12 * MIB
    """Nothing is held but the first MiB, and what is on its way."""
    timeout = 2.0
    exclusive = False
    """Swift looks at the beginning of a write whether the key is taken, and Ceph does not; we look before the end."""

    def __init__(self, folder: Path, server: SwiftServer, options: Mapping[str, Any]) -> None:
        self.folder = folder
        self.server = server
        self.client = server.swift_client()
        self.container = str(options["swift_store_container"])
        self.port = server.port
        self.identities = MemoryIdentities()
        self.options = {
            "swift_store_auth_version": "1", "swift_store_auth_address": server.swift_auth_url,
            "swift_store_user": server.swift_user.name, "swift_store_key": server.swift_user.key,
            "swift_store_large_object_size": 6, "swift_store_large_object_chunk_size": 2,
            "swift_store_retry_get_count": 3, "swift_store_connect_timeout": PATIENT,
            "swift_store_read_timeout": PATIENT, **options,
        }
        super().__init__(self.made())
        self.store.check()  # so that the library is loaded before a test counts memory

    def made(self, identities: MemoryIdentities | None = None, **options: Any) -> Store:
        """Return the driver with these options changed; None takes one away."""
        chosen = {name: value for name, value in {**self.options, **options}.items() if value is not None}
        groups = {"glance_store": {"stores": "swift", "default_store": "swift", **chosen}}
        return bare(load(self.folder, groups, identities or self.identities).default)

    def objects(self) -> list[str]:
        return [entry["name"] for entry in self.client.get_container(self.container)[1] if entry["name"] != NAME]

    def unfinished(self) -> list[str]:
        """Return the segments that no manifest names."""
        names = self.objects()
        used: set[str] = set()
        for name in names:
            headers = self.client.head_object(self.container, name)
            if headers.get("x-static-large-object"):
                used |= {entry for entry in names if entry.startswith(f"{name}-")}
        return [name for name in names if "-" in name[36:] and name not in used]

    def manifest(self, name: str) -> list[dict[str, Any]]:
        """Return the segments of an object, as a Swift tells them."""
        text = self.client.get_object(self.container, name, query_string="multipart-manifest=get")[1]
        return list(json.loads(text))

    def at(self, port: int) -> Store:
        address = self.server.swift_auth_url.replace(str(self.port), str(port))
        return self.made(
            swift_store_auth_address=address,
            swift_store_connect_timeout=self.timeout, swift_store_read_timeout=self.timeout,
            swift_store_endpoint=self.client.get_auth()[0].replace(str(self.port), str(port)),
        )

    def without_place(self) -> Store:
        return self.made(swift_store_container=f"none-{uuid4().hex[:12]}")

    def with_wrong_credentials(self) -> Store:
        return self.made(swift_store_key="SecretThatIsWrong")

    def exchanged(self) -> Store:
        """Another container in the place of ours: the registry knows our mark, the container holds another one."""
        other = f"other-{uuid4().hex[:12]}"
        self.client.put_container(other)
        self.client.put_object(other, NAME, str(uuid4()).encode())
        identities = MemoryIdentities()
        store = self.made(identities, swift_store_container=other)
        identities.register("swift", driver_of(store)._place.name, self.store.identity())
        return store

    def write_until_killed(self, key: str) -> None:
        self.made()  # writes the file of options that the other process reads
        process = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(self.folder), key], cwd=Path(__file__).parents[2],
            stdin=subprocess.DEVNULL, start_new_session=True,
        )
        try:
            wait_for(lambda: len(self.objects_of(key)) >= 2, "two segments of the killed upload")
        finally:
            processes.kill_group(process)

    def objects_of(self, key: str) -> list[str]:
        """Return the names of object and segments of a key."""
        return [entry["name"] for entry in self.client.get_container(self.container, prefix=key)[1]]


MakeSwift = Callable[..., SwiftHarness]
"""Returns a harness over a fresh container, with options of the store."""


def on(name: str) -> Callable[..., Any]:
    """Run a test with one of the servers only."""
    return pytest.mark.parametrize("swift_server", [name], indirect=True)


def whole_life(harness: SwiftHarness) -> None:
    """Write, read and delete as one object and in segments."""
    for size, announced in (
        (0, 0), (1, None), (MIB, None), (MIB + 1, MIB + 1), (MIB + 1, None), (5 * MIB, None), (7 * MIB, 7 * MIB),
    ):
        data = (DATA * (size // len(DATA) + 1))[:size]
        key = harness.new_key()
        harness.store.add(key, [data], announced)
        with pytest.raises(BlobExists):
            harness.store.add(key, [b"other"], 5)
        assert harness.read(key) == data
        assert harness.read(key, 1, 7) == data[1:8]
        assert harness.read(key, 2 * MIB - 3, 6) == data[2 * MIB - 3 : 2 * MIB + 3]
        assert [(entry.key, entry.size) for entry in harness.store.walk()] == [(key, size)]
        harness.store.delete(key)
        with pytest.raises(BlobNotFound):
            harness.store.open(key)
    assert harness.objects() == []
