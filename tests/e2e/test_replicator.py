"""glance-replicator between two of ours, and between ours and the original release 33 (TOO-06)."""

import json
import os
import select
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from deploy.local.embedded_postgres import PostgresServer
from tests.e2e.calls import MIB, Caller
from tests.servers.original import Original
from tests.servers.postgres import drop_database
from tests.servers.scripted import Script, scripted_peer
from tests.support.daemons import PROGRAMS, Services
from tests.support.raw_data import random_bytes

pytestmark = pytest.mark.timeout(900)

SMALL = random_bytes(3000)
LARGE = random_bytes(3 * MIB)
COMPARED = ("status", "size", "checksum", "name", "disk_format", "container_format", "min_disk", "min_ram")
ONLY_V2 = ("os_hash_algo", "os_hash_value", "tags", "visibility", "protected", "os_hidden")


@dataclass(frozen=True)
class Server:
    """One image service."""

    caller: Caller

    @property
    def address(self) -> str:
        """What the tool calls it."""
        return self.caller.url.removeprefix("http://")

    def ids(self) -> set[str]:
        """Return the ids of all images, hidden ones too."""
        return {
            image["id"] for hidden in ("false", "true")
            for image in self.caller.call("GET", f"/v2/images?os_hidden={hidden}&limit=100", 200).json()["images"]
        }

    def empty(self) -> None:
        """Delete all images."""
        while images := self.ids():  # a page at a time
            for image in images:
                self.caller.patch(image, {"op": "replace", "path": "/protected", "value": False})
                self.caller.delete(image)


def replicate(*words: object, fails: bool = False) -> subprocess.CompletedProcess[str]:
    """Run the tool, which must end well unless it ``fails``."""
    done = subprocess.run(
        [PROGRAMS / "glance-replicator", *map(str, words)], capture_output=True, text=True, stdin=subprocess.DEVNULL,
        env={"PATH": f"{PROGRAMS}:/usr/bin:/bin", "HOME": "/nonexistent", "LANG": "C.UTF-8"}, timeout=300, check=False,
    )
    assert done.returncode == int(fails), f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def deployments(deploy: Callable[..., Services]) -> tuple[Services, Services]:
    """Two of ours, without Keystone."""
    return deploy(), deploy()


@pytest.fixture
def source(deployments: tuple[Services, Services]) -> Server:
    """The service that images come from, empty."""
    server = Server(Caller(deployments[0].api.url))
    server.empty()
    return server


@pytest.fixture
def target(deployments: tuple[Services, Services]) -> Server:
    """The service that images go to, empty."""
    server = Server(Caller(deployments[1].api.url))
    server.empty()
    return server


@pytest.fixture(scope="module")
def running_original(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Original]:
    """The original, without Keystone: no caller has a role there, so a rule makes each an administrator."""
    folder = tmp_path_factory.mktemp("original")
    policy = folder / "policy.yaml"
    policy.write_text('"context_is_admin": "@"\n')
    postgres.create_database("replicated")
    service = Original(folder / "glance", postgres.url("replicated"), {"oslo_policy": {"policy_file": policy}})
    try:
        service.start()
        yield service
    finally:
        service.stop()
        drop_database(postgres, "replicated")


@pytest.fixture
def original(running_original: Original) -> Server:
    """The original, empty."""
    server = Server(Caller(running_original.url))
    server.empty()
    return server


def filled(server: Server) -> list[str]:
    """Give a service images of several kinds; return their ids."""
    call = server.caller
    plain = call.uploaded(LARGE, name="plain", min_disk=3, min_ram=64, os_distro="debian", hw_disk_bus="scsi")
    foreign = call.uploaded(SMALL, name="Grüße, 100 % échte Bytes", note="a b%41ü", visibility="public")
    empty = call.create(name="without data")["id"]
    kept = call.uploaded(SMALL[1:], name="kept", protected=True, os_hidden=True, tags=["one", "two"])
    return [plain, foreign, empty, kept]


def assert_equal(one: Server, other: Server, images: Sequence[str], names: Sequence[str]) -> None:
    for image in images:
        shown, there = one.caller.show(image), other.caller.show(image)
        for name in names:
            ours, theirs = (sorted(each[name]) if name == "tags" else each[name] for each in (shown, there))
            assert ours == theirs, f"{name} of {image}"
        if shown["status"] == "active":
            assert other.caller.download(image) == one.caller.download(image)


