"""Nova's own code (release 34) with images in Ceph: direct downloads, disks as clones, snapshots in the pool."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from deploy.local import configuration
from deploy.local.configuration import Options
from tests.e2e.calls import MIB, Caller
from tests.e2e.leftovers import wait_until_purged
from tests.e2e.pages import block, documented, replaced
from tests.e2e.people import People, keystone_options
from tests.servers.keystone import ADMIN, DEMO, NOVA, Keystone, User
from tests.servers.rbd import Administrator, RbdPool
from tests.support.clients import Clients
from tests.support.daemons import Services
from tests.support.raw_data import random_bytes
from tests.support.waiting import wait_for

from glance_common.stores.ceph_modules import bindings

pytestmark = pytest.mark.timeout(900)

PROGRAM = Path(__file__).parent / "programs" / "nova_rbd.py"
DATA = random_bytes(9 * MIB)
WRITTEN = b"of the guest"


@dataclass(frozen=True, slots=True)
class Cloud:
    """The daemons, their users, and the pools of images and of disks."""

    services: Services
    internal: str
    users: People
    images: RbdPool
    disks: RbdPool

    def url(self, image: str) -> str:
        """Return the location URL of an image."""
        return f"rbd://{self.images.fsid}/{self.images.name}/{image}/snap"


@pytest.fixture(scope="module")
def cloud(
    deploy: Callable[..., Services], rbd: Administrator, keystone: Keystone,
    people: Callable[[Services], People], tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Cloud]:
    """The daemons with a public API, and one that shows services where data are, as the page about the store says."""
    disk, folder = tmp_path_factory.mktemp("disk"), tmp_path_factory.mktemp("rbd")
    with rbd.pool() as images, rbd.pool() as disks:
        services = deploy(
            shared={
                "DEFAULT": {"enabled_backends": "ceph:rbd, disk:file"},
                "glance_store": {"default_backend": "ceph"},
                "ceph": images.options(folder),
                "disk": {"filesystem_store_datadir": disk},
            },
            api=keystone_options(keystone),
            scrubber={"DEFAULT": {"wakeup_time": 1}},
        )
        policy = folder / "policy.yaml"
        policy.write_text(block("rbd", "yaml"))
        internal = services.new_api("internal-api", configuration.merged(keystone_options(keystone), {
            "DEFAULT": {"show_multiple_locations": "true"}, "oslo_policy": {"policy_file": policy},
        }))  # fmt: skip
        services.start(internal)
        yield Cloud(services, internal.url, people(services), images, disks)


@pytest.fixture(scope="module")
def made(cloud: Cloud, qcow2: Path) -> dict[str, str]:
    """The images of the user: one in the pool, one elsewhere, one that cannot be cloned."""
    demo = cloud.users.demo
    elsewhere = str(demo.create()["id"])
    demo.upload(elsewhere, DATA, headers={"X-Image-Meta-Store": "disk"})
    return {
        "image": demo.uploaded(DATA), "elsewhere": elsewhere,
        "qcow2": demo.uploaded(qcow2.read_bytes(), disk_format="qcow2"),
    }


@pytest.fixture(scope="module")
def found(
    cloud: Cloud, made: dict[str, str], nova: Clients, keystone: Keystone, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What the program found; it runs once, as it takes seconds to begin."""
    folder = tmp_path_factory.mktemp("nova")
    (folder / "data").write_bytes(DATA)
    user = f"nova-{cloud.disks.name}"
    osd = f"profile rbd pool={cloud.disks.name}, profile rbd pool={cloud.images.name}"
    conf = cloud.disks.owner.client_conf(folder, user, osd)
    account = {**keystone.middleware_options(), "username": NOVA.name, "password": NOVA.name}
    del account["www_authenticate_uri"]
    options = documented("rbd", number=2)
    replaced(
        options, "glance", api_servers=cloud.internal, rbd_user=user, rbd_pool=cloud.images.name, rbd_ceph_conf=conf
    )
    replaced(options, "libvirt", images_rbd_pool=cloud.disks.name, images_rbd_ceph_conf=conf, rbd_user=user)
    replaced(options, "service_user", **account)
    own: Options = {
        "DEFAULT": {"state_path": folder}, "glance": {"num_retries": 0}, "oslo_concurrency": {"lock_path": folder},
        "libvirt": {"images_rbd_glance_copy_poll_interval": 1},
    }
    configuration.write(folder, "nova", configuration.merged(options, own))
    for module in (bindings().rados, bindings().rbd):
        file = Path(module.__file__)
        (folder / file.name).symlink_to(file)
    given = {
        "configuration": str(folder / "nova.conf"), "data": str(folder / "data"), "target": str(folder / "target"),
        **{user.name: identity(keystone, user) for user in (ADMIN, DEMO)}, **made,
    }
    done = nova.run("python", "-W", "ignore", PROGRAM, json.dumps(given), env={"PYTHONPATH": str(folder)})
    return dict(json.loads(done.check().output))


def identity(keystone: Keystone, user: User) -> dict[str, Any]:
    return {
        "user": keystone.user_ids[user.name], "project": keystone.project_ids[user.project],
        "token": keystone.token(user), "roles": list(user.roles),
    }


def test_nova_takes_the_data_from_the_pool(cloud: Cloud, made: dict[str, str], found: dict[str, Any]):
    assert found["downloads"] == {"locations": [cloud.url(made["image"])], "downloaded": True}
    assert f"GET /v2/images/{made['image']}/file" not in cloud.services.api.log.read_text()


def test_only_the_service_token_shows_where_data_are(cloud: Cloud, made: dict[str, str], found: dict[str, Any]):
    """The user alone sees nothing of it, at the internal API either."""
    public = cloud.users.demo
    internal = Caller(cloud.internal, public.headers)
    vouched = Caller(cloud.internal, {**public.headers, "X-Service-Token": cloud.users.keystone.token(NOVA)})
    for caller, schemes in ((public, set()), (internal, set()), (vouched, {"file", "rbd"})):
        shown = caller.show(made["elsewhere"])
        assert {place["url"].partition(":")[0] for place in shown.get("locations", ())} == schemes
        assert "direct_url" not in shown


def test_a_server_boots_from_a_clone(cloud: Cloud, made: dict[str, str], found: dict[str, Any]):
    step = found["boots"]
    assert step["cloned"]
    assert step["parent"] == [cloud.images.name, made["image"], "snap"]
    assert step["after"], "the disk outlives the image"
    wait_until_purged(cloud.services, made["image"], "ceph")
    assert made["image"] not in cloud.images.images()


def test_an_image_of_another_store_is_copied_and_cloned(cloud: Cloud, made: dict[str, str], found: dict[str, Any]):
    assert found["copies"] == {"parent": made["elsewhere"], "data": True, "stores": "disk,ceph"}


def test_a_snapshot_is_written_in_the_pool_and_registered(cloud: Cloud, found: dict[str, Any]):
    step = found["boots"]["snapshot"]
    assert (step["status"], step["size"], step["url"]) == ("active", len(DATA), cloud.url(step["id"]))
    demo, written = cloud.users.demo, WRITTEN + DATA[len(WRITTEN) :]
    assert demo.download(step["id"]) == written
    wait_for(lambda: demo.show(step["id"])["os_hash_value"], "the digests")
    demo.delete(step["id"])
    wait_until_purged(cloud.services, step["id"], "ceph")
    assert step["id"] not in cloud.images.images()


def test_what_is_not_raw_is_not_cloned(found: dict[str, Any]):
    assert "Image is not raw format" in found["not_raw"]
