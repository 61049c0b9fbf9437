"""Every v1 command of ``glance``, of today's release and of an old one, when Keystone says who is who."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.e2e.people import People, keystone_options
from tests.servers.keystone import Keystone
from tests.servers.web import Page, WebServer, as_source, web_server
from tests.support import environments
from tests.support.clients import Clients
from tests.support.daemons import Services
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(1800)

DATA = b"\x01" + bytes(100_000)
RAW = ("--disk-format", "raw", "--container-format", "bare")
COMMANDS = {
    "image-create", "image-delete", "image-download", "image-list", "image-show", "image-update",
    "member-create", "member-delete", "member-list",
}
DELETED = """\
import sys
from glanceclient import Client
images = Client("1", sys.argv[1], token=sys.argv[2]).images.list(filters={"deleted": True, "is_public": None})
print([(image.id, image.deleted) for image in images])
"""


@pytest.fixture(scope="module")
def source() -> Iterator[WebServer]:
    """A web server with an image."""
    with web_server() as server:
        server.pages["/image"] = Page(DATA)
        yield server


@pytest.fixture(scope="module")
def services(deploy: Callable[..., Services], keystone: Keystone, source: WebServer) -> Services:
    """A file store and the web, and Keystone is asked about every token."""
    return deploy(api=keystone_options(keystone), shared=as_source(source))


class Shell:
    """``glance --os-image-api-version 1`` of one user, who logs in for every command."""

    def __init__(self, clients: Clients, env: dict[str, str]) -> None:
        self._clients = clients
        self._env = env
        self.seen: set[str] = set()

    def __call__(self, command: str, *arguments: object) -> str:
        """Run a command that succeeds; return what it prints."""
        self.seen.add(command)
        return self._clients.glance("--os-image-api-version", "1", command, *arguments, env=self._env).check().output

    def refused(self, status: int, command: str, *arguments: object) -> None:
        """Run a command that the service refuses with this status."""
        done = self._clients.glance("--os-image-api-version", "1", command, *arguments, env=self._env)
        said = done.output + done.errors
        # The client goes on to the next image when one cannot be deleted, and ends well.
        assert done.code or command == "image-delete", said
        assert re.search(rf"\b{status}\b", said) or (status == 404 and "No image with" in said), said

    def create(self, *arguments: object) -> str:
        """Create an image; return its id."""
        found = re.search(r"\| id +\| ([0-9a-f-]{36})", self("image-create", *RAW, *arguments))
        assert found
        return found[1]

    def field(self, image: str, name: str) -> str:
        """Return a field of an image, as it is shown."""
        found = re.search(rf"\| {name} +\| (\S*)", self("image-show", image))
        assert found
        return found[1]


@pytest.mark.parametrize("kind", [environments.CLIENTS, environments.OLD_CLIENTS])
def test_two_projects_and_an_administrator(
    kind: str, services: Services, keystone: Keystone, people: Callable[[Services], People], source: WebServer,
    tmp_path: Path,
):
    who, clients = people(services), Clients(tmp_path, kind)
    demo, other, admin = (Shell(clients, env) for env in (who.demo_env, who.alt_demo_env, who.admin_env))
    guest, file, copy = who.project("alt_demo"), tmp_path / "data", tmp_path / "copy"
    file.write_bytes(DATA)

    # What one project has is not there for the other.
    image = demo.create("--name", f"mine {kind}", "--file", file, "--owner", guest)
    assert (demo.field(image, "owner"), demo.field(image, "is_public")) == (who.project("demo"), "False")
    assert image in demo("image-list", "--name", f"mine {kind}")
    assert image not in other("image-list")
    other.refused(404, "image-show", image)
    other.refused(404, "image-download", image, "--file", copy)
    other.refused(404, "image-update", image, "--name", "stolen")
    other.refused(404, "image-delete", image)
    other.refused(404, "member-create", image, guest)
    other.refused(404, "member-list", "--image-id", image)

    # The policy says who may publish, and who may have the service fetch something.
    demo.refused(403, "image-create", *RAW, "--name", "public", "--is-public", "True")
    demo.refused(403, "image-update", image, "--is-public", "True")
    demo.refused(403, "image-create", *RAW, "--copy-from", source.url("/image"))
    assert demo.field(image, "is_public") == "False"
    public = admin.create("--name", f"public {kind}", "--copy-from", source.url("/image"), "--is-public", "True")
    wait_for(lambda: admin.field(public, "status") == "active", "the copy")
    other("image-download", public, "--file", copy)
    assert copy.read_bytes() == DATA
    other.refused(403, "image-update", public, "--name", "stolen")
    other.refused(403, "image-delete", public)

    # Members see the image, and share it further when they may.
    demo("member-create", image, guest)
    assert image in other("image-list")
    assert image in other("member-list", "--tenant-id", guest)
    assert image not in demo("member-list", "--tenant-id", who.project("demo"))
    other("image-download", image, "--file", copy)
    assert copy.read_bytes() == DATA
    other.refused(403, "image-update", image, "--name", "stolen")
    other.refused(403, "image-delete", image)
    other.refused(404, "member-create", image, "third")
    demo("member-create", "--can-share", image, guest)
    other("member-create", image, "third")
    assert re.search(rf"{guest} +\| True", demo("member-list", "--image-id", image))
    other("member-delete", image, "third")
    demo("member-delete", image, guest)
    other.refused(404, "image-show", image)

    # An administrator sees all that there is, and what was deleted.
    assert image not in admin("image-list")
    assert image in admin("image-list", "--all-tenants")
    assert image in admin("image-list", "--owner", who.project("demo"))
    admin("image-update", image, "--owner", guest)
    demo.refused(404, "image-show", image)
    other("image-delete", image)
    admin("image-delete", public)
    assert not {image, public} & set(admin("image-list", "--all-tenants").split())
    for caller, expected in ((who.admin, True), (who.alt_demo, False)):
        token = caller.headers["X-Auth-Token"]
        listed = clients.run("python", "-W", "ignore", "-c", DELETED, services.api.url, token).check().output
        assert [f"('{gone}', True)" in listed for gone in (image, public)] == [expected] * 2
    assert demo.seen | other.seen | admin.seen == COMMANDS
