"""An installation of the original, filled through its API, is taken over, compared and started again.

Its database is PostgreSQL or MariaDB; its data are files, objects of an S3 server and pages of a web server.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from deploy.local import configuration
from deploy.local.embedded_postgres import PostgresServer
from tests.e2e.adopting import Old, adopt, comparable, documents, rehearse
from tests.e2e.calls import MIB, RAW
from tests.e2e.people import People, keystone_options
from tests.servers.keystone import ADMIN, ALT_DEMO, DEMO, Keystone
from tests.servers.mariadb import MariaDB
from tests.servers.original import Original
from tests.servers.postgres import drop_database
from tests.servers.seaweedfs import SeaweedFS
from tests.servers.web import Page, WebServer
from tests.support.daemons import Services
from tests.support.raw_data import random_bytes
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(900)

RESTORED = {"restored": "fast", "restored from the cloud": "cloud"}
"""Deleted images that tests restore here → their store."""
LATER = "after the way back"
"""An image that a test makes in the original, and adopts later."""


@contextmanager
def database_of(request: pytest.FixtureRequest, kind: str) -> Iterator[str]:
    """Give the URL of an empty database on a server of that kind."""
    name = "adopted_original"
    if kind == "mariadb":
        mariadb: MariaDB = request.getfixturevalue("mariadb")
        mariadb.create_database(name)
        yield mariadb.url(name)
        mariadb.drop_database(name)
    else:
        postgres: PostgresServer = request.getfixturevalue("postgres")
        postgres.create_database(name)
        yield postgres.url(name)
        drop_database(postgres, name)


@pytest.fixture(scope="module", params=["postgresql", "mariadb"])
def old(
    request: pytest.FixtureRequest, keystone: Keystone, seaweedfs: SeaweedFS, web: WebServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Old]:
    """The other installation, filled and stopped."""
    folder = tmp_path_factory.mktemp("old") / "original"
    folder.mkdir()
    with seaweedfs.bucket() as bucket, database_of(request, request.param) as database:
        stores: dict[str, dict[str, object]] = {
            "DEFAULT": {"enabled_backends": "fast:file,cloud:s3,pages:http"},
            "glance_store": {"default_backend": "fast"},
            "fast": {"filesystem_store_datadir": folder / "images"},
            "cloud": {
                "s3_store_host": seaweedfs.url, "s3_store_bucket": bucket, "s3_store_access_key": seaweedfs.keys.access,
                "s3_store_secret_key": seaweedfs.keys.secret, "s3_store_bucket_url_format": "path",
            },
            "import_filtering_opts": {"allowed_hosts": "[127.0.0.1]", "allowed_ports": f"[{web.port}]"},
        }
        options = configuration.merged(stores, {
            "DEFAULT": {"delayed_delete": True, "show_multiple_locations": True, "show_image_direct_url": True},
            "paste_deploy": {"flavor": "keystone"}, "keystone_authtoken": keystone.middleware_options(),
        })  # fmt: skip
        service = Original(folder, database, options)
        made = Old(service, database, keystone, stores)
        keystone.set_image_endpoint(service.url)
        try:
            service.start()
            fill(made, web)
            made.shown = documents(made.caller(ADMIN))
            service.stop()
            yield made
        finally:
            service.stop()


def fill(old: Old, web: WebServer) -> None:
    """Put images of every state into it, with everything that belongs to images, and definitions."""
    admin, demo = old.caller(ADMIN), old.caller(DEMO)

    fields: dict[str, Any] = {"visibility": "shared", "os_distro": "debian", "note": "grün", "tags": ["a", "b"]}
    shared = old.uploaded("shared", demo, **fields)
    other = old.keystone.project_ids[ALT_DEMO.project]
    demo.call("POST", f"/v2/images/{shared}/members", 200, json={"member": other})
    old.caller(ALT_DEMO).call("PUT", f"/v2/images/{shared}/members/{other}", 200, json={"status": "accepted"})
    old.uploaded("object", demo, "cloud")
    old.uploaded("public", admin, visibility="public", min_disk=3, min_ram=64)
    old.uploaded("community", demo, visibility="community")
    old.uploaded("hidden", demo, os_hidden=True)
    protected = old.uploaded("protected", demo)
    demo.patch(protected, {"op": "replace", "path": "/protected", "value": True})
    closed = old.uploaded("closed", demo)
    admin.call("POST", f"/v2/images/{closed}/actions/deactivate", 204)
    old.keep("queued", str(demo.create(name="queued")["id"]), None)
    page = random_bytes(MIB)
    web.pages["/old.raw"] = Page(page)
    linked = old.keep("linked", str(admin.create(name="linked")["id"]), page)
    location = {"url": web.url("/old.raw"), "metadata": {}}
    admin.patch(linked, {"op": "add", "path": "/locations/-", "value": location})
    staged = old.keep("staged", str(demo.create(name="staged")["id"]), None)
    headers = {"Content-Type": "application/octet-stream"}
    demo.call("PUT", f"/v2/images/{staged}/stage", 204, headers=headers, data=random_bytes(1000))
    imported, data = str(demo.create(name="imported")["id"]), random_bytes(MIB)
    demo.call("PUT", f"/v2/images/{imported}/stage", 204, headers=headers, data=data)
    demo.call("POST", f"/v2/images/{imported}/import", 202, json={"method": {"name": "glance-direct"}})
    wait_for(lambda: demo.show(imported)["status"] == "active", "the end of the import")
    old.keep("imported", imported, data)
    for name, store in (("waits", "fast"), *RESTORED.items()):
        demo.delete(old.uploaded(name, demo, store))
    demo.delete(old.keep("deleted", str(demo.create(name="deleted")["id"]), None))
    admin.call("POST", "/v2/metadefs/namespaces", 201, json={
        "namespace": "OS::Old", "visibility": "public", "protected": True, "display_name": "Old",
        "properties": {"speed": {"title": "Speed", "type": "integer", "minimum": 1}},
        "objects": [{"name": "Group", "required": ["a"], "properties": {"a": {"title": "A", "type": "string"}}}],
        "resource_type_associations": [{"name": "OS::Glance::Image", "prefix": "hw_"}], "tags": [{"name": "t"}],
    })  # fmt: skip


@pytest.fixture(scope="module")
def rehearsed(old: Old) -> str:
    """What the rehearsal printed, which must end well but for what it says itself."""
    done = rehearse(old)
    assert not done.stderr, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def adopted(
    old: Old, rehearsed: str, module_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory,
    keystone: Keystone,
) -> Iterator[Services]:
    """Our daemons, not started, on a database into which the other one was adopted, with its stores."""
    shared = configuration.merged(old.stores)
    options = {"DEFAULT": {"delayed_delete": True, "scrub_time": 36000, "show_multiple_locations": True}}
    keeps = {"DEFAULT": {"scrub_time": 36000}}
    made = Services(
        tmp_path_factory.mktemp("services"), module_database(), shared=shared, scrubber=keeps,
        api=configuration.merged(keystone_options(keystone), options),
    )
    assert adopt(made, old).returncode == 3, "one image was being written"
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


def test_the_rehearsal_reads_every_image_and_changes_nothing(old: Old, rehearsed: str):
    assert "         0 wrong" in rehearsed
    downloads = len([image for image in old.shown if image in old.data])
    assert f"{downloads} downloaded" in rehearsed
    assert f"{len(old.shown)} listed and shown, of {len(old.shown)} in the database" in rehearsed
    assert "data were staged" in rehearsed
    secret = str(old.stores["cloud"]["s3_store_secret_key"])
    assert secret not in rehearsed


def test_every_image_is_listed_and_shown_as_before(old: Old, people: People):
    found = documents(people.admin)
    later = {LATER, *RESTORED}
    assert {image for image in found if found[image]["name"] not in later} == old.shown.keys()
    for image, before in old.shown.items():
        expected = dict(before)
        if image == old.images["staged"]:
            expected |= {"status": "queued", "size": None, "virtual_size": None}
        assert comparable(found[image]) == comparable(expected)


def test_every_image_is_downloaded_byte_for_byte(old: Old, people: People):
    read = 0
    for image in old.shown:
        if image in old.data:
            assert people.admin.download(image) == old.data[image]
            read += 1
    assert read == 9


def test_members_definitions_and_tasks(old: Old, people: People):
    shared = old.images["shared"]
    members = people.demo.call("GET", f"/v2/images/{shared}/members", 200).json()["members"]
    assert [(each["member_id"], each["status"]) for each in members] == [(people.project(ALT_DEMO.project), "accepted")]
    assert people.alt_demo.show(shared)["name"] == "shared"
    namespace = people.admin.call("GET", "/v2/metadefs/namespaces/OS::Old", 200).json()
    assert (namespace["protected"], namespace["display_name"]) == (True, "Old")
    assert namespace["properties"] == {"speed": {"title": "Speed", "type": "integer", "minimum": 1}}
    assert [each["name"] for each in namespace["objects"]] == ["Group"]
    tasks = people.demo.call("GET", f"/v2/images/{old.images['imported']}/tasks", 200).json()["tasks"]
    assert [(each["type"], each["status"]) for each in tasks] == [("api_image_import", "success")]


def test_ids_of_deleted_images_stay_taken(old: Old, people: People):
    for name in ("deleted", "waits"):
        people.demo.call("GET", f"/v2/images/{old.images[name]}", 404)
        people.demo.call("POST", "/v2/images", 409, json={"id": old.images[name], **RAW})


def test_both_sides_are_the_same_but_for_what_the_report_said(verified: subprocess.CompletedProcess[str]):
    assert verified.returncode == 1
    assert "1 difference." in verified.stdout, verified.stdout
    assert "data were staged" in verified.stdout


def test_the_way_back(old: Old, services: Services, people: People, web: WebServer):
    """The original starts again on its database and its stores, which ours have read; the next run brings news."""
    services.stop()
    old.service.start()
    try:
        admin = old.caller(ADMIN)
        assert documents(admin) == old.shown
        for image in old.shown:
            if image in old.data:
                assert admin.download(image) == old.data[image]
        fresh = admin.uploaded(b"new", name=LATER)
        assert admin.download(fresh) == b"new"
    finally:
        old.service.stop()
    services.start()
    assert LATER not in people.admin.names(limit="100")
    adopt(services, old)
    assert LATER in people.admin.names(limit="100")


@pytest.mark.parametrize("name", RESTORED)
def test_an_image_that_was_deleted_with_a_delay_is_restored(old: Old, services: Services, people: People, name: str):
    image = old.images[name]
    done = services.scrub_once("--restore", image)
    assert done.returncode == 0, done.stderr
    assert people.demo.show(image)["status"] == "active"
    assert people.demo.download(image) == old.data[image]