@pytest.mark.parametrize("api", ["auto", "v2"])
def test_too06_livecopy_brings_images_and_their_changes(source: Server, target: Server, api: str):
    images = filled(source)
    replicate("livecopy", "--api", api, source.address, target.address)
    seen = images if api == "v2" else images[:3]  # v1 knows no hidden images
    assert target.ids() == set(seen)
    assert_equal(source, target, seen, (*COMPARED, *(ONLY_V2 if api == "v2" else ("protected",))))
    shown = target.caller.show(images[1])
    assert (shown["note"], shown["visibility"]) == ("a b%41ü", "public")
    compared = replicate("compare", "--api", api, source.address, target.address)
    assert compared.stdout == ""
    # What was changed here is changed there; what was added there goes.
    source.caller.patch(
        images[0], {"op": "replace", "path": "/name", "value": "new"}, {"op": "remove", "path": "/os_distro"},
        {"op": "add", "path": "/more", "value": "yes"}, {"op": "replace", "path": "/hw_disk_bus", "value": "virtio"},
    )
    target.caller.patch(images[0], {"op": "add", "path": "/added", "value": "there"})
    differs = replicate("compare", "--api", api, source.address, target.address, fails=True).stdout
    assert sorted(line.split(": ")[1].split()[0] for line in differs.splitlines()) == [
        "added", "hw_disk_bus", "more", "name", "os_distro",
    ]
    replicate("livecopy", "--api", api, source.address, target.address)
    assert replicate("compare", "--api", api, source.address, target.address).stdout == ""
    there = target.caller.show(images[0])
    assert (there["name"], there["more"], there["hw_disk_bus"]) == ("new", "yes", "virtio")
    assert {"os_distro", "added"}.isdisjoint(there)


@pytest.mark.parametrize("api", ["auto", "v2"])
def test_too06_dump_and_load(source: Server, target: Server, tmp_path: Path, api: str):
    images = filled(source)
    replicate("dump", "--api", api, source.address, tmp_path)
    seen = images if api == "v2" else images[:3]
    active = [image for image in seen if image != images[2]]
    assert {path.name for path in tmp_path.iterdir()} == {*seen, *(f"{image}.img" for image in active)}
    assert (tmp_path / f"{images[0]}.img").read_bytes() == LARGE
    description = json.loads((tmp_path / images[0]).read_text())
    assert (description["name"], description["properties"]["os_distro"]) == ("plain", "debian")
    # Once more: everything is there already.
    again = replicate("dump", "--api", api, source.address, tmp_path)
    assert again.stderr.count("is here already") == len(seen)
    replicate("load", "--api", api, target.address, tmp_path)
    assert_equal(source, target, seen, (*COMPARED, *(ONLY_V2 if api == "v2" else ())))
    assert replicate("compare", "--api", api, source.address, target.address).stdout == ""


def test_too06_what_broke_off_goes_on(source: Server, tmp_path: Path):
    image = source.caller.uploaded(LARGE, name="half")
    # What a dump leaves that dies: the first half of the data.
    (tmp_path / f"{image}.img.part").write_bytes(LARGE[:MIB])
    done = replicate("dump", source.address, tmp_path)
    assert f"image {image}: going on at byte {MIB} of {3 * MIB}" in done.stderr
    assert (tmp_path / f"{image}.img").read_bytes() == LARGE
    assert not (tmp_path / f"{image}.img.part").exists()
    # A half that is damaged is found out, thrown away, and fetched whole by the next dump.
    (tmp_path / f"{image}.img").unlink()
    (tmp_path / f"{image}.img.part").write_bytes(b"x" * MIB)
    assert f"image {image}: the data are damaged" in replicate("dump", source.address, tmp_path, fails=True).stderr
    assert not (tmp_path / f"{image}.img").exists()
    replicate("dump", source.address, tmp_path)
    assert (tmp_path / f"{image}.img").read_bytes() == LARGE


