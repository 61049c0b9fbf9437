"""glance-replicator and servers that break off, keep silent, lead elsewhere or describe images that cannot be."""

import hashlib
import json
import logging
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.servers.scripted import deaf, flooding, scripted_peer
from tests.servers.web import Page, WebServer, web_server

from glance_api.replicator import content
from glance_api.replicator.apis import chosen
from glance_api.replicator.documents import ReplicaImage, differing, is_id
from glance_api.replicator.main import main
from glance_api.replicator.peer import Peer, PeerSettings, ReplicationError, base_url
from glance_api.replicator.progress import line, shown
from glance_api.replicator.v1 import ImagesV1
from glance_common import progress

ID = "11111111-1111-4111-8111-111111111111"
OTHER = "22222222-2222-4222-8222-222222222222"
DATA = bytes(range(256)) * 4096
LIST = "/v2/images?limit=100&visibility=all"
HIDDEN = f"{LIST}&os_hidden=true"
TOKEN = "hush-hush-token"


@pytest.fixture(autouse=True)
def _usual_log(root_logger: logging.Logger) -> None:
    """The tool sets up the log of its process."""


@pytest.fixture
def server() -> Iterator[WebServer]:
    """A service of images that has v2 only, and no images."""
    with web_server() as made:
        made.pages |= {"/": versions("v2.17", "v2.0"), LIST: listed(), HIDDEN: listed()}
        yield made


def versions(*ids: str) -> Page:
    return Page(json.dumps({"versions": [{"id": each} for each in ids]}).encode(), 300)


def listed(*images: dict[str, Any]) -> Page:
    return Page(json.dumps({"images": images}).encode())


def image(**more: Any) -> dict[str, Any]:
    """Return an active image with DATA, as v2 shows it."""
    return {
        "id": ID, "status": "active", "size": len(DATA), "checksum": hashlib.md5(DATA).hexdigest(), "tags": [],
        "os_hash_algo": "sha512", "os_hash_value": hashlib.sha512(DATA).hexdigest(), "visibility": "shared", **more,
    }


def address(server: WebServer) -> str:
    return f"127.0.0.1:{server.port}"


