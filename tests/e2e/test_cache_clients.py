"""The image caches of two nodes, managed by today's clients and by glance-cache-manage, with Keystone.

Each node has a directory of its own, so that what is done to one changes nothing at the other.
"""

import json
import re
import stat
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from deploy.local import configuration
from tests.e2e.calls import Caller
from tests.e2e.people import People, keystone_options
from tests.servers.keystone import Keystone
from tests.support import tempest
from tests.support.clients import Clients, Recorder, Result
from tests.support.daemons import PROGRAMS, Services, WebDaemon
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(900)

DATA = b"\x01" + bytes(100_000)
ABSENT = "11111111-1111-4111-8111-111111111111"


@dataclass
class Node:
    """One glance-api with its cache."""

    api: WebDaemon
    directory: Path
    admin: Caller

    @property
    def address(self) -> dict[str, str]:
        """The variable with which ``openstack`` and openstacksdk talk to this node."""
        return {"OS_IMAGE_ENDPOINT_OVERRIDE": self.api.url}

    def cached(self) -> list[str]:
        """Return the images in the cache, as the API tells them."""
        return [image["image_id"] for image in self.admin.call("GET", "/v2/cache", 200).json()["cached_images"]]

    def files(self) -> list[str]:
        """Return the images of which the directory holds copies."""
        names = (path.name for path in self.directory.iterdir())
        return sorted(name for name in names if re.fullmatch(r"[0-9a-f-]{36}", name))

    def wait_cached(self, *images: str) -> None:
        """Wait until these images, and no others, are in the cache and no file of a fill is left."""
        wait_for(lambda: self.cached() == self.files() == sorted(images), "the copies")
        wait_for(lambda: not list((self.directory / "incomplete").iterdir()), "the end of the fills")

    def queue(self, image: str) -> None:
        """Have an image fetched."""
        self.admin.call("PUT", f"/v2/cache/{image}", 202)


@pytest.fixture(scope="module")
def services(
    deploy: Callable[..., Services], keystone: Keystone, tmp_path_factory: pytest.TempPathFactory
) -> Services:
    """A deployment whose first node has a cache that its management calls may change."""
    caching = {
        "DEFAULT": {"image_cache_dir": tmp_path_factory.mktemp("node-1") / "cache"},
        "paste_deploy": {"flavor": "keystone+cachemanagement"},
    }
    options = keystone_options(keystone)
    return deploy(api={**options, **caching})


@pytest.fixture(scope="module")
def users(services: Services, people: Callable[[Services], People]) -> People:
    """The users of the deployment."""
    return people(services)


@pytest.fixture(scope="module")
def image(users: People) -> str:
    """An active image called ``guest``."""
    return users.admin.uploaded(DATA, name="guest", visibility="public")


@pytest.fixture(scope="module")
def both(services: Services, users: People, tmp_path_factory: pytest.TempPathFactory) -> tuple[Node, Node]:
    """The two nodes."""
    directory = tmp_path_factory.mktemp("node-2") / "cache"
    second = services.new_api("second", {"DEFAULT": {"image_cache_dir": directory}})
    services.start(second)
    first = Path(str(services.api.options["DEFAULT"]["image_cache_dir"]))
    return (
        Node(services.api, first, users.admin),
        Node(second, directory, Caller(second.url, users.admin.headers)),
    )


@pytest.fixture
def nodes(both: tuple[Node, Node]) -> tuple[Node, Node]:
    """The two nodes with empty caches."""
    for node in both:
        node.admin.call("DELETE", "/v2/cache", 204)
        node.wait_cached()
    return both


def test_ver04_the_versions_document_announces_the_cache(nodes: tuple[Node, Node]):
    versions = nodes[0].admin.call("GET", "/versions", 200).json()["versions"]
    status = {version["id"]: version["status"] for version in versions}
    assert (status["v2.18"], status["v2.16"], status["v2.14"]) == ("CURRENT", "SUPPORTED", "SUPPORTED")


