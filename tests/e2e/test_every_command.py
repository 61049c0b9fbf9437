"""Every image command of today's clients, each at least once, against a deployment with Keystone and three stores.

What a client can do is read from its own help, so a new client with a new command fails here until it is tried. Not
here: the metadata definitions, which have a test of their own (``test_every_metadef_command.py``), and the image cache.
"""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.e2e.people import People, keystone_options
from tests.servers.keystone import REGION, Keystone
from tests.servers.web import Page, WebServer, web_server
from tests.support.clients import Clients, Recorder, Result
from tests.support.daemons import Services
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(1800)

ELSEWHERE = re.compile(r"cached image|image metadef|cache-|md-|bash-completion|^help$")
DATA = b"\x01" + bytes(100_000)


@pytest.fixture(scope="module")
def source() -> Iterator[WebServer]:
    """A web server from which images are imported."""
    with web_server() as server:
        server.pages |= {"/image": Page(DATA), "/other": Page(DATA + b"other")}
        yield server


@pytest.fixture(scope="module")
def services(
    deploy: Callable[..., Services], keystone: Keystone, source: WebServer, tmp_path_factory: pytest.TempPathFactory
) -> Services:
    """Two file stores and the web; every method of import."""
    folder = tmp_path_factory.mktemp("places")
    for name in ("fast", "slow", "staging"):
        (folder / name).mkdir()
    shared: dict[str, dict[str, object]] = {
        "DEFAULT": {"enabled_backends": "fast:file, slow:file, web:http", "node_staging_uri": f"file://{folder}/staging"},
        "glance_store": {"default_backend": "fast"},
        "fast": {"filesystem_store_datadir": folder / "fast", "weight": 10},
        "slow": {"filesystem_store_datadir": folder / "slow"},
        "import_filtering_opts": {"allowed_hosts": "127.0.0.1", "allowed_ports": source.port},
    }
    own: dict[str, dict[str, object]] = {
        "DEFAULT": {
            "enabled_import_methods": "glance-direct, web-download, copy-image, glance-download",
            "show_multiple_locations": True,
            "image_location_quota": 10,
        },
    }
    options = keystone_options(keystone)
    return deploy(shared=shared, api={**options, **own})


@pytest.fixture(scope="module")
def users(services: Services, people: Callable[[Services], People]) -> People:
    """The users of the deployment."""
    return people(services)


SDK_STORY = """
import inspect, io, json, sys
import openstack
from openstack.image.v2 import _proxy

url, folder, guest, region = sys.argv[1:]
cloud = openstack.connect()
guest_cloud = openstack.connect(project_name="alt_demo", username="alt_demo", password="alt_demo")
called = set()


class Recorded:
    def __init__(self, proxy):
        self._proxy = proxy

    def __getattr__(self, name):
        called.add(name)
        return getattr(self._proxy, name)


image, other = Recorded(cloud.image), Recorded(guest_cloud.image)
data = folder + "/data"
raw = {"disk_format": "raw", "container_format": "bare"}
one = image.create_image("one", filename=data, wait=True, visibility="shared", **raw)
assert image.get_image(one).status == "active"
assert image.find_image("one").id == one.id
assert [each.id for each in image.images(name="one")] == [one.id]
two = image.upload_image(data=open(data, "rb"), name="two", **raw)
image.update_image(two, min_ram=3)
assert image.update_image_properties(two, custom="value")
image.add_tag(two, "t")
image.remove_tag(two, "t")
image.add_member(one, member_id=guest)
other.update_member(guest, one, status="accepted")
assert image.get_member(guest, one).status == image.find_member(guest, one).status == "accepted"
assert [each.member_id for each in image.members(one)] == [guest]
image.remove_member(guest, one)
image.deactivate_image(one)
image.reactivate_image(one)
image.download_image(one, output=folder + "/one")
assert open(folder + "/one", "rb").read() == open(data, "rb").read()
for kind in ("image", "images", "member", "members", "task", "tasks"):
    assert getattr(image, f"get_{kind}_schema")().properties
assert "glance-direct" in image.get_import_info().import_methods["value"]
assert {store.id for store in image.stores()} == {"fast", "slow", "web"}
assert [store for store in image.stores(details=True) if store.id == "fast"]

staged = image.stage_image(cloud.image._create(openstack.image.v2.image.Image, name="staged", **raw), filename=data)
image.import_image(staged)
image.wait_for_status(image.get_image(staged), "active", interval=0.2, wait=240)
image.import_image(one, method="copy-image", stores=["slow"])
for task in image.image_tasks(one):
    image.wait_for_task(image.get_task(task.id), interval=0.2, wait=240)
image.delete_image(one, store="slow")
assert cloud.image.get(f"/images/{one.id}").json()["stores"] == "fast"
assert list(image.tasks())
created = image.create_task(type="import", input={
    "import_from": url, "import_from_format": "raw", "image_properties": {"name": "task", **raw}})
image.wait_for_task(created, interval=0.2, wait=240)
located = cloud.image._create(openstack.image.v2.image.Image, name="located", **raw)
image.add_image_location(located, url)
image.wait_for_status(image.get_image(located), "active", interval=0.2, wait=240)
assert [place.url for place in image.image_locations(located)] == [url]
for each in (one, two, staged, located):
    image.delete_image(each)
image.wait_for_delete(one, interval=0.2, wait=240)
known = {name for name, each in inspect.getmembers(_proxy.Proxy, inspect.isfunction)
         if not name.startswith("_") and each.__module__ == _proxy.__name__}
print(json.dumps({"called": sorted(called), "known": sorted(known)}))
"""


