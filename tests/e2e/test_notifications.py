"""Notifications as other services hear them: oslo.messaging's own listener on a real broker.

Rules: configuration section 11.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from tests.e2e.calls import MIB, OCTETS, Caller
from tests.servers.rabbitmq import RabbitMQ
from tests.servers.web import Page, WebServer
from tests.support.daemons import Services
from tests.support.notifications import Listener
from tests.support.raw_data import random_bytes
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(900)

TIMES = {"created_at", "updated_at"}
IMAGE = {
    "id", "name", "status", "created_at", "updated_at", "min_disk", "min_ram", "protected", "checksum", "owner",
    "disk_format", "container_format", "size", "virtual_size", "is_public", "visibility", "properties", "tags",
    "deleted", "deleted_at",
}
STEPS = ("image.prepare", "image.upload", "image.activate")
DATA = IMAGE | {"os_glance_importing_to_stores", "os_glance_failed_import", "backend"}


@pytest.fixture(scope="module")
def services(
    deploy: Callable[..., Services], rabbitmq: RabbitMQ, messaging: Listener, web: WebServer
) -> Services:
    """A deployment that tells everything but two events, and may import from ``web``."""
    own = {"default_publisher_id": "image.here", "disabled_notifications": "image.member.update,task.run"}
    return deploy(
        transport_url=rabbitmq.url,
        api={
            "DEFAULT": own, "oslo_messaging_notifications": {"driver": "messagingv2"},
            "import_filtering_opts": {"allowed_hosts": "[127.0.0.1]", "allowed_ports": f"[{web.port}]"},
        },
    )


@pytest.fixture
def caller(services: Services) -> Caller:
    """The administrator of a service without authentication."""
    return Caller(services.api.url)


@pytest.fixture
def broker(rabbitmq: RabbitMQ) -> Iterator[RabbitMQ]:
    """The session's broker, which works again afterwards."""
    yield rabbitmq
    rabbitmq.memory_alarm(False)


def whole(messaging: Listener) -> list[dict]:
    """Return the events that hold a whole image."""
    return [one for one in messaging.heard() if isinstance(one["payload"], dict) and "id" in one["payload"]]


def types(heard: list[dict], image: str) -> list[str]:
    return [one["event_type"] for one in heard if image in json.dumps(one["payload"])]


def test_the_life_of_an_image(caller: Caller, messaging: Listener):
    image = caller.create(name="told", tags=["a"], os_distro="none")["id"]
    caller.upload(image, b"\x01data")
    caller.patch(image, {"op": "replace", "path": "/name", "value": "renamed"})
    caller.call("PUT", f"/v2/images/{image}/tags/b", 204)
    assert caller.download(image) == b"\x01data"
    caller.call("POST", f"/v2/images/{image}/actions/deactivate", 204)
    caller.delete(image)
    heard = messaging.wait(lambda heard: len(types(heard, image)) == 11)
    # Each process sends in order; between processes there is none.
    assert Counter(types(heard, image)) == {
        "image.create": 1, "image.prepare": 1, "image.upload": 1, "image.activate": 1, "image.update": 5,
        "image.send": 1, "image.delete": 1,
    }
    uploading = [kind for kind in types(heard, image) if kind in STEPS]
    assert uploading == list(STEPS)
    mine = [one for one in messaging.about(image) if one["event_type"] != "image.send"]
    assert {one["priority"] for one in mine} == {"INFO"}
    assert {one["publisher_id"] for one in mine} == {"image.here"}
    assert all(one["context"]["request_id"].startswith("req-") for one in mine)
    assert all(one["metadata"]["message_id"] and one["metadata"]["timestamp"] for one in mine)
    payloads = {one["event_type"]: one["payload"] for one in mine}
    assert set(payloads["image.create"]) == IMAGE
    assert set(payloads["image.prepare"]) == set(payloads["image.upload"]) == DATA
    assert payloads["image.prepare"]["status"] == "saving"
    assert payloads["image.upload"]["backend"] == "file"
    active = payloads["image.activate"]
    assert (active["status"], active["size"], active["deleted"]) == ("active", 5, False)
    assert (active["properties"], active["tags"], active["is_public"]) == ({"os_distro": "none"}, ["a"], False)
    last = payloads["image.delete"]
    assert (last["name"], last["status"], last["deleted"], last["tags"]) == ("renamed", "deleted", True, ["a", "b"])
    assert last["deleted_at"] >= last["created_at"]


def test_v1_tells_the_same(caller: Caller, messaging: Listener):
    fields = {"name": "old way", "disk_format": "raw", "container_format": "bare"}
    described = {f"x-image-meta-{name}": value for name, value in fields.items()}
    made = caller.call("POST", "/v1/images", 201, data=b"\x01data", headers={**described, **OCTETS}).json()["image"]
    path = f"/v1/images/{made['id']}"
    caller.call("PUT", path, 200, headers={"x-image-meta-name": "renamed"})
    caller.call("GET", path, 200)
    caller.call("DELETE", path, 200)
    heard = messaging.wait(lambda heard: len(types(heard, made["id"])) == 9)
    assert Counter(types(heard, made["id"])) == {
        "image.create": 1, "image.prepare": 1, "image.upload": 1, "image.activate": 1, "image.update": 3,
        "image.send": 1, "image.delete": 1,
    }
    payloads = {one["event_type"]: one["payload"] for one in messaging.about(made["id"])}
    assert set(payloads["image.create"]) == IMAGE
    assert (payloads["image.create"]["name"], payloads["image.delete"]["name"]) == ("old way", "renamed")
    assert (payloads["image.activate"]["status"], payloads["image.activate"]["size"]) == ("active", 5)


