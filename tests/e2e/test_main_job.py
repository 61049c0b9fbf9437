"""What the service is for: real images in and out with the real clients, shared, closed, deleted, restored, purged."""

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.calls import Caller
from tests.e2e.people import People, keystone_options
from tests.servers.keystone import Keystone
from tests.servers.rabbitmq import RabbitMQ
from tests.support.clients import Clients
from tests.support.daemons import Services
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(900)

SCRUB_TIME = 10
"""Seconds that one API with ``delayed_delete`` lets deleted images be brought back; the other one an hour."""

SDK_ROUND_TRIP = """
import hashlib, json, sys, openstack
path, target = sys.argv[1:]
cloud = openstack.connect()
image = cloud.create_image(
    "sdk", filename=path, disk_format="iso", container_format="bare", visibility="private", wait=True, flag="raised")
image = cloud.image.get_image(image.id)
cloud.image.download_image(image, output=target)  # compares the checksum with what it received
listed = [each.id for each in cloud.image.images(name="sdk")]
member = cloud.image.update_image(image, visibility="shared") and cloud.image.add_member(image, member="somebody").id
cloud.image.add_tag(image, "from-sdk")
tags = cloud.image.get_image(image.id).tags
cloud.image.delete_image(image)
cloud.image.wait_for_delete(image, wait=120)
print(json.dumps({
    "id": image.id, "status": image.status, "size": image.size, "checksum": image.checksum, "listed": listed,
    "hash": [image.hash_algo, image.hash_value], "tags": tags, "member": member, "flag": image.properties["flag"]}))
"""


@dataclass(frozen=True)
class Cloud:
    """The deployment, its users, where its stores keep files, and two more APIs that delete with a delay."""

    services: Services
    people: People
    fast: Path
    slow: Path
    patient_url: str
    brief_url: str


@pytest.fixture(scope="module")
def cloud(
    deploy: Callable[..., Services],
    people: Callable[[Services], People],
    keystone: Keystone,
    rabbitmq: RabbitMQ,
    tmp_path_factory: pytest.TempPathFactory,
) -> Cloud:
    """Keystone, RabbitMQ, PostgreSQL and two file stores."""
    fast, slow = tmp_path_factory.mktemp("fast"), tmp_path_factory.mktemp("slow")
    stores: dict[str, dict[str, object]] = {
        "DEFAULT": {"enabled_backends": "fast:file, slow:file"},
        "glance_store": {"default_backend": "fast"},
        "fast": {"filesystem_store_datadir": fast, "store_description": "quick disks"},
        "slow": {"filesystem_store_datadir": slow},
    }
    services = deploy(
        transport_url=rabbitmq.url,
        shared=stores,
        api=keystone_options(keystone),
        scrubber={"DEFAULT": {"wakeup_time": 1}},
    )
    patient, brief = (
        services.new_api(name, {"DEFAULT": {"delayed_delete": True, "scrub_time": seconds}})
        for name, seconds in (("patient-api", 3600), ("brief-api", SCRUB_TIME))
    )
    services.start(patient, brief)
    return Cloud(services, people(services), fast, slow, patient.url, brief.url)


def gone(path: Path) -> Callable[[], bool]:
    """Return a condition that is true once the file is gone."""
    return lambda: not path.exists()


def digests(path: Path) -> dict[str, str]:
    """Return the digests of a file as the service names them."""
    data = path.read_bytes()
    return {
        "checksum": hashlib.md5(data).hexdigest(),
        "os_hash_value": hashlib.sha512(data).hexdigest(),
    }


def test_openstack_client_public_image_from_create_to_purge(
    cloud: Cloud, clients: Clients, qcow2: Path, tmp_path: Path
):
    env = cloud.people.admin_env

    def openstack(*arguments: object) -> Any:
        return clients.openstack("image", *arguments, env=env).check()

    kind = ("--disk-format", "qcow2", "--container-format", "bare")
    made = openstack("create", "--file", qcow2, *kind, "--public", "rescue", "-f", "json").json()
    image = made["id"]
    # Written with what the client asked for; the rest only the service knows once the data is there.
    assert (made["name"], made["visibility"]) == ("rescue", "public")
    stored = cloud.fast / image
    assert stored.read_bytes() == qcow2.read_bytes()

    listed = openstack("list", "--public", "--long", "-f", "json").json()
    assert [(row["ID"], row["Status"], row["Checksum"]) for row in listed] == [
        (image, "active", digests(qcow2)["checksum"])
    ]
    openstack("set", "--property", "hw_disk_bus=virtio", "--tag", "debian", "--min-disk", "1", image)
    shown = openstack("show", "rescue", "-f", "json").json()
    assert shown["properties"]["hw_disk_bus"] == "virtio"
    assert shown["properties"]["os_hash_value"] == digests(qcow2)["os_hash_value"]
    assert shown["properties"]["stores"] == "fast"
    assert (shown["tags"], shown["min_disk"]) == (["debian"], 1)
    assert (shown["size"], shown["checksum"]) == (qcow2.stat().st_size, digests(qcow2)["checksum"])

    copy = tmp_path / "copy.qcow2"
    openstack("save", "--file", copy, image)
    assert copy.read_bytes() == qcow2.read_bytes()
    assert image in {each["id"] for each in cloud.people.demo.call("GET", "/v2/images", 200).json()["images"]}
    openstack("delete", "rescue")
    wait_for(gone(stored), "the file's removal")
    cloud.people.admin.call("GET", f"/v2/images/{image}", 404)


