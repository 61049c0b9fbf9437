"""The page about moving an installation to another store: its configuration and its program, run by the real client."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.calls import Caller
from tests.e2e.leftovers import files, rows
from tests.e2e.pages import block, documented, replaced
from tests.e2e.people import People, keystone_options
from tests.servers.keystone import Keystone
from tests.servers.rbd import Administrator, RbdPool
from tests.support.clients import Clients, Result
from tests.support.daemons import Services
from tests.support.raw_data import random_bytes
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(900)

DATA = random_bytes(1024 * 1024)
KINDS: tuple[dict[str, Any], ...] = (
    {"visibility": "private"}, {"visibility": "shared"}, {"visibility": "community"}, {"os_hidden": True},
    {"protected": True}, {"name": "naïve"},
)
"""What makes images different for a list."""


@dataclass(frozen=True, slots=True)
class Cloud:
    """The daemons, their users, and what is in both stores."""

    services: Services
    users: People
    clients: Clients
    disk: Path
    pool: RbdPool

    def quarantine(self, *words: str) -> str:
        """Run a command on the quarantine, and return what it says."""
        done = self.services.scrub_once("--quarantine", *words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def move(self) -> Result:
        """Run the program of the page."""
        done = self.clients.sdk(block("moving", "python"), "old", "new", env=self.users.admin_env)
        assert "moved" in done.output, done.errors
        return done

    def copies(self) -> int:
        """Return how many copies in the new store were ever begun."""
        return len(rows(self.services, "SELECT id FROM locations WHERE store = 'new'"))


@pytest.fixture(scope="module")
def cloud(
    deploy: Callable[..., Services], rbd: Administrator, keystone: Keystone, clients: Clients,
    people: Callable[[Services], People], tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Cloud]:
    """The daemons as the page configures them, but for the places."""
    disk = tmp_path_factory.mktemp("disk")
    with rbd.pool() as pool:
        shared = documented("moving")
        replaced(shared, "old", filesystem_store_datadir=disk)
        shared["new"] |= pool.options(tmp_path_factory.mktemp("rbd"))
        services = deploy(shared=shared, api=keystone_options(keystone), scrubber={"DEFAULT": {"wakeup_time": 1}})
        yield Cloud(services, people(services), clients, disk, pool)


def uploaded(caller: Caller, data: bytes, **fields: Any) -> str:
    """Return an image in the old store."""
    image = str(caller.create(**fields)["id"])
    caller.upload(image, data, headers={"X-Image-Meta-Store": "old"})
    return image


def test_every_image_moves_and_a_second_run_finds_the_rest(cloud: Cloud):
    demo, admin = cloud.users.demo, cloud.users.admin
    images = {
        uploaded(demo, DATA + bytes([number]), **fields): DATA + bytes([number])
        for number, fields in enumerate(KINDS)
    }
    stays, broken = uploaded(demo, DATA), uploaded(demo, DATA[:1000])
    admin.call("POST", f"/v2/images/{stays}/actions/deactivate", 204)
    (cloud.disk / broken).write_bytes(bytes(1000))
    queued = str(demo.create()["id"])
    first = cloud.move()
    assert (first.code, first.output.splitlines()[-1]) == (1, f"moved {len(images)}, left 2"), first
    assert {line.split()[1].rstrip(":") for line in first.output.splitlines()[:-1]} == {stays, broken}
    wait_for(lambda: files(cloud.disk) == {stays, broken}, "the end of the old copies")
    for image, data in images.items():
        assert demo.show(image)["stores"] == "new"
        assert demo.download(image) == data
        assert cloud.pool.images().count(image) == 1
    assert demo.show(queued)["status"] == "queued"
    # What was repaired moves in the second run. What has moved is left alone.
    (cloud.disk / broken).write_bytes(DATA[:1000])
    (copy,) = [line.split()[0] for line in cloud.quarantine("list").splitlines() if broken in line]
    assert "in use again" in cloud.quarantine("release", copy)
    admin.call("POST", f"/v2/images/{stays}/actions/reactivate", 204)
    begun = cloud.copies()
    second = cloud.move()
    assert (second.code, second.output.splitlines()[-1]) == (0, "moved 2, left 0"), second
    assert cloud.copies() == begun + 2
    wait_for(lambda: files(cloud.disk) == set(), "the end of the old copies")
    assert (demo.download(broken), demo.download(stays)) == (DATA[:1000], DATA)
    assert cloud.move().check().output.splitlines() == ["moved 0, left 0"]


def test_a_run_that_was_stopped_is_resumed(cloud: Cloud):
    """An image that has both copies loses the old one, without a further copy."""
    image = uploaded(cloud.users.demo, DATA)
    document = {"method": {"name": "copy-image"}, "stores": ["new"]}
    cloud.users.admin.call("POST", f"/v2/images/{image}/import", 202, json=document)
    wait_for(lambda: set(cloud.users.demo.show(image)["stores"].split(",")) == {"old", "new"}, "the copy")
    begun = cloud.copies()
    cloud.move()
    assert cloud.copies() == begun
    assert cloud.users.demo.show(image)["stores"] == "new"
    assert cloud.users.demo.download(image) == DATA
