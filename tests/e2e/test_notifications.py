"""Notifications as other services hear them: oslo.messaging's own listener on a real broker (configuration 11)."""

import json
import time
from collections.abc import Callable, Iterator

import pytest
from tests.e2e.calls import MIB, Caller, random_bytes, wait_for
from tests.support.daemons import Services
from tests.support.notifications import Listener
from tests.support.rabbitmq import RabbitMQ

pytestmark = pytest.mark.timeout(300)

TIMES = {"created_at", "updated_at"}
IMAGE = {
    "id", "name", "status", "created_at", "updated_at", "min_disk", "min_ram", "protected", "checksum", "owner",
    "disk_format", "container_format", "size", "virtual_size", "is_public", "visibility", "properties", "tags",
    "deleted", "deleted_at",
}
DATA = IMAGE | {"os_glance_importing_to_stores", "os_glance_failed_import", "backend"}


@pytest.fixture(scope="module")
def services(deploy: Callable[..., Services], rabbitmq: RabbitMQ, messaging: Listener) -> Services:
    """A deployment that tells everything but one event."""
    own = {"default_publisher_id": "image.here", "disabled_notifications": "image.member.update"}
    return deploy(
        transport_url=rabbitmq.url, api={"DEFAULT": own, "oslo_messaging_notifications": {"driver": "messagingv2"}}
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
    heard = messaging.wait(lambda heard: "image.delete" in types(heard, image))
    assert types(heard, image) == [
        "image.create", "image.update", "image.prepare", "image.upload", "image.activate", "image.update",
        "image.update", "image.update", "image.send", "image.update", "image.delete",
    ]
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


def test_bytes_really_sent(caller: Caller, messaging: Listener):
    data = random_bytes(32 * MIB)
    image = caller.uploaded(data)
    caller.call("GET", f"/v2/images/{image}/file", 206, headers={"Range": "bytes=0-9"})
    caller.call("HEAD", f"/v2/images/{image}/file", 200)
    with caller.begin("GET", f"/v2/images/{image}/file", receive_buffer=4096):
        pass
    heard = messaging.wait(lambda heard: types(heard, image).count("image.send") == 2)
    sent = [one for one in heard if one["event_type"] == "image.send" and one["payload"]["image_id"] == image]
    assert [one["priority"] for one in sent] == ["INFO", "ERROR"]
    assert sent[0]["payload"]["bytes_sent"] == 10
    assert sent[1]["payload"]["bytes_sent"] < len(data)
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
    heard = messaging.wait(lambda heard: "image.member.delete" in types(heard, image))
    assert types(heard, image) == ["image.create", "image.member.create", "image.member.delete"]
    _, created, deleted = (one["payload"] for one in messaging.about(image))
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
    assert time.monotonic() - started < 5
    assert not messaging.about(images[-1])
    broker.memory_alarm(False)
    wait_for(lambda: types(messaging.heard(), images[-1]) == ["image.create", "image.delete"], "the late events", 90)


def test_s02_s53_no_event_names_a_place_or_a_secret(services: Services, caller: Caller, messaging: Listener):
    image = caller.uploaded(b"\x01data")
    messaging.wait(lambda heard: "image.activate" in types(heard, image))
    text = json.dumps(messaging.heard())
    for secret in (str(services.folder), "guest:guest", "file://", "X-Auth-Token", "locations", "direct_url"):
        assert secret not in text
