"""The embedded default: no Keystone, no broker; every caller administers the one project, and every command works."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.calls import Caller
from tests.support.clients import Clients, glance_address, openstack_address
from tests.support.daemons import Services
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(900)

KIND = ("--disk-format", "iso", "--container-format", "bare")


@pytest.fixture(scope="module")
def services(deploy: Callable[..., Services]) -> Services:
    """The three daemons with the settings of a fresh installation on one machine."""
    return deploy()


@pytest.fixture(scope="module")
def caller(services: Services) -> Caller:
    """A caller without a token."""
    return Caller(services.api.url)


def test_openstack_commands(services: Services, caller: Caller, clients: Clients, iso: Path, tmp_path: Path):
    def openstack(*arguments: object) -> Any:
        return clients.openstack("image", *arguments, env=openstack_address(services.api.url)).check()

    made = openstack("create", "--file", iso, *KIND, "--public", "--property", "a=b", "rescue", "-f", "json").json()
    image = made["id"]
    assert "rescue" in [row["Name"] for row in openstack("list", "-f", "json").json()]
    openstack("set", "--property", "os_distro=debian", "--tag", "bootable", "--shared", "--name", "shared", image)
    openstack("unset", "--property", "a", image)
    shown = openstack("show", image, "-f", "json").json()
    assert (shown["name"], shown["visibility"], shown["tags"]) == ("shared", "shared", ["bootable"])
    assert shown["properties"]["os_distro"] == "debian"
    assert "a" not in shown["properties"]
    # Adding a project is left out: this client asks Keystone for the project first.
    assert openstack("member", "list", image, "-f", "json").json() == []
    openstack("set", "--deactivate", image)
    assert caller.show(image)["status"] == "deactivated"
    openstack("set", "--activate", image)
    copy = tmp_path / "copy.iso"
    openstack("save", "--file", copy, image)
    assert copy.read_bytes() == iso.read_bytes()
    openstack("delete", image)
    wait_for(lambda: image not in services.files(), "the file's removal")


def test_glance_commands(services: Services, caller: Caller, clients: Clients, iso: Path, tmp_path: Path):
    def glance(*arguments: object) -> str:
        return clients.glance(*glance_address(services.api.url), *arguments).check().output

    glance("image-create", "--name", "in-two-steps", *KIND, "--tags", "first", "--property", "a=b")
    (image,) = [each["id"] for each in caller.call("GET", "/v2/images?name=in-two-steps", 200).json()["images"]]
    assert caller.show(image)["status"] == "queued"
    glance("image-upload", "--progress", "--file", iso, image)
    assert caller.show(image)["status"] == "active"
    assert "in-two-steps" in glance("image-list")
    glance("image-update", image, "--property", "os_distro=debian", "--remove-property", "a", "--visibility", "shared")
    glance("image-tag-update", image, "second")
    glance("image-tag-delete", image, "first")
    shown = caller.show(image)
    assert (shown["tags"], shown["os_distro"], "a" in shown) == (["second"], "debian", False)
    assert "debian" in glance("image-show", image)
    glance("member-create", image, "friends")
    glance("member-update", image, "friends", "accepted")
    assert "accepted" in glance("member-list", "--image-id", image)
    assert "accepted" in glance("member-get", image, "friends")
    glance("member-delete", image, "friends")
    glance("image-deactivate", image)
    glance("image-reactivate", image)
    copy = tmp_path / "copy.iso"
    glance("image-download", "--file", copy, image)
    assert copy.read_bytes() == iso.read_bytes()
    glance("image-delete", image)
    wait_for(lambda: image not in services.files(), "the file's removal")


def test_curl_as_the_guide_shows_it(services: Services, caller: Caller, clients: Clients, iso: Path):
    """Sizes of pieces and the invitation to send (Expect: 100-continue) are curl's own."""
    image = caller.create(disk_format="iso")["id"]
    url = f"{services.api.url}/v2/images/{image}/file"
    octets = ("-H", "Content-Type: application/octet-stream")
    for extra in ((), ("-H", "Transfer-Encoding: chunked")):
        target = url if not extra else url.replace(image, caller.create(disk_format="iso")["id"])
        done = clients.run("/usr/bin/curl", "-sS", "-w", "%{http_code}", *octets, *extra, "-T", iso, target).check()
        assert done.output == "204"
    assert caller.download(image) == iso.read_bytes()


def test_the_log_tells_the_story_of_a_request(services: Services, caller: Caller):
    image = caller.uploaded(b"\x01bytes")
    known = {"X-Openstack-Request-ID": "req-follow-me"}
    caller.call("DELETE", f"/v2/images/{image}", 204, headers=known)
    for daemon in (services.api, services.registry, services.scrubber):
        wait_for(lambda daemon=daemon: "req-follow-me" in daemon.log.read_text(), f"the request in {daemon.log.name}")
    upload = f"PUT /v2/images/{image}/file 204"
    wait_for(lambda: upload in services.api.log.read_text(), "the upload")
    line = next(line for line in services.api.log.read_text().splitlines() if upload in line)
    for fact in ("user=noauth", "project=", "bytes_in=6", "ms="):
        assert fact in line