def test_every_openstack_command_against_two_nodes(
    nodes: tuple[Node, Node], users: People, clients: Clients, image: str
):
    first, second = nodes
    openstack = Recorder(clients.openstack, {**users.admin_env, **first.address})
    openstack("cached image queue", "guest")
    first.wait_cached(image)
    assert users.demo.download(image) == DATA
    (row,) = wait_for(lambda: [
        row for row in openstack.json("cached image list") if row["Last Accessed (UTC)"] > "1971"
    ], "the hit in the list")
    assert (row["ID"], row["State"], row["Size"], row["Hits"]) == (image, "cached", len(DATA), 1)
    at_second = {**users.admin_env, **second.address}
    assert openstack("cached image list", "-f", "json", env=at_second).json() == []
    openstack("cached image queue", image, env=at_second)
    second.wait_cached(image)
    openstack("cached image delete", "guest")
    assert (first.cached(), second.cached()) == ([], [image])
    first.queue(image)
    first.wait_cached(image)
    openstack("cached image clear", "--queue")
    assert first.cached() == [image]
    openstack("cached image clear", "--cache")
    assert (first.cached(), second.cached()) == ([], [image])
    openstack("cached image clear", env=at_second)
    assert second.cached() == []
    refused = clients.openstack("cached", "image", "list", env={**users.demo_env, **first.address})
    assert refused.code == 1
    assert "403" in refused.errors
    help_text = clients.openstack("cached", "image", "--help", env=users.admin_env).check().output
    known = set(re.findall(r"^  (cached image [a-z]+)", help_text, re.MULTILINE))
    assert known == openstack.seen == {f"cached image {name}" for name in ("list", "queue", "delete", "clear")}


def test_every_glance_command_against_two_nodes(
    nodes: tuple[Node, Node], users: People, clients: Clients, image: str
):
    first, second = nodes
    glance = Recorder(clients.glance, users.admin_env)

    def at(node: Node, command: str, *arguments: object) -> str:
        return str(glance(f"--os-image-url {node.api.url} {command}", *arguments).output)

    at(first, "cache-queue", image)
    first.wait_cached(image)
    assert re.search(rf"\| {image} +\| +cached +\|.*\| {len(DATA)} ", at(first, "cache-list"))
    assert image not in at(second, "cache-list")
    second.queue(image)
    second.wait_cached(image)
    at(first, "cache-delete", image)
    assert (first.cached(), second.cached()) == ([], [image])
    (second.directory / "invalid" / ABSENT).write_bytes(b"damaged")
    at(second, "cache-clean")
    assert list((second.directory / "invalid").iterdir()) == []
    assert "Pruned 0 file(s), 0 byte(s)." in at(second, "cache-prune")
    at(second, "cache-clear", "--target", "queue")
    assert second.cached() == [image]
    at(second, "cache-clear")
    assert second.cached() == []
    # Each node records its own copies here, which is what the API says.
    told = clients.glance("--os-image-url", first.api.url, "cache-nodes-list", image, env=users.admin_env)
    assert "409" in told.errors


SDK_STORY = """
import json, sys, time
import openstack
image, absent = sys.argv[1:]
cloud = openstack.connect().image


def fetched():
    cloud.queue_image(image)
    while cloud.get_image_cache().queued_images or not (cached := cloud.get_image_cache().cached_images):
        time.sleep(0.05)
    return [each["image_id"] for each in cached]


assert fetched() == [image]
cloud.clean_cache()
pruned = cloud.prune_cache()
cloud.cache_delete_image(image)
cloud.cache_delete_image(absent)  # ignores what is missing
assert fetched() == [image]
cloud.clear_cache("queue")
assert cloud.get_image_cache().cached_images
cloud.clear_cache()
print(json.dumps(pruned))
"""


def test_every_method_of_the_sdk(nodes: tuple[Node, Node], users: People, clients: Clients, image: str):
    done = clients.sdk(SDK_STORY, image, ABSENT, env={**users.admin_env, **nodes[1].address}).check()
    assert json.loads(done.output) == {"total_files_pruned": 0, "total_bytes_pruned": 0}
    nodes[1].wait_cached()


