"""The service with containers of a Swift, beside a file store: every way of data, a server that hangs, new keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from deploy.local import configuration
from tests.e2e import hanging_store, store_lives
from tests.e2e.calls import OCTETS, Caller
from tests.e2e.hanging_store import *  # noqa: F403 - as store_lives
from tests.e2e.leftovers import hasten, rows
from tests.e2e.store_lives import *  # noqa: F403 - the tests of every kind
from tests.e2e.store_lives import DATA, MIB, PATIENCE, TIMEOUT
from tests.servers.gate import Gate
from tests.servers.swift import Swift, SwiftUser, remove_container
from tests.servers.web import WebServer
from tests.support.daemons import Services
from tests.support.waiting import wait_for

from glance_common.stores.place_mark import NAME

pytestmark = pytest.mark.timeout(900)

class SwiftCloud(hanging_store.GatedLives):
    """The daemons with two swift stores and their names, of which one can hang, and a file store."""

    def __init__(
        self, services: Services, disk: Path, alias: Gate, server: Swift, container: str, gate: Gate
    ) -> None:
        super().__init__(services, disk, alias, gate)
        self.server = server
        self.container = container
        self.secrets = (server.swift_user.key,)

    def objects(self) -> set[str]:
        return {entry["name"] for entry in self.server.swift_client().get_container(self.container)[1]} - {NAME}

    def url(self, image: str) -> str:
        address = self.server.swift_auth_url.removeprefix("http://")
        return f"swift+http://{address}/{self.container}/{image}"


def swift_options(
    server: Swift, port: int, container: str, user: SwiftUser, timeout: float = TIMEOUT
) -> dict[str, Any]:
    """Return the options of a store."""
    return {
        "swift_store_auth_address": server.swift_auth_url.replace(str(server.port), str(port)),
        "swift_store_auth_version": 1, "swift_store_user": user.name, "swift_store_key": user.key,
        "swift_store_container": container,
        "swift_store_large_object_size": 6, "swift_store_large_object_chunk_size": 4,
        "swift_store_connect_timeout": timeout, "swift_store_read_timeout": timeout,
    }


@pytest.fixture(scope="module")
def gate(swift: Swift) -> Iterator[Gate]:
    """The way to the server of the store slow."""
    made = Gate(swift.port)
    yield made
    made.close()


@pytest.fixture(scope="module")
def alias(swift: Swift) -> Iterator[Gate]:
    """The way to the server of the store alias."""
    made = Gate(swift.port)
    made.shut()
    yield made
    made.close()


@pytest.fixture(scope="module")
def cloud(
    deploy: Callable[..., Services], swift: Swift, web: WebServer, gate: Gate, alias: Gate,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[SwiftCloud]:
    """The daemons."""
    disk, user = tmp_path_factory.mktemp("disk"), swift.swift_user
    with swift.container() as container, swift.container() as other:
        main = swift_options(swift, swift.port, container, user, PATIENCE)
        again = swift_options(swift, alias.port, container, user)
        slow = swift_options(swift, gate.port, other, user)
        stores = {"main": ("swift", main), "alias": ("swift", again), "slow": ("swift", slow)}
        services = deploy(**store_lives.shared_options(web, disk, **stores))
        yield SwiftCloud(services, disk, alias, swift, container, gate)


def test_damaged_data_never_end_as_a_download(cloud: SwiftCloud):
    """The object is exchanged behind the service: the length is right, the digest is not."""
    image = cloud.uploaded_to("main", DATA[:MIB])
    cloud.server.swift_client().put_object(cloud.container, image, bytes(MIB))
    got = b""
    try:
        answer = cloud.caller.call("GET", f"/v2/images/{image}/file")
        got = answer.content if answer.status_code == 200 else b""
    except OSError:
        pass
    assert len(got) < MIB
    cloud.caller.delete(image)
    cloud.wait_until_gone(image)


def test_the_end_of_a_container_is_told(cloud: SwiftCloud):
    """The log tells the operator what to mend; the client learns that the store is down."""
    client = cloud.server.swift_client()
    image = cloud.uploaded_to("main", DATA[:1000])
    (place,) = rows(cloud.services, "SELECT identity FROM store_identities WHERE store = 'main'")
    # The scrubber may be removing what other tests have deleted.
    wait_for(lambda: remove_container(client, cloud.container), "the end of the container")
    answer = cloud.caller.upload(str(cloud.caller.create()["id"]), b"data", 503)
    assert cloud.container not in answer.text
    cloud.caller.call("GET", f"/v2/images/{image}/file", 503)
    wait_for(lambda: "the container does not exist" in cloud.services.api.log.read_text(), "the line in the log")
    cloud.caller.delete(image)
    client.put_container(cloud.container)

    def is_told() -> bool:
        hasten(cloud.services, image)
        return f"has no object {NAME}" in cloud.services.scrubber.log.read_text()

    wait_for(is_told, "the scrubber's patience", seconds=180)
    client.put_object(cloud.container, NAME, str(place[0]))
    cloud.wait_until_gone(image)
    wait_for(
        lambda: cloud.caller.call("PUT", f"/v2/images/{cloud.caller.create()['id']}/file", headers=OCTETS, data=b"x")
        .status_code == 204, "the store's return",
    )


def test_a_key_that_is_wrong_is_told_and_a_new_one_works_at_once(cloud: SwiftCloud):
    image = cloud.uploaded_to("main", DATA)
    for key, status in (("wrong", 503), (cloud.server.swift_user.key, 200)):
        for daemon in (cloud.services.api, cloud.services.scrubber):
            daemon.configure(configuration.merged(daemon.options, {"main": {"swift_store_key": key}}))
            daemon.stop()
            daemon.start()
            daemon.wait_ready()
        answer = cloud.caller.call("GET", f"/v2/images/{image}/file", status)
        assert status == 503 or answer.content == DATA
    assert "the login is refused: compare user and key" in cloud.services.api.log.read_text()
    cloud.caller.delete(image)
    cloud.wait_until_gone(image)


def test_the_form_of_older_files(
    deploy: Callable[..., Services], swift: Swift, tmp_path_factory: pytest.TempPathFactory
):
    """All options in [glance_store], the account in glance-swift.conf."""
    folder = tmp_path_factory.mktemp("older")
    user = swift.swift_user
    (folder / "glance-swift.conf").write_text(
        f"[ref1]\nauth_version = 1\nauth_address = {swift.swift_auth_url}\nuser = {user.name}\nkey = {user.key}\n"
    )
    container = f"older-{folder.name}"
    options = {
        "stores": "file,http,swift", "default_store": "swift", "swift_store_container": container,
        "swift_store_create_container_on_put": "true", "swift_store_config_file": folder / "glance-swift.conf",
    }
    services = deploy(
        shared={"glance_store": options}, api={"DEFAULT": {"show_image_direct_url": "true"}},
        scrubber={"DEFAULT": {"wakeup_time": 1}},
    )
    caller = Caller(services.api.url)
    image = caller.uploaded(DATA)
    assert caller.show(image)["direct_url"] == f"swift+config://ref1/{container}/{image}"
    assert caller.download(image) == DATA
    caller.delete(image)
    client = swift.swift_client()
    wait_for(lambda: [entry["name"] for entry in client.get_container(container)[1]] == [NAME], "the purge")
    client.delete_object(container, NAME)
    client.delete_container(container)