def missing(known: set[str], seen: set[str]) -> set[str]:
    return {command for command in known - seen if not ELSEWHERE.search(command)}


def test_every_openstack_image_command(
    services: Services, users: People, clients: Clients, source: WebServer, tmp_path: Path
):
    openstack = Recorder(clients.openstack, users.admin_env)
    guest = users.project("alt_demo")
    data = tmp_path / "data"
    data.write_bytes(DATA)
    kind = ("--disk-format", "raw", "--container-format", "bare")

    image = openstack.json("image create", "--file", data, *kind, "--shared", "one")["id"]
    assert [each["ID"] for each in openstack.json("image list", "--name", "one")] == [image]
    openstack("image set", "--property", "a=b", "--tag", "t", "--tag", "u", "--min-ram", "5", image)
    openstack("image unset", "--property", "a", "--tag", "u", image)
    shown = openstack.json("image show", image)
    assert (shown["tags"], shown["min_ram"], "a" in shown["properties"]) == (["t"], 5, False)
    openstack("image set", "--hidden", image)
    assert openstack.json("image list", "--hidden")[0]["ID"] == image
    openstack("image set", "--unhidden", "--community", image)
    openstack("image set", "--shared", image)
    openstack("image add project", image, guest)
    openstack("image set", "--project", guest, "--reject", image, env=users.alt_demo_env)
    assert openstack.json("image member get", image, guest)["status"] == "rejected"
    assert [each["Member ID"] for each in openstack.json("image member list", image)] == [guest]
    openstack("image remove project", image, guest)
    openstack("image save", "--file", tmp_path / "saved", image)
    assert (tmp_path / "saved").read_bytes() == DATA
    openstack("image set", "--deactivate", image)
    openstack("image set", "--activate", image)

    assert {each["ID"] for each in openstack.json("image stores list")} == {"fast", "slow", "web"}
    assert "glance-direct" in openstack.json("image import info")["import-methods"]
    staged = openstack.json("image create", *kind, "staged")["id"]
    openstack("image stage", "--file", data, staged)
    openstack("image import", "--method", "glance-direct", staged)
    wait_for(lambda: users.admin.show(staged)["status"] == "active", "the import")
    assert users.admin.download(staged) == DATA
    loaded = openstack.json("image create", *kind, "loaded")["id"]
    url = f"http://127.0.0.1:{source.port}/image"
    openstack("image import", "--method", "web-download", "--uri", url, "--all-stores", loaded)
    wait_for(lambda: users.admin.show(loaded)["status"] == "active", "the import")
    wait_for(lambda: users.admin.show(loaded).get("stores") == "fast,slow", "both stores")
    openstack("image import", image, "--method", "copy-image", "--store", "slow")
    wait_for(lambda: users.admin.show(image).get("stores") == "fast,slow", "the copy")
    tasks = openstack.json("image task list")
    mine = next(task["ID"] for task in tasks if task["Type"] == "api_image_import")
    wait_for(lambda: openstack.json("image task show", mine)["status"] == "success", "the end of the copy's task")
    openstack("image delete", image, staged, loaded)

    help_text = clients.openstack("--help", env=users.admin_env).check().output
    known = set(re.findall(r"^  ((?:cached )?image (?:[a-z]+ ?)+?)  ", help_text, re.MULTILINE))
    assert len(known) > 15, help_text
    assert missing({command.strip() for command in known}, openstack.seen) == set()