def test_openstack_client_shares_between_projects(cloud: Cloud, clients: Clients, iso: Path, tmp_path: Path):
    owner, guest = cloud.people.demo_env, cloud.people.alt_demo_env
    guest_project = cloud.people.project("alt_demo")

    def openstack(env: dict[str, str], *arguments: object) -> Any:
        return clients.openstack("image", *arguments, env=env)

    kind = ("--disk-format", "iso", "--container-format", "bare")
    image = openstack(owner, "create", "--file", iso, *kind, "--shared", "share-me", "-f", "json").json()["id"]
    assert openstack(guest, "show", image).code, "not shared yet"
    openstack(owner, "add", "project", image, guest_project).check()
    assert "share-me" not in cloud.people.alt_demo.names()
    openstack(guest, "set", "--accept", image).check()
    assert "share-me" in cloud.people.alt_demo.names()
    members = openstack(owner, "member", "list", image, "-f", "json").json()
    assert [(row["Member ID"], row["Status"]) for row in members] == [(guest_project, "accepted")]

    copy = tmp_path / "copy.iso"
    openstack(guest, "save", "--file", copy, image).check()
    assert copy.read_bytes() == iso.read_bytes()
    openstack(owner, "remove", "project", image, guest_project).check()
    cloud.people.alt_demo.call("GET", f"/v2/images/{image}/file", 404)
    openstack(owner, "delete", image).check()
    wait_for(gone(cloud.fast / image), "the file's removal")


def test_openstack_client_private_image_deactivated_and_reactivated(
    cloud: Cloud, clients: Clients, qcow2: Path, tmp_path: Path
):
    env = cloud.people.demo_env

    def openstack(*arguments: object) -> Any:
        return clients.openstack("image", *arguments, env=env).check()

    kind = ("--disk-format", "qcow2", "--container-format", "bare")
    image = openstack("create", "--file", qcow2, *kind, "--private", "closing", "-f", "json").json()["id"]
    assert openstack("show", image, "-f", "json").json()["visibility"] == "private"
    cloud.people.alt_demo.call("GET", f"/v2/images/{image}", 404)
    openstack("set", "--deactivate", image)
    cloud.people.demo.call("GET", f"/v2/images/{image}/file", 403)
    assert cloud.people.demo.show(image)["status"] == "deactivated"
    assert "closing" in cloud.people.demo.names()
    assert cloud.people.admin.download(image) == qcow2.read_bytes()
    openstack("set", "--activate", image)
    copy = tmp_path / "copy.qcow2"
    openstack("save", "--file", copy, image)
    assert copy.read_bytes() == qcow2.read_bytes()
    openstack("delete", image)


def test_glance_client_from_create_to_purge(cloud: Cloud, clients: Clients, qcow2: Path, tmp_path: Path):
    env = cloud.people.demo_env
    guest = cloud.people.project("alt_demo")

    def glance(*arguments: object, env: dict[str, str] = env) -> Any:
        return clients.glance(*arguments, env=env).check()

    glance("image-create", "--name", "by-glance", "--file", qcow2, "--disk-format", "qcow2", "--container-format",
           "bare", "--visibility", "shared", "--store", "slow", "--progress")
    (image,) = [each["id"] for each in cloud.people.demo.call("GET", "/v2/images", 200).json()["images"]
                if each["name"] == "by-glance"]
    assert (cloud.slow / image).read_bytes() == qcow2.read_bytes()
    assert image in glance("image-list").output
    glance("image-update", image, "--property", "os_distro=debian", "--name", "renamed")
    glance("image-tag-update", image, "bootable")
    shown = glance("image-show", image).output
    # The client wraps long values.
    for text in ("renamed", "os_distro", "bootable", digests(qcow2)["os_hash_value"][:64], "| stores           | slow"):
        assert text in shown, shown

    glance("member-create", image, guest)
    glance("member-update", image, guest, "accepted", env=cloud.people.alt_demo_env)
    assert "accepted" in glance("member-list", "--image-id", image).output
    glance("image-deactivate", image)
    copy = tmp_path / "copy.qcow2"
    refused = clients.glance("image-download", "--file", copy, image, env=env)
    assert refused.code
    assert "403" in refused.errors
    glance("image-reactivate", image)
    glance("image-download", "--file", copy, "--progress", image)
    assert copy.read_bytes() == qcow2.read_bytes()
    glance("member-delete", image, guest)
    glance("image-tag-delete", image, "bootable")
    assert cloud.people.demo.show(image)["tags"] == []
    glance("image-delete", image)
    wait_for(gone(cloud.slow / image), "the file's removal")


