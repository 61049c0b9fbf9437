"""What curl sends to v1 and the real clients cannot: recorded requests, byte by byte (recorded/README.md)."""

import json
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.e2e.calls import Caller
from tests.support.daemons import Services
from tests.support.record_curl import split
from tests.support.waiting import wait_for
from tests.support.web import Page, WebServer, as_source, web_server

pytestmark = pytest.mark.timeout(900)

RECORDED = Path(__file__).parent / "recorded" / "v1"
SOURCE = b"http://source.example/"
DATA = b"\x01data of an image"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; ``invited``: a body that waited for it was asked for."""

    status: int
    headers: dict[str, str]
    body: bytes
    invited: bool

    @property
    def document(self) -> Any:
        """Return the JSON document in the body."""
        return json.loads(self.body)

    @property
    def image(self) -> dict[str, Any]:
        """Return the image in the body."""
        return dict(self.document["image"])

    @property
    def meta(self) -> dict[str, str]:
        """Return the metadata in the headers."""
        prefix = "x-image-meta-"
        return {name.removeprefix(prefix): value for name, value in self.headers.items() if name.startswith(prefix)}


Replay = Callable[..., Answer]


@pytest.fixture(scope="module")
def source() -> Iterator[WebServer]:
    """A web server with an image."""
    with web_server() as server:
        server.pages["/image"] = Page(DATA)
        yield server


@pytest.fixture(scope="module")
def services(deploy: Callable[..., Services], source: WebServer) -> Services:
    """A file store and the http store, without authentication."""
    return deploy(shared=as_source(source))


@pytest.fixture(scope="module")
def replay(services: Services, source: WebServer) -> Replay:
    """A function that sends a recorded request and checks the status."""
    address = urlsplit(services.api.url)

    def send(name: str, expected: int) -> Answer:
        head, body = split((RECORDED / f"{name}.http").read_bytes().replace(SOURCE, source.url("/").encode()))
        with socket.create_connection((address.hostname, address.port), timeout=30) as sock:
            sock.sendall(head)
            waits = b"\r\nExpect: 100-continue\r\n" in head
            invited = waits and sock.recv(12, socket.MSG_PEEK | socket.MSG_WAITALL) == b"HTTP/1.1 100"
            if invited or not waits:
                sock.sendall(body)
            response = HTTPResponse(sock, method=head.split()[0].decode())
            response.begin()
            headers = {key.lower(): value for key, value in response.getheaders()}
            answer = Answer(response.status, headers, response.read(), invited)
        assert answer.status == expected, (name, answer)
        return answer

    return send


def identifier(number: int) -> str:
    """Return the id that the recorded requests give the image of this number."""
    return f"{number:08d}-0000-4000-8000-000000000000"


def status_of(services: Services, number: int) -> str | None:
    """Return the status of the image of this number; None when there is none."""
    found = Caller(services.api.url).call("HEAD", f"/v1/images/{identifier(number)}")
    return str(found.headers["x-image-meta-status"]) if found.ok else None


def test_metadata_go_both_ways_and_properties_are_purged(replay: Replay):
    made = replay("create", 201)
    assert (made.image["name"], made.image["is_public"], made.image["size"]) == ("Käse", True, 9)
    assert made.headers["location"] == f"/v1/images/{made.image['id']}"
    shown = replay("head", 200)
    assert (shown.body, shown.headers["etag"], shown.meta["checksum"]) == (b"", *[made.image["checksum"]] * 2)
    assert shown.meta["name"].encode("latin-1").decode() == "Käse"
    assert "location" not in shown.meta
    whole = replay("download-range", 200)
    assert (whole.body, whole.headers["content-length"], whole.meta) == (b"from curl", "9", shown.meta)
    assert replay("purge", 200).image["properties"] == {"b": "2"}
    assert replay("keep", 200).image["properties"] == {"b": "2", "c": "3"}
    emptied = replay("empty-name", 200).image
    assert (emptied["name"], emptied["properties"]) == (None, {})
    assert not replay("upload-again", 409).invited
    assert replay("delete", 200).body == b""
    replay("head", 200)  # without Keystone every caller is an administrator
    replay("used-id", 409)


def test_every_form_of_a_body(replay: Replay):
    for name in ("size-0", "size-0-form"):
        empty = replay(name, 201).image
        assert (empty["status"], empty["size"], empty["checksum"]) == ("active", 0, None)
    for name in ("chunked", "chunked-size"):
        chunked = replay(name, 201)
        assert chunked.invited
        assert (chunked.image["status"], chunked.image["size"]) == ("active", 6)
    assert replay("reserve", 201).image["status"] == "queued"
    filled = replay("expect", 200)
    assert (filled.invited, filled.image["status"], filled.image["size"]) == (True, "active", 5)
    assert not replay("expect-refused", 409).invited


def test_data_from_elsewhere(replay: Replay, services: Services, source: WebServer):
    there = replay("location", 201)
    assert (there.image["status"], there.image["size"]) == ("active", len(DATA))
    assert source.url("/").encode() not in there.body
    replay("location-absent", 400)
    replay("location-file", 400)
    replay("location-size", 409)
    assert [status_of(services, number) for number in (8, 19, 20)] == ["deleted", None, "deleted"]
    assert replay("copy-from", 201).image["status"] == "queued"
    replay("copy-from-absent", 201)
    replay("copy-from-inside", 400)
    replay("two-sources", 400)
    assert status_of(services, 11) is None
    wait_for(lambda: status_of(services, 9) == "active", "the copy")
    wait_for(lambda: status_of(services, 10) == "killed", "the end of a copy of nothing")


def test_lists(replay: Replay):
    made = replay("listed", 201).image
    (brief,) = replay("list", 200).document["images"]
    assert set(brief) == {"id", "name", "size", "disk_format", "container_format", "checksum"}
    for name in ("detail", "detail-property"):
        assert replay(name, 200).document == {"images": [made]}
    assert made in replay("detail-since-past", 200).document["images"]
    assert replay("detail-since-future", 200).document == {"images": []}
    assert replay("detail-head", 405).headers["allow"] == "GET"
    replay("listed-delete", 200)
    assert replay("detail", 200).document == {"images": []}
    for name in ("detail-since-past", "detail-deleted"):
        (gone,) = [each for each in replay(name, 200).document["images"] if each["id"] == made["id"]]
        assert (gone["deleted"], bool(gone["deleted_at"])) == (True, True)


def test_members(replay: Replay):
    made = replay("reserve-shared", 201).image["id"]
    assert replay("member", 204).body == b""
    replay("member-may-share", 204)
    assert replay("members-list", 200).document == {"members": [{"member_id": "friend", "can_share": True}]}
    replay("members-replace", 204)
    kept = [{"member_id": "friend", "can_share": True}, {"member_id": "a b", "can_share": True}]
    assert sorted(replay("members-list", 200).document["members"], key=str) == sorted(kept, key=str)
    assert replay("shared-images", 200).document == {"shared_images": [{"image_id": made, "can_share": True}]}
    replay("member-delete", 204)
    replay("member-delete-absent", 404)
    assert replay("member-show", 405).headers["allow"] == "DELETE, PUT"
    replay("members-wrong", 400)
    replay("member-not-json", 400)
    assert replay("members-list", 200).document == {"members": kept[:1]}
    replay("change-status", 403)
    replay("members-none", 204)
    assert replay("members-list", 200).document == {"members": []}


@pytest.mark.parametrize(
    ("name", "number"), [("form-body", 13), ("no-type", 14), ("wrong-size", 15), ("wrong-checksum", 16)]
)
def test_data_that_are_refused_kill_the_image(replay: Replay, services: Services, name: str, number: int):
    replay(name, 400)
    assert status_of(services, number) == "killed"
    assert identifier(number) not in services.files()


WRONG = {
    "wrong-id": "id must be a UUID", "wrong-number": "min_ram", "wrong-store": "nowhere", "wrong-format": "floppy",
    "unknown-header": "Bad header", "no-format": "disk_format", "list-wrong-limit": "limit",
    "list-wrong-marker": "marker", "list-wrong-sort_key": "sort_key", "list-wrong-is_public": "is_public",
    "list-wrong-size_max": "size_max", "list-wrong-changes-since": "changes-since",
}


def test_wrong_values(replay: Replay, services: Services):
    for name, said in WRONG.items():
        assert said in replay(name, 400).body.decode(), name
    assert status_of(services, 17) is None
    replay("absent", 404)
    assert replay("patch", 405).headers["allow"] == "DELETE, GET, HEAD, PUT"
    assert replay("put-list", 405).headers["allow"] == "GET, POST"
