"""Clients of other ecosystems on one deployment with Keystone: libcloud, Ansible, osism's image manager, Ruby's fog."""

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.e2e.calls import MIB
from tests.e2e.people import People, keystone_options
from tests.servers.keystone import REGION, Keystone
from tests.servers.web import Page, WebServer, web_server
from tests.support.clients import Clients
from tests.support.daemons import Services
from tests.support.raw_data import random_bytes
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(900)

PROGRAMS = Path(__file__).parent / "programs"
DATA = random_bytes(MIB)


@pytest.fixture(scope="module")
def web() -> Iterator[WebServer]:
    """A web server with images."""
    with web_server() as server:
        for name in ("1", "2", "3", "ansible"):
            server.pages[f"/{name}.img"] = Page(DATA)
        yield server


@pytest.fixture(scope="module")
def services(deploy: Callable[..., Services], keystone: Keystone, web: WebServer) -> Services:
    """A deployment that imports from there."""
    filters = {"import_filtering_opts": {"allowed_hosts": "[127.0.0.1]", "allowed_ports": f"[{web.port}]"}}
    return deploy(api={**keystone_options(keystone), **filters})


@pytest.fixture(scope="module")
def users(services: Services, people: Callable[[Services], People]) -> People:
    """Its users."""
    return people(services)


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


# apache-libcloud


@pytest.fixture(scope="module")
def libcloud(users: People, ecosystem: Clients) -> dict[str, Any]:
    """What libcloud's driver found."""
    image = users.demo.uploaded(DATA, name="libcloud 0", visibility="private", min_disk=3, min_ram=64)
    # More than a page.
    for number in range(1, 30):
        users.demo.create(name=f"libcloud {number}")
    given = {
        "auth_url": users.keystone.url.removesuffix("/v3"), "region": REGION, "image": image,
        "alt_project": users.project("alt_demo"),
    }
    done = ecosystem.run("python", "-W", "ignore", PROGRAMS / "libcloud_images.py", json.dumps(given))
    return {"id": image, **json.loads(done.check().output)}


def test_libcloud_reads_images(libcloud: dict[str, Any]):
    image = libcloud["image"]
    assert (image["id"], image["name"], image["status"]) == (libcloud["id"], "libcloud 0", "active")
    assert (image["visibility"], image["minDisk"], image["minRam"]) == ("private", 3, 64)
    assert libcloud["names"] == sorted(f"libcloud {number}" for number in range(30))


def test_libcloud_changes_and_shares_images(libcloud: dict[str, Any], users: People):
    updated, project = libcloud["updated"], users.project("alt_demo")
    assert (updated["name"], updated["visibility"], updated["os_distro"]) == ("renamed by libcloud", "shared", "debian")
    assert (libcloud["member"], libcloud["accepted"], libcloud["one member"]) == ("pending", "accepted", "accepted")
    assert libcloud["members"] == [[project, "accepted"]]
    assert libcloud["shared"] == updated


def test_libcloud_reads_the_reasons_of_refusals(libcloud: dict[str, Any]):
    """It parses the error document; a code of another type than text made its own error a TypeError."""
    refused = {
        "foreign": (404, "No image found"), "unknown": (404, "No image found"),
        "member again": (409, "is a member of image"), "protected": (403, "status is read-only"),
        "nonsense": (400, "visibility"), "public": (403, "publicize_image"),
    }
    for name, (code, reason) in refused.items():
        found, text = libcloud[name]
        assert found == code, name
        assert reason in text, name


# Ansible