def test_openstacksdk_round_trip_with_checksums(cloud: Cloud, clients: Clients, iso: Path, tmp_path: Path):
    copy = tmp_path / "copy.iso"
    done = clients.sdk(SDK_ROUND_TRIP, iso, copy, env=cloud.people.demo_env).check()
    seen = json.loads(done.output)
    assert copy.read_bytes() == iso.read_bytes()
    assert seen["status"] == "active"
    assert seen["size"] == iso.stat().st_size
    assert seen["hash"] == ["sha512", digests(iso)["os_hash_value"]]
    assert seen["checksum"] == digests(iso)["checksum"]
    assert (seen["listed"], seen["tags"], seen["member"]) == ([seen["id"]], ["from-sdk"], "somebody")
    assert seen["flag"] == "raised"
    wait_for(gone(cloud.fast / seen["id"]), "the file's removal")


def test_s73_s74_delayed_delete_waits_for_scrub_time_and_restore_brings_all_back(cloud: Cloud, qcow2: Path):
    demo, admin = (Caller(cloud.patient_url, each.headers) for each in (cloud.people.demo, cloud.people.admin))
    data = qcow2.read_bytes()
    guest = cloud.people.project("alt_demo")
    kept, closed, lost, closed_lost, closed_by_admin = images = [
        demo.uploaded(data, name=f"patient {n}", disk_format="qcow2", os_distro="debian", tags=["a", "b"])
        for n in range(5)
    ]
    demo.call("POST", f"/v2/images/{kept}/members", 200, json={"member": guest})
    cloud.people.alt_demo.call("PUT", f"/v2/images/{kept}/members/{guest}", 200, json={"status": "accepted"})
    for image in (closed, closed_lost, closed_by_admin):
        demo.call("POST", f"/v2/images/{image}/actions/deactivate", 204)
    before = demo.show(kept)

    deleted_at = time.time()
    for image in images:
        caller = admin if image == closed_by_admin else demo
        Caller(cloud.patient_url if image in (kept, closed) else cloud.brief_url, caller.headers).delete(image)
        demo.call("GET", f"/v2/images/{image}", 404)
        admin.call("GET", f"/v2/images/{image}/file", 404)
    for image in (kept, closed):
        restored = cloud.services.scrub_once("--restore", image)
        assert restored.returncode == 0, restored.stderr
    after = demo.show(kept)
    assert {**after, "updated_at": None, "tags": sorted(after["tags"])} == {
        **before, "updated_at": None, "tags": sorted(before["tags"])
    }
    assert demo.download(kept) == data
    assert "patient 0" in cloud.people.alt_demo.names()
    assert demo.show(closed)["status"] == "deactivated"

    for image in (lost, closed_lost, closed_by_admin):
        wait_for(gone(cloud.fast / image), "the file's removal", SCRUB_TIME + 60)
        assert time.time() - deleted_at >= SCRUB_TIME
    refused = cloud.services.scrub_once("--restore", lost)
    assert refused.returncode == 1
    assert "ERROR" in refused.stderr
    for image in (kept, closed):
        assert (cloud.fast / image).exists()
        cloud.people.demo.delete(image)
        wait_for(gone(cloud.fast / image), "the file's removal")


def test_one_pass_as_cron_runs_it_purges_what_is_due(cloud: Cloud, qcow2: Path):
    cloud.services.scrubber.stop()
    try:
        demo = cloud.people.demo
        image = demo.uploaded(qcow2.read_bytes(), disk_format="qcow2")
        demo.delete(image)
        assert (cloud.fast / image).exists()
        done = cloud.services.scrub_once()
        assert done.returncode == 0, done.stderr
        assert not (cloud.fast / image).exists()
    finally:
        cloud.services.start(cloud.services.scrubber)


@pytest.mark.parametrize("role", ["owner", "admin"])
def test_s72_data_of_a_deleted_deactivated_image_are_removed(cloud: Cloud, qcow2: Path, role: str):
    demo = cloud.people.demo
    image = demo.uploaded(qcow2.read_bytes(), disk_format="qcow2")
    demo.call("POST", f"/v2/images/{image}/actions/deactivate", 204)
    (demo if role == "owner" else cloud.people.admin).delete(image)
    wait_for(gone(cloud.fast / image), "the file's removal")
