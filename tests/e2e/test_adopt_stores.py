"""An installation of the original with Swift and Ceph is taken over: its records, its data, and their deletes.

One swift store has its login in the options, so the original writes the password into each record. Another one has it
in a file of accounts, so the records name a section of the file. The third has ``swift_store_multi_tenant``: each image
is in a container of its own in the account of the project that wrote it, and the records name both.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from deploy.local import configuration
from deploy.local.embedded_postgres import PostgresServer
from swiftclient.client import Connection
from tests.e2e.adopting import Old, adopt, comparable, documents, rehearse
from tests.e2e.leftovers import files, rows, wait_until_purged
from tests.e2e.people import People, keystone_options
from tests.servers.ceph import link_modules
from tests.servers.keystone import ADMIN, DEMO, GLANCE, Keystone
from tests.servers.original import Original
from tests.servers.postgres import drop_database
from tests.servers.rbd import Administrator, RbdPool
from tests.servers.swift import Swift, remove_container
from tests.support.daemons import Services

from glance_common.stores.place_mark import NAME

pytestmark = pytest.mark.timeout(900)

SEGMENT = 1000 * 1024
"""What the original takes for a MiB where it cuts images."""
STORES = {
    "disk": "fast", "object": "objects", "segments": "objects", "referenced": "accounts", "tenant": "tenants",
    "tenant segments": "tenants", "block": "ceph",
}
"""Name of an image → its store."""
DELETED = "{}, deleted here"
"""Name of one more image of each kind."""


@dataclass
class Places:
    """Where the stores have their data, and what is there."""

    disk: Path
    pool: RbdPool
    account: Connection
    containers: dict[str, str]
    """Store → container, or what the names of its containers begin with."""
    tenant: Connection
    """The account of the project that uploads."""

    def names(self, store: str) -> set[str]:
        """Return the names of all data in a store, without its mark."""
        if store == "fast":
            return files(self.disk)
        if store == "ceph":
            return set(self.pool.images())
        if store == "tenants":
            listings = (self.tenant.get_container(container)[1] for container in self.of_tenant())
            return {entry["name"] for listing in listings for entry in listing}
        return {entry["name"] for entry in self.account.get_container(self.containers[store])[1]} - {NAME}

    def of(self, store: str, image: str) -> set[str]:
        """Return the names of the data of an image in a store."""
        return {name for name in self.names(store) if name.startswith(image)}

    def of_tenant(self) -> list[str]:
        """Return the containers in the account of the project."""
        return [entry["name"] for entry in self.tenant.get_account(prefix=self.containers["tenants"])[1]]


@pytest.fixture(scope="module")
def places(
    rbd: Administrator, keystone: Keystone, keystone_swift: Swift, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Places]:
    """Empty ones."""
    account, tenant = (
        Connection(
            preauthurl=f"{keystone_swift.url}/v1/KEY_{keystone.project_ids[project]}",
            preauthtoken=keystone.token(GLANCE),
        )
        for project in (GLANCE.project, DEMO.project)
    )
    containers = {store: f"{store}-{uuid4().hex[:12]}" for store in ("objects", "accounts", "tenants")}
    with rbd.pool() as pool:
        made = Places(tmp_path_factory.mktemp("disk"), pool, account, containers, tenant)
        yield made
    for container in made.of_tenant():
        remove_container(tenant, container)
    for container in containers.values():
        remove_container(account, container)


def store_options(places: Places, keystone: Keystone, folder: Path) -> dict[str, dict[str, object]]:
    """Return the sections of all stores, which both services understand."""
    login = {"auth_address": keystone.url, "user": f"{GLANCE.project}:{GLANCE.name}", "key": GLANCE.name}
    accounts = folder / "glance-swift.conf"
    accounts.write_text("\n".join(["[ref1]", *(f'{name} = "{value}"' for name, value in login.items()), ""]))
    cut: dict[str, object] = {"swift_store_large_object_size": 2, "swift_store_large_object_chunk_size": 1}
    containers: dict[str, dict[str, object]] = {
        store: {"swift_store_container": container, "swift_store_create_container_on_put": True}
        for store, container in places.containers.items()
    }
    own_login = {f"swift_store_{name}": value for name, value in login.items()}
    return {
        "DEFAULT": {"enabled_backends": "fast:file,objects:swift,accounts:swift,tenants:swift,ceph:rbd"},
        "glance_store": {"default_backend": "fast"},
        "fast": {"filesystem_store_datadir": places.disk},
        "objects": {**own_login, **containers["objects"], **cut},
        "accounts": {
            "swift_store_config_file": accounts, "default_swift_reference": "ref1", **containers["accounts"],
        },
        "tenants": {**own_login, **containers["tenants"], **cut, "swift_store_multi_tenant": True},
        "ceph": places.pool.options(folder),
    }


@pytest.fixture(scope="module")
def old(
    places: Places, postgres: PostgresServer, keystone: Keystone, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Old]:
    """The other installation, filled and stopped."""
    name, folder = "adopted_stores", tmp_path_factory.mktemp("old")
    postgres.create_database(name)
    stores = store_options(places, keystone, folder)
    options = configuration.merged(stores, {
        "DEFAULT": {"show_multiple_locations": True},
        "paste_deploy": {"flavor": "keystone"}, "keystone_authtoken": keystone.middleware_options(),
    })  # fmt: skip
    service = Original(folder / "original", postgres.url(name), options)
    service.modules = link_modules(folder / "modules")
    made = Old(service, postgres.url(name), keystone, stores)
    keystone.set_image_endpoint(service.url)
    try:
        service.start()
        demo = made.caller(DEMO)
        for kind, store in STORES.items():
            for image in (kind, DELETED.format(kind)):
                made.uploaded(image, demo, store, 3 * SEGMENT if "segments" in kind else 0)
        made.shown = documents(made.caller(ADMIN))
        service.stop()
        yield made
    finally:
        service.stop()
        drop_database(postgres, name)


@pytest.fixture(scope="module")
def rehearsed(old: Old, places: Places) -> str:
    """What the rehearsal printed, which ended well and changed no data."""
    before = {store: places.names(store) for store in STORES.values()}
    done = rehearse(old)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {store: places.names(store) for store in STORES.values()} == before
    return done.stdout


@pytest.fixture(scope="module")
def adopted(
    old: Old, rehearsed: str, module_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory,
    keystone: Keystone,
) -> Iterator[Services]:
    """Our daemons, not started, on a database into which the other one was adopted, with its stores."""
    made = Services(
        tmp_path_factory.mktemp("services"), module_database(), shared=configuration.merged(old.stores),
        api=configuration.merged(keystone_options(keystone)), scrubber={"DEFAULT": {"wakeup_time": 1}},
    )
    done = adopt(made, old)
    assert done.returncode == 0, done.stdout + done.stderr
    yield made
    made.stop()


@pytest.fixture(scope="module")
def verified(adopted: Services, old: Old) -> subprocess.CompletedProcess[str]:
    """What the comparison said before a daemon was started."""
    return adopt(adopted, old, "--verify")


@pytest.fixture(scope="module")
def services(adopted: Services, verified: object, keystone: Keystone) -> Services:
    """The daemons at work."""
    adopted.start()
    keystone.set_image_endpoint(adopted.api.url)
    return adopted


@pytest.fixture(scope="module")
def people(services: Services, keystone: Keystone) -> People:
    """The users, at our service."""
    return People(keystone, services.api.url)


def test_the_original_wrote_what_this_is_about(old: Old, places: Places, keystone: Keystone):
    def url(name: str) -> Any:
        (location,) = old.shown[old.images[name]]["locations"]
        assert location["metadata"]["store"] == STORES[name]
        return location["url"]

    server, pool, ids = keystone.url.removeprefix("http://"), places.pool, old.images
    for name in ("object", "segments"):
        login = f"{GLANCE.project}%3A{GLANCE.name}:{GLANCE.name}"
        assert url(name) == f"swift+http://{login}@{server}/{places.containers['objects']}/{ids[name]}"
    assert url("referenced") == f"swift+config://ref1/{places.containers['accounts']}/{ids['referenced']}"
    assert url("block") == f"rbd://{pool.fsid}/{pool.name}/{ids['block']}/snap"
    account, base = str(places.tenant.url).removeprefix("http://"), places.containers["tenants"]
    for name in ("tenant", "tenant segments"):
        assert url(name) == f"swift+http://{account}/{base}_{ids[name]}/{ids[name]}"
    for name in ("segments", "tenant segments"):
        parts = {f"{ids[name]}-{number:05}" for number in (1, 2, 3)}
        assert places.of(STORES[name], ids[name]) == {ids[name], *parts}


def test_the_rehearsal_reads_every_image(old: Old, rehearsed: str):
    assert "         0 wrong" in rehearsed
    assert f"{len(old.data)} downloaded" in rehearsed
    assert f"{len(old.data)} listed and shown, of {len(old.data)} in the database" in rehearsed


def test_every_image_is_listed_and_shown_as_before(old: Old, people: People):
    found = documents(people.admin)
    for image in (old.images[name] for name in STORES):
        assert comparable(found[image]) == comparable(old.shown[image])
    assert found.keys() <= old.shown.keys()


@pytest.mark.parametrize("name", STORES)
def test_an_image_is_downloaded_byte_for_byte(old: Old, people: People, name: str):
    image = old.images[name]
    assert people.demo.download(image) == old.data[image]
    answer = people.demo.call("GET", f"/v2/images/{image}/file", 206, headers={"Range": "bytes=1000000-1040000"})
    assert answer.content == old.data[image][1000000:1040001]


def test_both_sides_are_the_same(verified: subprocess.CompletedProcess[str]):
    assert verified.returncode == 0, verified.stdout + verified.stderr


def test_the_records_here_hold_no_password(services: Services, old: Old, places: Places):
    for name, store in STORES.items():
        image = old.images[name]
        place = f"/{places.containers['tenants']}_{image}/{places.tenant.url}" if store == "tenants" else ""
        assert rows(services, "SELECT store, key FROM locations WHERE image_id = %s", image) == [(store, image + place)]


@pytest.mark.parametrize("name", STORES)
def test_the_data_of_a_deleted_image_leave_their_store(
    old: Old, services: Services, people: People, places: Places, name: str
):
    """Those of the other images stay."""
    store, image = STORES[name], old.images[DELETED.format(name)]
    there = places.names(store)
    assert image in places.of(store, image)
    people.demo.delete(image)
    wait_until_purged(services, image)
    assert places.names(store) == {each for each in there if not each.startswith(image)}