@pytest.fixture(scope="module")
def plays(
    users: People, ansible: Clients, web: WebServer, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    """What each task of the playbook returned, by its name."""
    file = tmp_path_factory.mktemp("ansible") / "image"
    file.write_bytes(DATA)
    settings = {
        "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json", "ANSIBLE_LOCALHOST_WARNING": "false",
        "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false", "ANSIBLE_PYTHON_INTERPRETER": str(ansible.programs / "python"),
    }
    variables = json.dumps({"file": str(file), "uri": web.url("/ansible.img")})
    done = ansible.run(
        "ansible-playbook", "-e", variables, PROGRAMS / "ansible_images.yaml", env={**users.demo_env, **settings}
    )
    (play,) = done.json()["plays"]
    return {task["task"]["name"]: task["hosts"]["localhost"] for task in play["tasks"]}


def test_ansible_changes_what_differs_and_nothing_twice(plays: dict[str, dict[str, Any]]):
    assert {name: play["changed"] for name, play in plays.items()} == {
        "upload": True, "upload again": False, "change": True, "show": False, "find": False,
        "delete a protected one": False, "switch off": True, "switch on": True, "import staged data": True,
        "import from the web": True, "publish": False, "delete": True, "delete again": False,
    }
    assert {name for name, play in plays.items() if play.get("failed")} == {"delete a protected one", "publish"}


def test_ansible_reads_what_the_service_knows(plays: dict[str, dict[str, Any]], users: People):
    uploaded, (shown,), (found,) = plays["upload"]["image"], plays["show"]["images"], plays["find"]["images"]
    assert (uploaded["status"], uploaded["size"], uploaded["checksum"]) == ("active", len(DATA), md5(DATA))
    assert (uploaded["visibility"], sorted(uploaded["tags"]), uploaded["os_distro"]) == (
        "shared", ["first", "second"], "debian"
    )
    assert (shown["min_disk"], shown["min_ram"], shown["is_protected"], shown["tags"]) == (2, 64, True, ["third"])
    assert (shown["os_distro"], shown["hw_disk_bus"], shown["visibility"]) == ("ubuntu", "scsi", "private")
    assert shown["owner"] == users.project("demo")
    assert found == shown
    assert plays["switch off"]["image"]["status"] == "deactivated"
    assert plays["switch on"]["image"]["status"] == "active"
    assert "is protected" in plays["delete a protected one"]["msg"]
    assert "publicize_image" in plays["publish"]["msg"]


@pytest.mark.parametrize("task", ["import staged data", "import from the web"])
def test_ansible_imports(plays: dict[str, dict[str, Any]], users: People, task: str):
    image = plays[task]["image"]["id"]
    wait_for(lambda: users.demo.show(image)["status"] == "active", "the end of the import")
    assert users.demo.download(image) == DATA


def test_ansible_leaves_nothing(plays: dict[str, dict[str, Any]], users: People):
    users.demo.call("GET", f"/v2/images/{plays['upload']['image']['id']}", 404)
    assert users.demo.names(name="public of ansible") == set()


# osism's image manager

MANAGER = """
import sys, time
pause = time.sleep
time.sleep = lambda seconds: pause(min(seconds, 0.2))  # it looks again after 2 and 10 seconds
from openstack_image_manager.main import main
main()
"""


def definition(web: WebServer, *versions: str, **changed: Any) -> dict[str, Any]:
    """Return the definition of an image with these versions."""
    meta = {
        "architecture": "x86_64", "hw_disk_bus": "scsi", "hw_rng_model": "virtio", "hypervisor_type": "qemu",
        "os_distro": "debian", "os_purpose": "minimal", "replace_frequency": "never", "uuid_validity": "none",
        "provided_until": "none",
    }
    made = [
        {"version": version, "url": web.url(f"/{version}.img"), "checksum": f"md5:{md5(DATA)}",
         "build_date": date(2026, 1, int(version))}
        for version in versions
    ]  # fmt: skip
    return {
        "name": "Managed", "enable": True, "format": "raw", "login": "debian", "min_ram": 64, "min_disk": 2,
        "status": "active", "visibility": "public", "multi": True, "meta": meta, "tags": ["by manager"],
        "versions": made, **changed,
    }


@pytest.fixture
def manage(users: People, ecosystem: Clients, tmp_path: Path) -> Callable[..., str]:
    """A function that runs the manager with one definition and options, and returns what it said."""

    def run(image: dict[str, Any], *options: object) -> str:
        definitions = tmp_path / "images.yml"
        definitions.write_text(yaml.safe_dump({"images": [image]}))
        arguments = ["--images", definitions, "--prefetch", "never", *options]
        done = ecosystem.run("python", "-W", "ignore", "-c", MANAGER, *arguments, env=users.admin_env)
        return done.check().errors

    return run


def managed(users: People) -> dict[str, dict[str, Any]]:
    """Return all images of the manager by name, hidden ones as well."""
    pages = [
        users.admin.call("GET", "/v2/images", 200, params={"tag": "managed_by_osism", "os_hidden": hidden}).json()
        for hidden in ("false", "true")
    ]
    return {image["name"]: image for page in pages for image in page["images"]}


def test_the_image_manager_keeps_the_newest_version(manage: Callable[..., str], users: People, web: WebServer):
    manage(definition(web, "1"))
    (first,) = managed(users).values()
    assert (first["name"], first["status"], first["visibility"]) == ("Managed", "active", "public")
    assert (first["min_disk"], first["min_ram"], first["size"]) == (2, 64, len(DATA))
    assert sorted(first["tags"]) == ["by manager", "managed_by_osism", "os:debian"]
    assert (first["internal_version"], first["image_source"]) == ("1", web.url("/1.img"))
    assert users.demo.download(first["id"]) == DATA
    assert "Setting" not in manage(definition(web, "1")), "what is as defined is not changed"
    assert managed(users) == {"Managed": first}

    manage(definition(web, "1", "2"))
    both = managed(users)
    assert {name: image["internal_version"] for name, image in both.items()} == {"Managed": "2", "Managed (1)": "1"}
    assert both["Managed (1)"]["id"] == first["id"]

    manage(definition(web, "2", "3"), "--use-os-hidden", "--hide", "--deactivate")
    assert {name: (image["status"], image["os_hidden"]) for name, image in managed(users).items()} == {
        "Managed": ("active", False), "Managed (2)": ("deactivated", True), "Managed (1)": ("deactivated", True),
    }
    manage(definition(web, "3"), "--use-os-hidden", "--delete", "--yes-i-really-know-what-i-do")
    (last,) = managed(users).values()
    assert (last["name"], last["internal_version"]) == ("Managed", "3")


def test_the_image_manager_shares_images(manage: Callable[..., str], users: People, web: WebServer):
    image = users.admin.uploaded(DATA, name="shared by manager", visibility="shared")
    share = ("--share-image", "shared by manager", "--share-domain", "Default", "--share-target", "alt_demo")
    manage(definition(web, "1"), *share)
    assert users.alt_demo.show(image)["name"] == "shared by manager"
    assert "shared by manager" in users.alt_demo.names(), "accepted as well"
    manage(definition(web, "1"), *share, "--share-action", "del")
    users.alt_demo.call("GET", f"/v2/images/{image}", 404)


# fog-openstack


@pytest.fixture(scope="module")
def fog(users: People, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What fog found."""
    ruby = shutil.which("ruby")
    assert ruby, "ruby is missing: apt-get install ruby-fog-openstack"
    file = tmp_path_factory.mktemp("fog") / "image"
    file.write_bytes(DATA)
    given = {
        "auth_url": users.keystone.url.removesuffix("/v3"), "region": REGION, "data": str(file),
        "project": users.project("alt_demo"),
    }
    done = subprocess.run(
        [ruby, "-W0", PROGRAMS / "fog_images.rb", json.dumps(given)], capture_output=True, text=True, timeout=300,
        env={"PATH": os.defpath, "HOME": str(file.parent), "LANG": "C.UTF-8"}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"fog (apt-get install ruby-fog-openstack): {done.stderr}"
    return dict(json.loads(done.stdout))


def test_fog_fills_changes_and_shares_images(fog: dict[str, Any], users: People):
    assert (fog["created"], fog["data"], fog["streamed"], fog["destroyed"]) == ("queued", True, True, True)
    updated = fog["updated"]
    assert (updated["name"], updated["visibility"], updated["min_ram"]) == ("renamed by fog", "shared", 64)
    assert (updated["hw_disk_bus"], updated["tags"], "os_distro" in updated) == ("scsi", ["two"], False)
    assert (updated["size"], updated["checksum"]) == (len(DATA), md5(DATA))
    assert fog["found"] == fog["listed"] == [updated["id"]]
    assert fog["members"] == [[users.project("alt_demo"), "accepted"]]
    assert fog["deactivated"] == "deactivated"


def test_fog_knows_refusals_by_their_status(fog: dict[str, Any]):
    refused = {"foreign": 404, "member_again": 409, "unshared": 404, "closed": 403, "upload_again": 409, "public": 403}
    assert {name: fog[name] for name in refused} == refused