def test_every_glance_image_command(
    services: Services, users: People, clients: Clients, source: WebServer, tmp_path: Path
):
    glance = Recorder(clients.glance, users.admin_env)
    guest = users.project("alt_demo")
    data = tmp_path / "data"
    data.write_bytes(DATA)
    kind = ("--disk-format", "raw", "--container-format", "bare")

    def made(result: Result) -> str:
        """Return the id that the printed table of an image shows."""
        found = re.search(r"^\| id +\| (\S+)", result.output, re.MULTILINE)
        assert found, result.output
        return found[1]

    def active(image: str) -> str:
        wait_for(lambda: users.admin.show(image)["status"] == "active", "the data")
        return image

    image = made(glance("image-create", "--name", "g", *kind))
    glance("image-upload", "--file", data, image)
    active(image)
    assert image in glance("image-list", "--property-filter", "name=g").output
    glance("image-update", image, "--property", "a=b", "--min-disk", "1")
    assert "| a " in glance("image-show", image).output
    glance("image-update", image, "--remove-property", "a")
    glance("image-tag-update", image, "t")
    glance("image-tag-delete", image, "t")
    glance("member-create", image, guest)
    glance("member-update", image, guest, "accepted", env=users.alt_demo_env)
    assert "accepted" in glance("member-get", image, guest).output
    assert guest in glance("member-list", "--image-id", image).output
    glance("member-delete", image, guest)
    glance("image-deactivate", image)
    glance("image-reactivate", image)
    glance("image-download", "--file", tmp_path / "saved", image)
    assert (tmp_path / "saved").read_bytes() == DATA
    for model in ("image", "member"):
        assert "Attribute" in glance("explain", model).output

    assert "web-download" in glance("import-info").output
    staged = made(glance("image-create", "--name", "staged", *kind))
    glance("image-stage", "--file", data, staged)
    glance("image-import", "--import-method", "glance-direct", staged)
    active(staged)
    url = f"http://127.0.0.1:{source.port}/other"
    remote = active(made(glance(
        "image-create-via-import", "--import-method", "web-download", "--uri", url, *kind, "--name", "loaded"
    )))
    copied = active(made(glance(
        "image-create-via-import", "--import-method", "glance-download", "--remote-region", REGION,
        "--remote-image-id", remote, *kind, "--name", "from-elsewhere",
    )))
    assert users.admin.download(copied) == DATA + b"other"
    # An image is active before its task is told to be over.
    wait_for(lambda: "success" in glance("image-tasks", copied).output, "the end of the task")
    assert "success" in glance("task-list").output
    with_location = made(glance("image-create", "--name", "located", *kind))
    glance("location-add", "--url", url, with_location)
    active(with_location)
    glance("location-update", "--url", url, "--metadata", json.dumps({"rack": "3"}), with_location)
    assert users.admin.show(with_location)["locations"][0]["metadata"]["rack"] == "3"
    image_url = f"http://127.0.0.1:{source.port}/image"
    by_service = made(glance("image-create", "--name", "located too", *kind))
    glance("add-location", "--url", image_url, by_service)
    active(by_service)
    assert wait_for(lambda: users.admin.show(by_service)["os_hash_algo"], "the hash") == "sha512"

    assert all(name in glance("stores-info", "--detail").output for name in ("fast", "slow", "web"))
    glance("image-import", "--import-method", "copy-image", "--stores", "slow", image)
    wait_for(lambda: users.admin.show(image).get("stores") == "fast,slow", "the copy")
    glance("stores-delete", "--store", "slow", image)
    assert users.admin.show(image)["stores"] == "fast"
    glance("image-import", "--import-method", "copy-image", "--stores", "slow", image)
    wait_for(lambda: users.admin.show(image).get("stores") == "fast,slow", "the copy")
    locations = users.admin.show(image)["locations"]
    glance("location-delete", "--url", locations[-1]["url"], image)
    assert len(users.admin.show(image)["locations"]) == 1

    source_of_task = json.dumps({
        "import_from": url, "import_from_format": "raw",
        "image_properties": {"name": "by-task", "disk_format": "raw", "container_format": "bare"},
    })
    task = made(glance("task-create", "--type", "import", "--input", source_of_task))
    wait_for(lambda: "success" in glance("task-show", task).output, "the task")
    glance("usage")
    glance("image-delete", image, staged, remote, copied, with_location, by_service)

    help_text = clients.glance("help", env=users.admin_env).check().output
    known = set(re.findall(r"^    ([a-z][a-z-]+)(?: |$)", help_text, re.MULTILINE))
    assert len(known) > 30, help_text
    assert missing(known, glance.seen) == set()


def test_every_openstacksdk_image_method(
    services: Services, users: People, clients: Clients, source: WebServer, tmp_path: Path
):
    (tmp_path / "data").write_bytes(DATA)
    done = clients.sdk(
        SDK_STORY, source.url("/image"), tmp_path, users.project("alt_demo"), REGION, env=users.admin_env
    ).check()
    story = json.loads(done.output)
    elsewhere = re.compile(r"metadef|cache|queue_image")
    assert len(story["known"]) > 50
    assert [name for name in story["known"] if name not in story["called"] and not elsewhere.search(name)] == []