def test_too06_damaged_files_are_not_loaded_and_the_others_are(source: Server, target: Server, tmp_path: Path):
    good, bad, absent = (source.caller.uploaded(SMALL + bytes([n]), name=str(n)) for n in range(3))
    replicate("dump", "--api", "v2", source.address, tmp_path)
    (tmp_path / f"{bad}.img").write_bytes(SMALL + b"x")
    (tmp_path / f"{absent}.img").unlink()
    (tmp_path / "notes.txt").write_text("not an image")
    done = replicate("load", "--api", "v2", target.address, tmp_path, fails=True)
    assert f"image {bad}: the data are damaged" in done.stderr
    assert f"image {absent}: skipped" in done.stderr
    assert target.caller.show(good)["status"] == "active"
    assert target.caller.show(bad)["status"] == "queued"
    assert absent not in target.ids()
    # Mended, it goes on with the image that is there without data.
    (tmp_path / f"{bad}.img").write_bytes(SMALL + b"\1")
    replicate("load", "--api", "v2", target.address, tmp_path)
    assert target.caller.download(bad) == SMALL + b"\1"


def test_too06_metadata_only_and_fields_that_are_left_out(source: Server, target: Server):
    image = source.caller.uploaded(SMALL, name="here", secret_note="stays")
    replicate("-m", "-D", "created_at,updated_at secret_note", "livecopy", source.address, target.address)
    shown = target.caller.show(image)
    assert (shown["status"], shown["name"]) == ("queued", "here")
    assert "secret_note" not in shown
    replicate("--api", "v2", "livecopy", source.address, target.address)  # now the data as well
    assert target.caller.download(image) == SMALL


@pytest.mark.parametrize("api", ["v1", "v2"])
def test_too06_what_is_not_replicated_stays_where_it_is(source: Server, target: Server, api: str):
    image = source.caller.uploaded(SMALL, name="one", secret_note="source", shared_note="1", gone="1")
    replicate("--api", api, "livecopy", source.address, target.address)
    source.caller.patch(
        image, {"op": "replace", "path": "/name", "value": "two"}, {"op": "remove", "path": "/gone"},
        {"op": "replace", "path": "/shared_note", "value": "2"}, {"op": "remove", "path": "/secret_note"},
    )
    target.caller.patch(image, *(
        {"op": operation, "path": f"/{name}", "value": "target"}
        for operation, name in (("replace", "secret_note"), ("add", "own_note"))
    ))
    ignored = ("-D", "secret_note,own_note")
    replicate("--api", api, *ignored, "livecopy", source.address, target.address)
    shown = target.caller.show(image)
    assert (shown["name"], shown["shared_note"]) == ("two", "2")
    assert (shown["secret_note"], shown["own_note"]) == ("target", "target")
    assert "gone" not in shown
    again = replicate("--api", api, *ignored, "livecopy", source.address, target.address)
    assert "updated" not in again.stderr


def test_too06_other_data_under_an_id_are_told(source: Server, target: Server):
    image = source.caller.uploaded(SMALL)
    target.caller.create(id=image)
    target.caller.upload(image, LARGE)
    done = replicate("livecopy", source.address, target.address, fails=True)
    assert f"image {image}: the server has other data under this id." in done.stderr
    assert target.caller.download(image) == LARGE


def test_too06_an_id_that_was_used_is_a_conflict_and_the_others_come(source: Server, target: Server):
    gone, good = source.caller.uploaded(SMALL), source.caller.uploaded(SMALL)
    target.caller.create(id=gone)
    target.caller.delete(gone)
    done = replicate("livecopy", source.address, target.address, fails=True)
    assert f"image {gone}: the image is not created: 409" in done.stderr
    assert target.caller.download(good) == SMALL


def test_too06_size(source: Server):
    source.caller.uploaded(SMALL)
    source.caller.uploaded(LARGE)
    source.caller.create()
    total = len(SMALL) + len(LARGE)
    assert replicate("size", source.address).stdout.startswith(f"Total size is {total} bytes")
    assert replicate("size", "--api", "v2", source.address).stdout.endswith("across 2 images\n")


def test_too06_many_images_are_listed_page_by_page(source: Server):
    for number in range(105):
        source.caller.create(name=str(number))
    source.caller.uploaded(SMALL)
    for api in ("v1", "v2"):
        assert replicate("--api", api, "size", source.address).stdout.endswith("across 1 images\n")