def test_cac14_nodes_that_share_an_index(
    services: Services, nodes: tuple[Node, Node], users: People, clients: Clients, image: str, tmp_path: Path
):
    sharing = []
    for name in ("east", "west"):
        api = services.new_api(name, {"DEFAULT": {
            "image_cache_dir": tmp_path / name, "image_cache_driver": "centralized_db",
            "worker_self_reference_url": f"http://{name}.example.org:9292",
        }})
        sharing.append(Node(api, tmp_path / name, Caller(api.url, users.admin.headers)))
    services.start(*(node.api for node in sharing))
    east, west = sharing
    path = f"/v2/cache/nodes/{image}"
    assert west.admin.call("GET", path, 200).json() == []
    east.queue(image)
    east.wait_cached(image)
    assert wait_for(lambda: west.admin.call("GET", path, 200).json()) == ["http://east.example.org:9292"]
    listed = clients.glance("--os-image-url", west.api.url, "cache-nodes-list", image, env=users.admin_env).check()
    assert "http://east.example.org:9292" in listed.output
    Caller(west.api.url, users.demo.headers).call("GET", path, 403)
    west.admin.call("GET", f"/v2/cache/nodes/{ABSENT}", 404)
    nodes[0].admin.call("GET", path, 409)
    # The tools of the host tell the registry, too.
    configuration.write(tmp_path / "small", "glance-cache", {"DEFAULT": {"image_cache_max_size": 0}})
    pruned = subprocess.run(
        [PROGRAMS / "glance-cache-pruner", "--config-dir", east.api.folder / "etc", "--config-dir", tmp_path / "small"],
        capture_output=True, text=True, stdin=subprocess.DEVNULL, env=east.api.environment(), timeout=120, check=False,
    )
    assert (pruned.returncode, pruned.stdout) == (0, f"Pruned 1 images, {len(DATA)} bytes.\n"), pruned.stderr
    assert west.admin.call("GET", path, 200).json() == []


def test_s05_s49_what_one_node_deletes_or_deactivates_no_other_serves(nodes: tuple[Node, Node], users: People):
    first, second = nodes
    path = "/v2/images/{}/file"
    image = users.demo.uploaded(DATA)
    for node in nodes:
        node.queue(image)
        node.wait_cached(image)
    there = Caller(second.api.url, users.demo.headers)
    assert there.download(image) == DATA
    first.admin.call("POST", f"/v2/images/{image}/actions/deactivate", 204)
    there.call("GET", path.format(image), 403)
    there.call("GET", path.format(image), 403, headers={"Range": "bytes=0-9"})
    first.admin.call("POST", f"/v2/images/{image}/actions/reactivate", 204)
    assert there.download(image) == DATA
    users.demo.delete(image)
    for address in (path.format(image), f"/v1/images/{image}"):
        there.call("GET", address, 404)
        there.call("HEAD", address, 404)
    assert (first.files(), second.files()) == ([], [image]), "the row decides, not the file"


def test_tempest_finds_both_caches_right(
    nodes: tuple[Node, Node], users: People, keystone: Keystone, tmp_path: Path
):
    """Its two tests of the cache, as they are; the catalog names the second node to them."""
    keystone.set_endpoint("image_remote", "glance-remote", nodes[1].api.url)
    options = {"image_caching_enabled": "true", "alternate_image_endpoint": "image_remote"}
    told = tempest.run(tmp_path, keystone, options, "tempest.api.image.v2.admin.test_image_caching")
    assert "Ran 2 tests" in told
    assert "skip" not in told.lower()


# --- glance-cache-manage, as the guides type it ---


@pytest.fixture
def manage(users: People, tmp_path: Path) -> Callable[..., Result]:
    """A function that types ``glance-cache-manage`` for a node, answers its question, and returns what came."""

    def run(node: Node, *words: object, answer: str = "y\n", env: Any = None, check: bool = True) -> Result:
        command = ["glance-cache-manage", "--host=127.0.0.1", f"--port={node.api.port}", *map(str, words)]
        done = subprocess.run(
            [PROGRAMS / command[0], *command[1:]], input=answer, capture_output=True, text=True, cwd=tmp_path,
            env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), **(users.admin_env if env is None else env)},
            timeout=120, check=False,
        )
        result = Result(" ".join(command), done.returncode, done.stdout, done.stderr)
        return result.check() if check else result

    return run