def test_too06_a_dump_goes_on_where_the_connection_broke(server: WebServer, tmp_path: Path):
    server.pages |= {LIST: listed(image()), f"/v2/images/{ID}/file": Page(DATA, cut=len(DATA) // 2)}
    assert main(["dump", address(server), str(tmp_path)]) == 0
    assert (tmp_path / f"{ID}.img").read_bytes() == DATA
    ranges = [headers.get("Range") for _, path, headers in server.seen if path.endswith("/file")]
    assert ranges == [None, f"bytes={len(DATA) // 2}-"]


def test_too06_a_server_without_ranges_is_read_again(server: WebServer, tmp_path: Path):
    server.pages |= {LIST: listed(image()), f"/v2/images/{ID}/file": Page(DATA, ranges=False)}
    (tmp_path / f"{ID}.img.part").write_bytes(DATA[:1000])
    assert main(["dump", address(server), str(tmp_path)]) == 0
    assert (tmp_path / f"{ID}.img").read_bytes() == DATA


def test_too06_a_part_that_is_whole_already_is_not_asked_for_again(server: WebServer, tmp_path: Path):
    server.pages[LIST] = listed(image())
    (tmp_path / f"{ID}.img.part").write_bytes(DATA)
    assert main(["dump", address(server), str(tmp_path)]) == 0
    assert (tmp_path / f"{ID}.img").read_bytes() == DATA


def test_too06_damaged_data_get_no_name(server: WebServer, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    wrong = DATA[:-1] + b"x"
    server.pages |= {LIST: listed(image()), f"/v2/images/{ID}/file": Page(wrong)}
    assert main(["dump", address(server), str(tmp_path)]) == 1
    assert list(tmp_path.iterdir()) == []


def test_too06_what_never_goes_on_is_given_up(
    server: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(content, "pause", lambda _seconds: None)
    server.pages[LIST] = listed(image(), image(id=OTHER, status="queued"))
    server.pages[f"/v2/images/{ID}/file"] = Page(DATA, cut=0)
    assert main(["dump", address(server), str(tmp_path)]) == 1
    assert f"given up at byte 0 of {len(DATA)}" in capsys.readouterr().err
    assert (tmp_path / OTHER).exists()  # the next image has its turn
    assert sum(path.endswith("/file") for _, path, _ in server.seen) == content.MOST_FAILURES + 1


@pytest.mark.parametrize(
    ("listing", "hidden"), [
        ([ID], [OTHER]),
        ([ID, OTHER], []),  # it takes os_hidden for a property
        ([ID, OTHER], [ID, OTHER]),  # it ignores os_hidden
    ],
)
def test_too06_every_image_is_found_once_also_where_none_can_be_hidden(
    server: WebServer, listing: list[str], hidden: list[str], capsys: pytest.CaptureFixture[str]
):
    server.pages |= {LIST: listed(*(image(id=each) for each in listing))}
    server.pages |= {HIDDEN: listed(*(image(id=each) for each in hidden))}
    assert main(["size", address(server)]) == 0
    assert capsys.readouterr().out.endswith("across 2 images\n")


@pytest.mark.parametrize("name", ["../../../etc/passwd", f"{ID}/x", ID.upper().replace("1", "A"), "", None, 5])
def test_too06_an_id_that_is_none_never_becomes_a_file(
    server: WebServer, tmp_path: Path, name: Any, capsys: pytest.CaptureFixture[str]
):
    server.pages[LIST] = listed(image(id=name))
    assert main(["dump", address(server), str(tmp_path)]) == 1
    assert "is not the id of an image" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_too06_the_token_goes_to_no_other_server(server: WebServer, capsys: pytest.CaptureFixture[str]):
    with web_server() as elsewhere:
        for path in ("/", LIST):
            server.pages |= {"/": versions("v2.0"), LIST: listed()}
            server.pages[path] = Page(status=302, headers={"Location": elsewhere.url("/caught")})
            assert main(["--token", TOKEN, "--debug", "size", address(server)]) == 1
            assert "redirects to another server" in (said := capsys.readouterr()).err
            assert TOKEN not in said.out + said.err
        assert elsewhere.seen == []
    assert {headers["X-Auth-Token"] for _, _, headers in server.seen} == {TOKEN}


def test_too06_redirects_on_the_same_server_are_followed(server: WebServer, capsys: pytest.CaptureFixture[str]):
    server.pages |= {"/": Page(status=302, headers={"Location": "/versions"}), "/versions": versions("v2.0")}
    assert main(["size", address(server)]) == 0
    assert capsys.readouterr().out == "Total size is 0 bytes (0.0 MiB) across 0 images\n"
    server.pages["/versions"] = Page(status=302, headers={"Location": "/"})
    assert main(["size", address(server)]) == 1
    assert "redirects more than 3 times" in capsys.readouterr().err


def test_too06_a_silent_server_is_given_up(capsys: pytest.CaptureFixture[str]):
    with scripted_peer(deaf) as peer:
        assert main(["--timeout", "1", "size", f"127.0.0.1:{peer.port}"]) == 1
    assert "was silent for 1 seconds" in capsys.readouterr().err


def test_too06_a_server_at_an_ipv6_address(capsys: pytest.CaptureFixture[str]):
    answers = [b'{"versions": [{"id": "v2.0"}]}', b'{"images": []}', b'{"images": []}']

    def script(connection: socket.socket) -> None:
        connection.recv(65536)
        body = answers.pop(0)
        connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    with scripted_peer(script, host="::1") as peer:
        assert main(["size", f"[::1]:{peer.port}"]) == 0
    assert capsys.readouterr().out.endswith("across 0 images\n")


def test_too06_an_endless_answer_is_given_up(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("glance_api.replicator.peer.LARGEST_DOCUMENT", 100_000)
    start = b"HTTP/1.1 300 Multiple Choices\r\n\r\n"
    with scripted_peer(flooding(start, b"a" * 100)) as peer:
        assert main(["size", f"127.0.0.1:{peer.port}"]) == 1
    assert "more than 100000 bytes" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("page", "text"), [
        (Page(b"<html>welcome</html>", 200), "the answer is not JSON"),
        (Page(b"[]", 200), "no common API"),
        (versions("v3"), "no common API"),
        (Page(b"<html>gone</html>", 404), "404 Not Found"),
    ],
)
def test_too06_what_is_no_image_service(
    server: WebServer, page: Page, text: str, capsys: pytest.CaptureFixture[str]
):
    server.pages["/"] = page
    assert main(["size", address(server)]) == 1
    assert text in (error := capsys.readouterr().err)
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("given", "url"), [
        ("example.org:80", "http://example.org:80"), ("example.org", "http://example.org:9292"),
        ("[::1]:9292", "http://[::1]:9292"), ("[::1]", "http://[::1]:9292"), ("10.0.0.1:1", "http://10.0.0.1:1"),
        ("https://cloud/image/", "https://cloud/image"), ("http://[fe80::1]:1/x", "http://[fe80::1]:1/x"),
    ],
)
def test_too06_addresses(given: str, url: str):
    assert base_url(given) == url


@pytest.mark.parametrize(
    "given", ["", ":9292", "host:", "host:0", "host:99999", "::1", "[::1", "[zz]:1", "user:pw@host:1", "host/path",
              "https://user:pw@host/", "http://", "http://host/?a=b", "a b:1", "ftp://host"],
)
def test_too06_what_is_no_address(given: str):
    with pytest.raises(ReplicationError, match="is no address"):
        base_url(given)


@pytest.mark.parametrize(
    ("wanted", "offered", "api"), [
        ("auto", [{"v1", "v2"}, {"v1", "v2"}], "v1"), ("auto", [{"v1", "v2"}, {"v2"}], "v2"),
        ("v2", [{"v1", "v2"}], "v2"), ("v1", [{"v1"}], "v1"), ("v1", [{"v1"}, {"v2"}], None), ("auto", [set()], None),
        ("auto", [{"v1"}, {"v2"}], None),
    ],
)
def test_too06_the_api_that_all_servers_have(wanted: str, offered: list[set[str]], api: str | None):
    sets = [frozenset(each) for each in offered]
    if api is None:
        with pytest.raises(ReplicationError, match="no common API"):
            chosen(wanted, sets)
    else:
        assert chosen(wanted, sets) == api


def test_too06_the_last_piece_is_held_back_until_the_digests_match():
    wanted = ReplicaImage.of(image())
    pieces = [DATA[:1000], DATA[1000:2000], DATA[2000:]]
    assert b"".join(content.checked(iter(pieces), wanted)) == DATA
    longer = [*pieces, b"x"], [*pieces, b"x", b"y" * 1000], [*pieces[:2], DATA[2000:] + b"x", b"y"]
    for wrong in (pieces[:2], [pieces[0], pieces[2], pieces[1]], *longer):
        given = []
        with pytest.raises(ReplicationError):
            given.extend(content.checked(iter(wrong), wanted))
        # A server that gets so many bytes as it was told takes the image for complete.
        assert len(b"".join(given)) < len(DATA)


def test_too06_both_forms_of_a_description():
    v2 = ReplicaImage.of(image(name="n", os_distro="x", self="/v2", stores="a", os_glance_failed_import="", note=None))
    assert v2.properties == {"os_distro": "x"}
    v1 = ReplicaImage.of({"id": ID, "name": "n", "is_public": False, "properties": {"OS-Distro": "x"}, "size": 5})
    assert v1.fields["visibility"] == "shared"
    assert v1.as_v1().properties == {"os_distro": "x"}
    assert differing(v2.as_v1(), v1.as_v1()) == ["size"]
    assert differing(v2.without(["size"]).as_v1(), v1.as_v1()) == []
    assert is_id(ID)
    assert not is_id(f"{ID}.img")


def test_too06_a_name_that_fits_into_no_header_is_told(server: WebServer):
    api = ImagesV1(Peer(address(server), "", PeerSettings()), has_v2=True)
    with pytest.raises(ReplicationError, match="--api v2 can"):
        api.create(ReplicaImage.of({"id": ID, "visibility": "shared", "ä\r\nX-Evil: 1": "x"}))
    assert server.seen == []


class _Terminal:
    def __init__(self) -> None:
        self.written = ""
        self.half = threading.Event()

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.written += text
        if "50 %" in text:
            self.half.set()
        return len(text)

    def flush(self) -> None:
        """Nothing to do."""


def test_too06_progress_is_for_terminals(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(progress, "EVERY", 0.001)
    terminal = _Terminal()

    def pieces() -> Iterator[bytes]:
        yield b"ab"
        assert terminal.half.wait(60)
        yield b"cd"

    assert list(shown(pieces(), "n", 4, 0, terminal)) == [b"ab", b"cd"]  # type: ignore[arg-type]  # enough of one
    assert "n: 0.0 MiB of 0.0 MiB (50 %)" in terminal.written
    assert terminal.written.endswith("\r\x1b[K")
    assert line("n", 2**20, 0) == "n: 1.0 MiB"
