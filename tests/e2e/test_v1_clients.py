"""Every v1 command of ``glance``, of today's release and of an old one, as people run it."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.e2e.calls import Caller
from tests.support import environments
from tests.support.clients import Clients, glance_address
from tests.support.daemons import Services
from tests.support.waiting import wait_for
from tests.support.web import Page, WebServer, as_source, web_server

pytestmark = pytest.mark.timeout(1800)

DATA = b"\x01" + bytes(100_000)
RAW = ("--disk-format", "raw", "--container-format", "bare")
ELSEWHERE = {"bash-completion", "help"}


@pytest.fixture(scope="module")
def source() -> Iterator[WebServer]:
    """A web server with an image."""
    with web_server() as server:
        server.pages |= {"/image": Page(DATA), "/image?v=1": Page(DATA)}
        yield server


@pytest.fixture(scope="module")
def services(deploy: Callable[..., Services], source: WebServer) -> Services:
    """A file store and the http store, without authentication."""
    return deploy(shared=as_source(source))


@pytest.mark.parametrize("kind", [environments.CLIENTS, environments.OLD_CLIENTS])
def test_every_v1_command(kind: str, services: Services, source: WebServer, tmp_path: Path):
    clients, seen = Clients(tmp_path, kind), set[str]()
    address = ("--os-image-api-version", "1", *glance_address(services.api.url))
    file, copy = tmp_path / "data", tmp_path / "copy"
    file.write_bytes(DATA)

    def glance(command: str, *arguments: object) -> str:
        seen.add(command)
        return clients.glance(*address, command, *arguments).check().output

    def made(output: str) -> str:
        found = re.search(r"\| id +\| ([0-9a-f-]{36})", output)
        assert found, output
        return found[1]

    def status(image: str) -> str:
        found = re.search(r"\| status +\| (\w+)", glance("image-show", image))
        assert found
        return found[1]

    name = f"rescue disk é {kind}"
    image = made(glance("image-create", "--name", name, *RAW, "--file", file, "--property", "os_distro=debian",
                        "--min-ram", 5, "--is-public", "True", "--progress"))
    shown = glance("image-show", image)
    for text in ("os_distro", "debian", "active", str(len(DATA)), "True"):
        assert text in shown, text
    assert Caller(services.api.url).show(image)["name"] == name
    listed = glance("image-list", "--name", name, "--property-filter", "os_distro=debian", "--page-size", 1)
    assert image in listed
    assert image in glance("image-list", "--all-tenants", "--sort-key", "size", "--sort-dir", "asc")
    glance("image-download", "--file", copy, image)
    assert copy.read_bytes() == DATA
    glance("image-update", image, "--name", "other", "--is-public", "False", "--property", "b=2")
    assert "os_distro" in glance("image-show", image)
    glance("image-update", image, "--purge-props", "--property", "c=3")
    assert "os_distro" not in glance("image-show", image)

    glance("member-create", "--can-share", image, "friend")
    assert re.search(r"friend +\| True", glance("member-list", "--image-id", image))
    assert image in glance("member-list", "--tenant-id", "friend")
    glance("member-delete", image, "friend")
    assert "friend" not in glance("member-list", "--image-id", image)

    reserved = made(glance("image-create", "--name", "later", *RAW))
    assert status(reserved) == "queued"
    glance("image-update", reserved, "--file", file)
    assert status(reserved) == "active"
    there = made(glance("image-create", *RAW, "--location", source.url("/image"), "--is-protected", "True"))
    assert (status(there), source.url("/image") in glance("image-show", there)) == ("active", False)
    glance("image-update", there, "--is-protected", "False")
    copied = made(glance("image-create", *RAW, "--copy-from", source.url("/image?v=1")))
    wait_for(lambda: status(copied) == "active", "the copy")

    mine = (image, reserved, there, copied)
    glance("image-delete", *mine)
    assert not any(gone in glance("image-list", "--all-tenants") for gone in mine)
    wait_for(lambda: not set(mine) & set(services.files()), "the removal of the data")
    offered = {line.split()[0] for line in clients.glance(*address[:2], "help").check().output.splitlines()
               if re.match(r"    (image|member|bash|help)[-\w]* ?", line)}
    assert offered - ELSEWHERE == seen