@pytest.mark.parametrize(("cut", "end", "last"), [(None, "task.success", "active"), (2, "task.failure", "queued")])
def test_not02_the_life_of_an_import(
    caller: Caller, messaging: Listener, web: WebServer, cut: int | None, end: str, last: str
):
    web.pages["/image"] = Page(b"\x01data", cut=cut)
    image = caller.create()["id"]
    method = {"name": "web-download", "uri": web.url("/image")}
    caller.call("POST", f"/v2/images/{image}/import", 202, json={"method": method})
    (task,) = caller.call("GET", f"/v2/images/{image}/tasks", 200).json()["tasks"]
    # Request and worker may be in different processes, of which each sends when it gets to it.
    messaging.wait(lambda heard: {"task.create", "task.processing", end} <= set(types(heard, task["id"])))
    wait_for(lambda: last in {each["payload"]["status"] for each in updates(messaging, image)}, last)
    mine = [one for one in whole(messaging) if one["payload"]["id"] == task["id"]]
    # task.run is disabled.
    assert Counter(one["event_type"] for one in mine) == {"task.create": 1, "task.processing": 1, end: 1}
    assert {one["priority"] for one in mine} == {"INFO"}
    assert all(one["payload"]["result"] is None and one["payload"]["message"] is None for one in mine)
    assert {one["context"]["user_id"] for one in mine} == {"noauth"}
    steps = [kind for kind in types(messaging.heard(), image) if kind in STEPS]
    assert steps == (list(STEPS) if cut is None else [])
    assert web.url("") not in json.dumps(messaging.heard())


def updates(messaging: Listener, image: str) -> list[dict]:
    return [one for one in messaging.about(image) if one["event_type"] == "image.update"]


def test_bytes_really_sent(caller: Caller, messaging: Listener):
    data = random_bytes(32 * MIB)
    image = caller.uploaded(data)
    caller.call("GET", f"/v2/images/{image}/file", 206, headers={"Range": "bytes=0-9"})
    caller.call("HEAD", f"/v2/images/{image}/file", 200)
    with caller.begin("GET", f"/v2/images/{image}/file", receive_buffer=4096) as wire:
        assert wire.read(1), "the answer has begun"
    heard = messaging.wait(lambda heard: types(heard, image).count("image.send") == 2)
    sent = [one for one in heard if one["event_type"] == "image.send" and one["payload"]["image_id"] == image]
    told = {one["priority"]: one["payload"]["bytes_sent"] for one in sent}
    assert told["INFO"] == 10
    assert told["ERROR"] < len(data)
    whom = {"image_id", "bytes_sent", "owner_id", "receiver_tenant_id", "receiver_user_id"}
    assert set(sent[0]["payload"]) == whom
    assert sent[0]["payload"]["receiver_user_id"] == "noauth"


def test_a_failed_upload_is_an_error_in_words(caller: Caller, messaging: Listener):
    image = caller.create()["id"]
    caller.upload(image, b"MZ" + b"x" * 100, 400, headers={"x-openstack-image-size": "50"})
    refused = caller.create(disk_format="qcow2")["id"]
    caller.upload(refused, b"no qcow2 at all" * 100, 415)
    heard = messaging.wait(lambda heard: "image.upload" in types(heard, refused))
    (error,) = [one for one in heard if one["event_type"] == "image.upload" and refused in one["payload"]]
    assert error["priority"] == "ERROR"
    assert isinstance(error["payload"], str)
    assert caller.show(refused)["status"] == "queued"


def test_members_and_what_is_disabled(caller: Caller, messaging: Listener):
    image = caller.create()["id"]
    caller.call("POST", f"/v2/images/{image}/members", 200, json={"member": "other"})
    caller.call("PUT", f"/v2/images/{image}/members/other", 200, json={"status": "accepted"})
    caller.call("DELETE", f"/v2/images/{image}/members/other", 204)
    heard = messaging.wait(lambda heard: len(types(heard, image)) == 3)
    assert set(types(heard, image)) == {"image.create", "image.member.create", "image.member.delete"}
    payloads = {one["event_type"]: one["payload"] for one in messaging.about(image)}
    created, deleted = payloads["image.member.create"], payloads["image.member.delete"]
    assert set(created) == {"image_id", "member_id", "status", "deleted", "deleted_at", *TIMES}
    assert (created["member_id"], created["status"], created["deleted"]) == ("other", "pending", False)
    assert (deleted["status"], deleted["deleted"]) == ("accepted", True)
    assert deleted["deleted_at"]


def test_i9_a_broker_that_blocks_delays_and_loses_nothing(caller: Caller, messaging: Listener, broker: RabbitMQ):
    broker.memory_alarm(True)
    started = time.monotonic()
    images = [caller.create()["id"] for _ in range(10)]
    for image in images:
        caller.delete(image)
    assert time.monotonic() - started < 60, "far less than 20 calls that wait for the broker"
    assert not messaging.about(images[-1])
    broker.memory_alarm(False)
    expected = {kind for image in images for kind in (("image.create", image), ("image.delete", image))}
    wait_for(lambda: expected <= {(one["event_type"], one["payload"]["id"]) for one in whole(messaging)}, "all", 90)


def test_s02_s53_no_event_names_a_place_or_a_secret(services: Services, caller: Caller, messaging: Listener):
    image = caller.uploaded(b"\x01data")
    messaging.wait(lambda heard: "image.activate" in types(heard, image))
    text = json.dumps(messaging.heard())
    for secret in (str(services.folder), "guest:guest", "file://", "X-Auth-Token", "locations", "direct_url"):
        assert secret not in text
