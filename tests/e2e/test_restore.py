"""Two projects restore their own deleted images, as docs/restore.md shows it: with Keystone and the real clients."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.calls import Caller
from tests.e2e.leftovers import change
from tests.e2e.pages import block, documented
from tests.e2e.people import People, keystone_options
from tests.servers.keystone import Keystone
from tests.servers.rabbitmq import RabbitMQ
from tests.support.clients import Clients
from tests.support.daemons import Services
from tests.support.notifications import Listener
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(900)

DATA = b"\x01data" * 1000
LIST = "/v2/images?status=pending_delete"


@dataclass(frozen=True)
class Cloud:
    """The deployment as the page configures it, and its users."""

    services: Services
    people: People

    def gone(self, caller: Caller, **fields: str) -> str:
        """Return the id of a new image that was deleted."""
        image = caller.uploaded(DATA, **fields)
        caller.delete(image)
        return image

    def end_the_time(self, *ids: str) -> None:
        """Make what was deleted a month older: its data are due now."""
        for table, column, key in (("images", "deleted_at", "id"), ("locations", "not_before", "image_id")):
            older = f"UPDATE {table} SET {column} = {column} - interval '30 days' WHERE {key} = ANY(%s::uuid[])"
            change(self.services, older, list(ids))


@pytest.fixture(scope="module")
def cloud(
    deploy: Callable[..., Services], people: Callable[[Services], People], keystone: Keystone, rabbitmq: RabbitMQ,
    tmp_path_factory: pytest.TempPathFactory,
) -> Cloud:
    """The three daemons, Keystone, RabbitMQ and PostgreSQL, with options and policy of the page."""
    policy = tmp_path_factory.mktemp("restore") / "policy.yaml"
    policy.write_text(block("restore", "yaml"))
    more: dict[str, dict[str, object]] = {
        "DEFAULT": {"image_cache_dir": policy.parent / "cache"},
        "oslo_messaging_notifications": {"driver": "messagingv2"},
        "oslo_policy": {"policy_file": policy},
    }
    services = deploy(
        transport_url=rabbitmq.url,
        shared=documented("restore"),
        api={**keystone_options(keystone), **more},
        scrubber={"DEFAULT": {"wakeup_time": 1}},
    )
    return Cloud(services, people(services))


def gone(path: Path) -> Callable[[], bool]:
    """Return a condition that is true once the file is gone."""
    return lambda: not path.exists()


def names(caller: Caller, query: str = "") -> list[str]:
    return [image["name"] for image in caller.call("GET", f"{LIST}{query}", 200).json()["images"]]


def test_two_projects_restore_with_the_commands_of_the_page(cloud: Cloud, clients: Clients):
    demo, other = cloud.people.demo, cloud.people.alt_demo
    ours, theirs = cloud.gone(demo, name="ours"), cloud.gone(other, name="theirs", visibility="shared")
    command = f"{block('restore', 'sh').strip()} --name ours -f json"
    listed = clients.run("/bin/sh", "-c", command, env=cloud.people.demo_env)
    assert [(row["Name"], row["Status"]) for row in listed.json()] == [("ours", "pending_delete")]

    env = {"IMAGE_URL": cloud.services.api.url, "IMAGE_ID": ours}
    curl = block("restore", "sh", 1)
    stranger = clients.run("/bin/sh", "-c", curl, env={**env, "OS_TOKEN": other.headers["X-Auth-Token"]})
    assert (stranger.code, "No image found" in stranger.output, "ours" in stranger.output) == (22, True, False)
    done = clients.run("/bin/sh", "-c", curl, env={**env, "OS_TOKEN": demo.headers["X-Auth-Token"]}).check()
    assert '"os_glance_restorable_until"' in done.output
    assert (demo.show(ours)["status"], demo.download(ours)) == ("active", DATA)

    script = block("restore", "python")
    refused = clients.sdk(script, theirs, env=cloud.people.demo_env)
    assert (refused.code != 0, "NotFoundException" in refused.errors) == (True, True)
    seen, name, until = clients.sdk(script, theirs, env=cloud.people.alt_demo_env).check().output.split()
    assert (seen, name, until[-1]) == (theirs, "theirs", "Z")
    assert other.download(theirs) == DATA
    assert names(demo, "&name=ours") == names(other) == []


def test_readers_of_the_project_see_nothing_and_administrators_everything(cloud: Cloud):
    image = cloud.gone(cloud.people.demo, name="seen")
    assert names(cloud.people.reader) == []
    cloud.people.reader.call("POST", f"/v2/images/{image}/actions/restore", 404)
    project = cloud.people.project("demo")
    assert names(cloud.people.admin, f"&owner={project}&name=seen") == ["seen"]
    assert names(cloud.people.admin, "&owner=other") == []
    cloud.people.admin.call("POST", f"/v2/images/{image}/actions/restore", 204)
    assert cloud.people.demo.download(image) == DATA


def test_listeners_hear_of_it(cloud: Cloud, messaging: Listener):
    image = cloud.gone(cloud.people.demo, name="told")
    cloud.people.demo.call("POST", f"/v2/images/{image}/actions/restore", 204)

    def told() -> list[dict[str, Any]]:
        return [one["payload"] for one in messaging.about(image) if one["event_type"] == "image.restore"]

    messaging.wait(lambda heard: bool(told()))
    [payload] = told()
    assert (payload["name"], payload["status"], payload["deleted"]) == ("told", "active", False)


def test_the_caches_of_all_nodes_serve_a_restored_image_and_no_deleted_or_closed_one(cloud: Cloud, tmp_path: Path):
    """One node answers the delete and the restore, the other one has a copy all the time."""
    here = cloud.people.demo
    second = cloud.services.new_api("second-api", {"DEFAULT": {"image_cache_dir": tmp_path / "cache"}})
    cloud.services.start(second)
    there = Caller(second.url, here.headers)
    copies = [Path(str(api.options["DEFAULT"]["image_cache_dir"])) for api in (cloud.services.api, second)]
    image = here.uploaded(DATA, name="cached")
    for caller, folder in zip((here, there), copies, strict=True):
        assert caller.download(image) == DATA
        wait_for((folder / image).exists, "the copy")
    here.delete(image)
    for caller in (here, there):
        caller.call("GET", f"/v2/images/{image}/file", 404)
    here.call("POST", f"/v2/images/{image}/actions/restore", 204)
    assert here.download(image) == there.download(image) == DATA
    here.call("POST", f"/v2/images/{image}/actions/deactivate", 204)
    here.delete(image)
    here.call("POST", f"/v2/images/{image}/actions/restore", 204)
    for caller in (here, there):
        caller.call("GET", f"/v2/images/{image}/file", 403)
    here.call("POST", f"/v2/images/{image}/actions/reactivate", 204)
    assert here.download(image) == there.download(image) == DATA
    second.stop()


def test_restores_and_purges_at_once_have_one_winner_each(cloud: Cloud):
    """Administrators restore until the purge begins, so that both may come at once: the lock of the row decides."""
    admin, demo = cloud.people.admin, cloud.people.demo
    images = [cloud.gone(demo, name=f"raced {number}") for number in range(16)]
    files = cloud.services.images
    answers: dict[str, int] = {}

    def restore(image: str) -> None:
        caller = Caller(admin.url, admin.headers)
        wait_for(lambda: not all((files / one).exists() for one in images), "the first purge")
        answers[image] = caller.call("POST", f"/v2/images/{image}/actions/restore").status_code

    threads = [threading.Thread(target=restore, args=(image,)) for image in images]
    for thread in threads:
        thread.start()
    cloud.end_the_time(*images)
    for thread in threads:
        thread.join()
    assert set(answers.values()) <= {204, 409}
    assert 409 in answers.values(), "the first one was purged before the restores began"
    for image in images:
        if answers[image] == 204:
            assert demo.download(image) == DATA
        else:
            wait_for(gone(files / image), "the purge")
            demo.call("GET", f"/v2/images/{image}", 404)


def test_an_owner_comes_too_late(cloud: Cloud):
    cloud.services.scrubber.stop()
    try:
        image = cloud.gone(cloud.people.demo, name="late")
        cloud.end_the_time(image)
        refused = cloud.people.demo.call("POST", f"/v2/images/{image}/actions/restore", 409)
        assert "the time to restore" in refused.text
    finally:
        cloud.services.start(cloud.services.scrubber)
    wait_for(gone(cloud.services.images / image), "the purge")
    refused = cloud.people.demo.call("POST", f"/v2/images/{image}/actions/restore", 409)
    assert "the time to restore" not in refused.text