def test_cac06_the_commands_of_the_guides(nodes: tuple[Node, Node], manage: Callable[..., Result], image: str):
    first, second = nodes
    assert manage(first, "list-cached").output == "No cached images.\n"
    assert manage(first, "list-queued").output == "No queued images.\n"
    queued = manage(first, "queue-image", image)
    assert queued.output == f"Queue image {image} for caching? [y/N] "
    first.wait_cached(image)
    listed = subprocess.run(["ls", "-lhR", first.directory], capture_output=True, text=True, check=True).stdout
    assert re.search(rf"98K .* {image}$", listed, re.MULTILINE), listed
    for folder in ("incomplete", "invalid", "queue"):
        assert re.search(rf"^{first.directory}/{folder}:\ntotal 0$", listed, re.MULTILINE), listed
    table = manage(first, "list-cached").output.splitlines()
    head = [cell.strip() for cell in table[1].strip("|").split("|")]
    assert head == ["ID", "Last Accessed (UTC)", "Last Modified (UTC)", "Size", "Hits"]
    assert re.fullmatch(rf"\| {image} \| +N/A +\| \d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d +\| +{len(DATA)} \| +0 \|", table[3])
    assert manage(second, "list-cached").output == "No cached images.\n"
    manage(first, "delete-cached-image", image)
    assert (first.cached(), first.files()) == ([], [])


def test_cac06_questions_counts_and_the_queue(
    nodes: tuple[Node, Node], manage: Callable[..., Result], users: People, image: str
):
    first, _ = nodes
    manage(first, "queue-image", image, answer="\n")
    manage(first, "queue-image", image, answer="")
    assert users.admin.call("GET", "/v2/queued_images", 200).json() == {"queued_images": []}
    assert f"Image {image} is queued." in manage(first, "-v", "-f", "queue-image", image.upper(), answer="").output
    first.wait_cached(image)
    manage(first, "delete-all-cached-images", answer="no\n")
    assert first.cached() == [image]
    told = manage(first, "delete-all-cached-images", "--verbose").output
    assert "Deleted 1 cached images.\nCompleted in " in told
    assert first.cached() == []
    # Nothing fetches an image that is gone; the workers drop it from the queue.
    assert "Deleted 0 queued" in manage(first, "-v", "delete-all-queued-images").output
    manage(first, "-f", "delete-queued-image", ABSENT)


def test_cac06_what_fails_is_one_line_and_exit_code_1(
    nodes: tuple[Node, Node], manage: Callable[..., Result], users: People, image: str
):
    first, _ = nodes

    def fails(*words: object, env: Any = None) -> str:
        done = manage(first, *words, env=env, check=False)
        assert done.code == 1, (done.output, done.errors)
        assert "Traceback" not in done.errors
        return done.errors

    assert "not a valid UUID" in fails("-f", "queue-image", "guest")
    assert "one argument" in fails("-f", "delete-cached-image", image, ABSENT)
    assert "one argument" in fails("queue-image")
    assert "no argument" in fails("list-cached", image)
    assert "no command 'lsit-cached'" in fails("lsit-cached")
    assert "Not authorized" in fails("list-cached", env=users.demo_env)
    assert "Not authorized" in fails("list-cached", env={})
    wrong = fails("list-cached", env={**users.admin_env, "OS_PASSWORD": "hush-hush"})
    assert "gives no token: 401" in wrong
    assert "hush-hush" not in wrong
    assert "does not answer: the connection failed" in fails("list-cached", "--port", "1", env={})


def test_cac06_a_token_or_the_names_of_older_releases_will_do(
    nodes: tuple[Node, Node], manage: Callable[..., Result], users: People, keystone: Keystone
):
    first, _ = nodes
    token = users.admin.headers["X-Auth-Token"]
    expected = "No cached images.\n"
    assert manage(first, "list-cached", "-A", token, env={}).output == expected
    assert manage(first, "list-cached", env={"OS_TOKEN": token}).output == expected
    old = ("-I", "admin", "-K", "admin", "-T", "admin", "-N", f"{keystone.url.removesuffix('/v3')}/v2.0", "-R", "here")
    assert manage(first, *old, "-S", "keystone", "list-cached", env={}).output == expected


def test_arc12_without_the_management_flavor_there_is_nothing(
    services: Services, users: People, manage: Callable[..., Result], tmp_path: Path
):
    plain = services.new_api("plain", {
        "DEFAULT": {"image_cache_dir": tmp_path / "cache"}, "paste_deploy": {"flavor": "keystone+caching"},
    })
    services.start(plain)
    node = Node(plain, tmp_path / "cache", Caller(plain.url, users.admin.headers))
    assert stat.S_IMODE((tmp_path / "cache").stat().st_mode) & 0o007 == 0
    assert node.cached() == []
    done = manage(node, "list-cached", check=False)
    assert done.code == 1
    assert "Cache management middleware not enabled on host 127.0.0.1" in done.errors