def test_too06_to_the_original_and_back(source: Server, target: Server, original: Server, tmp_path: Path):
    images = filled(source)
    replicate("livecopy", source.address, original.address)
    assert original.ids() == set(images)  # only v2 is there, which knows the hidden one too
    names = [name for name in (*COMPARED, *ONLY_V2) if name != "status"]
    assert_equal(source, original, images, (*names, "status"))
    assert original.caller.show(images[0])["os_distro"] == "debian"
    replicate("compare", "-D", "owner created_at updated_at", source.address, original.address)
    # And on to another one of ours, by way of files.
    replicate("dump", original.address, tmp_path)
    replicate("load", "--api", "v2", target.address, tmp_path)
    assert_equal(source, target, images, (*COMPARED, *ONLY_V2))
    wanted = replicate("--api", "v1", "size", original.address, fails=True)
    assert "have no common API of images, v1 was wanted" in wanted.stderr


def test_too06_a_dump_of_v1_goes_to_the_original(source: Server, original: Server, tmp_path: Path):
    image = source.caller.uploaded(LARGE, name="old", os_distro="debian")
    replicate("dump", "--api", "v1", source.address, tmp_path)
    replicate("load", original.address, tmp_path)
    assert original.caller.download(image) == LARGE
    assert original.caller.show(image)["os_distro"] == "debian"


def breaking(port: int, most: int) -> Script:
    """Return a way to a server whose connections break after ``most`` bytes of its answers."""

    def script(client: socket.socket) -> None:
        left = most
        with socket.create_connection(("127.0.0.1", port)) as server:
            while left > 0:
                ready, _, _ = select.select([client, server], [], [])
                for side in ready:
                    data = side.recv(65536)
                    if not data:
                        return
                    if side is client:
                        server.sendall(data)
                    else:
                        client.sendall(data[:left])
                        left -= len(data)

    return script


@pytest.mark.parametrize("api", ["v1", "v2"])
def test_too06_a_livecopy_goes_on_over_connections_that_break(source: Server, target: Server, api: str):
    image = source.caller.uploaded(LARGE, name="far away")
    port = int(source.address.rpartition(":")[2])
    with scripted_peer(breaking(port, MIB + 1000)) as way:
        replicate("--api", api, "livecopy", f"127.0.0.1:{way.port}", target.address)
        assert way.connections >= 3
    assert target.caller.show(image)["status"] == "active"
    assert target.caller.download(image) == LARGE


def most_memory(*words: object) -> int:
    """Run the tool and return the most memory that it had, in bytes."""
    tool = subprocess.Popen([PROGRAMS / "glance-replicator", *map(str, words)], stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(tool.pid, 0)
    tool.returncode = os.waitstatus_to_exitcode(status)
    assert tool.returncode == 0
    return usage.ru_maxrss * 1024


def test_too06_memory_does_not_depend_on_the_size_of_images(source: Server, target: Server, tmp_path: Path):
    large = source.caller.uploaded(b"\1" + bytes(96 * MIB))
    little = most_memory("size", source.address)
    assert most_memory("livecopy", source.address, target.address) < little + 24 * MIB
    assert most_memory("dump", source.address, tmp_path) < little + 24 * MIB
    assert target.caller.show(large)["size"] == (tmp_path / f"{large}.img").stat().st_size == 96 * MIB + 1


@pytest.mark.parametrize(
    ("words", "text"), [
        (["size"], "usage: glance-replicator [options] size HOST:PORT"),
        (["size", "127.0.0.1:none"], "is no address"),
        (["size", "::1:9292"], "is no address"),
        (["explode", "x"], "there is no command 'explode'"),
        (["dump", "127.0.0.1:1", "/there/is/nothing"], "there is no folder"),
        (["size", "127.0.0.1:1"], "http://127.0.0.1:1 does not answer"),
        (["help", "explode"], "there is no command 'explode'"),
    ],
)
def test_too06_wrong_words(words: list[str], text: str):
    done = replicate(*words, fails=True)
    assert text in done.stderr
    assert done.stderr.startswith("ERROR: ")
    assert done.stderr.count("\n") == 1


def test_too06_help_names_every_command():
    assert replicate("help").stdout.count("glance-replicator [options]") == 5
    assert replicate("help", "dump").stdout.startswith("glance-replicator [options] dump HOST:PORT PATH\n")


def test_too06_tokens_come_from_a_file(source: Server, tmp_path: Path):
    source.caller.uploaded(SMALL)
    file = tmp_path / "replicator.conf"
    file.write_text("[DEFAULT]\nsourcetoken = hush-hush\napi = v2\n")
    os.chmod(file, 0o600)
    done = replicate("--config-file", file, "--debug", "size", source.address)
    assert done.stdout.endswith("across 1 images\n")
    assert "hush-hush" not in done.stdout + done.stderr
