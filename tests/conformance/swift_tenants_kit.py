"""The harness of the swift driver with the accounts of projects."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from deploy.local import processes
from swiftclient.client import Connection
from tests.conformance.remote import PATIENT
from tests.conformance.swift_kit import driver_of
from tests.servers.keystone import ADMIN, ALT_DEMO, DEMO, GLANCE, Keystone, User
from tests.servers.swift import Swift
from tests.support.stores import MemoryIdentities, bare, load
from tests.support.waiting import wait_for

from glance_common.stores import caller as callers
from glance_common.stores.caller import StoreCaller
from glance_common.stores.conformance.harness import RemoteHarness
from glance_common.stores.contract import Store
from glance_common.stores.place_mark import NAME

_WRITER = """
import sys
from pathlib import Path
from tests.conformance.s3_kit import writer
from glance_common.stores.caller import data_of
store = writer(Path(sys.argv[1]))
def pieces():
    while True:
        yield bytes(range(256)) * 4096
with data_of(sys.argv[3]):
    store.add(sys.argv[2], pieces(), None)
"""


class Tenants(RemoteHarness):
    """A store whose user is the service's, which may use every account; demo writes."""

    timeout = 2.0

    def __init__(self, folder: Path, keystone: Keystone, server: Swift) -> None:
        self.folder = folder
        self.keystone = keystone
        self.server = server
        self.container = f"images-{uuid4().hex[:12]}"
        self.port = server.port
        self.service = self.client(GLANCE)
        self.identities = MemoryIdentities()
        self.options = {
            "swift_store_auth_address": keystone.url, "swift_store_user": f"{GLANCE.project}:{GLANCE.name}",
            "swift_store_key": GLANCE.name, "swift_store_container": self.container,
            "swift_store_multi_tenant": "true", "swift_store_large_object_size": 4,
            "swift_store_large_object_chunk_size": 2, "swift_store_retry_get_count": 2,
            "swift_store_connect_timeout": PATIENT, "swift_store_read_timeout": PATIENT,
        }
        self.service.put_container(self.container)
        super().__init__(self.made())

    def made(self, identities: MemoryIdentities | None = None, **options: Any) -> Store:
        """Return the driver with these options changed."""
        groups = {"glance_store": {"stores": "swift", "default_store": "swift", **self.options, **options}}
        return bare(load(self.folder, groups, identities or self.identities).default)

    def client(self, user: User, project: str | None = None) -> Connection:
        """Return a client of a user, for the account of a project, of its own by default."""
        return Connection(preauthurl=self.account(project or user.project), preauthtoken=self.keystone.token(user))

    def account(self, project: str) -> str:
        """Return the URL of the account of a project."""
        return f"{self.server.url}/v1/KEY_{self.keystone.project_ids[project]}"

    def caller(self, user: User, token: str | None = None) -> StoreCaller:
        """Return the user as the caller of a request, with the catalog as the middleware gives it."""
        url = self.account(user.project)
        endpoints = [{"region": "RegionOne", "publicURL": url, "internalURL": url, "adminURL": url}]
        catalog = json.dumps([{"type": "object-store", "name": "swift", "endpoints": endpoints}])
        return StoreCaller(self.keystone.project_ids[user.project], token or self.keystone.token(user), catalog)

    def added(self, data: bytes, size: int | None = None, key: str | None = None) -> str:
        """Write data in the name of the present caller and return the key of the row."""
        stored = self.store.add(key or self.new_key(), iter([data]), size)
        assert stored.size == len(data)
        assert stored.key is not None
        return stored.key

    def put(self, data: bytes) -> str:
        with calling(self.caller(DEMO)):
            return self.added(data)

    def objects(self) -> list[str]:
        """Return what is in the store's own container, and in the containers of images of all projects."""
        names = [entry["name"] for entry in self.service.get_container(self.container)[1] if entry["name"] != NAME]
        for project in (DEMO.project, ALT_DEMO.project, ADMIN.project, GLANCE.project):
            containers = self.client(GLANCE, project).get_account(prefix=f"{self.container}_")[1]
            names += [entry["name"] for entry in containers]
        return names

    def unfinished(self) -> list[str]:
        """Return the containers of images without data."""
        client = self.client(GLANCE, DEMO.project)
        containers = [entry["name"] for entry in client.get_account(prefix=f"{self.container}_")[1]]
        return [name for name in containers if name[-36:] not in self._names(client, name)]

    def _names(self, client: Connection, container: str) -> list[str]:
        return [entry["name"] for entry in client.get_container(container)[1]]

    def at(self, port: int) -> Store:
        url = self.account(GLANCE.project).replace(str(self.port), str(port))
        return self.made(
            swift_store_endpoint=url, swift_store_connect_timeout=self.timeout, swift_store_read_timeout=self.timeout
        )

    def without_place(self) -> Store:
        return self.made(swift_store_container=f"none-{uuid4().hex[:12]}")

    def with_wrong_credentials(self) -> Store:
        return self.made(swift_store_key="SecretThatIsWrong")

    def exchanged(self) -> Store:
        """Another container in the place of ours: the registry knows our mark, the container holds another one."""
        other = f"other-{uuid4().hex[:12]}"
        self.service.put_container(other)
        self.service.put_object(other, NAME, str(uuid4()).encode())
        identities = MemoryIdentities()
        store = self.made(identities, swift_store_container=other)
        identities.register("swift", driver_of(store)._place.name, self.store.identity())
        return store

    def write_until_killed(self, key: str) -> None:
        self.made()  # writes the file of options that the other process reads
        process = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(self.folder), key, self.keystone.project_ids[DEMO.project]],
            cwd=Path(__file__).parents[2], stdin=subprocess.DEVNULL, start_new_session=True,
        )
        client = self.client(GLANCE, DEMO.project)

        def segments() -> int:
            found = client.get_account(prefix=f"{self.container}_{key}")[1]
            return len(self._names(client, found[0]["name"])) if found else 0

        try:
            wait_for(lambda: segments() >= 2, "two segments of the killed upload")
        finally:
            processes.kill_group(process)


@contextmanager
def calling(caller: StoreCaller) -> Iterator[None]:
    """Let the block be the request of a caller."""
    before = callers.current_caller()
    callers.begin_request(caller)
    try:
        yield
    finally:
        callers.begin_request(before)
