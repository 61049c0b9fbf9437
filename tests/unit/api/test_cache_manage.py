"""glance-cache-manage in front of an API and a Keystone that answer what the test says."""

import builtins
import json
import os
import sys
from collections.abc import Callable
from typing import Any

import pytest
import responses

from glance_api.cache_tools import commands
from glance_api.cache_tools.manage import main

ID = "11111111-1111-4111-8111-111111111111"
API = "http://0.0.0.0:9292/v2"
KEYSTONE = "http://keystone:5000"
COPY = {"image_id": ID, "hits": 12, "last_accessed": 0.0, "last_modified": 1700000000.9, "size": 5, "checksum": None}

Type = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def _no_account(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("OS_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def peers():
    """The servers that answer."""
    with responses.RequestsMock() as mock:
        yield mock


@pytest.fixture
def typed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Type:
    """Type a command and the answer to its question; return exit code, output and errors."""

    def run(*words: str, answer: str | None = None) -> tuple[int, str, str]:
        def answered(question: str) -> str:
            sys.stdout.write(question)
            if answer is None:
                raise EOFError
            return answer

        monkeypatch.setattr(builtins, "input", answered)
        code = main(words)
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_cac06_list_cached(typed: Type, peers: Any):
    used = {**COPY, "image_id": ID.replace("1", "2"), "last_accessed": 1700000001.2, "size": 1234567}
    peers.get(f"{API}/cached_images", json={"cached_images": [COPY, used]})
    code, output, _ = typed("list-cached")
    edge = f"+{'-' * 38}+{'-' * 21}+{'-' * 21}+---------+------+"
    assert (code, output.splitlines()) == (0, [
        edge,
        f"|{'ID':^38}| Last Accessed (UTC) | Last Modified (UTC) |  Size   | Hits |",
        edge,
        f"| {ID} | N/A                 | 2023-11-14T22:13:20 |       5 |   12 |",
        f"| {ID.replace('1', '2')} | 2023-11-14T22:13:21 | 2023-11-14T22:13:20 | 1234567 |   12 |",
        edge,
    ])
    assert "X-Auth-Token" not in peers.calls[0].request.headers


def test_cac06_list_queued(typed: Type, peers: Any):
    peers.get(f"{API}/queued_images", json={"queued_images": [ID]})
    code, output, _ = typed("list-queued")
    assert (code, output.splitlines()[3]) == (0, f"| {ID} |")
    peers.replace("GET", f"{API}/queued_images", json={"queued_images": []})
    assert typed("list-queued")[:2] == (0, "No queued images.\n")
    peers.get(f"{API}/cached_images", json={"cached_images": []})
    assert typed("list-cached")[:2] == (0, "No cached images.\n")


CHANGES = [
    ("queue-image", "PUT", f"queued_images/{ID}"),
    ("delete-cached-image", "DELETE", f"cached_images/{ID}"),
    ("delete-queued-image", "DELETE", f"queued_images/{ID}"),
    ("delete-all-cached-images", "DELETE", "cached_images"),
    ("delete-all-queued-images", "DELETE", "queued_images"),
]


@pytest.mark.parametrize(("command", "method", "path"), CHANGES)
def test_cac06_a_change_asks_first(typed: Type, peers: Any, command: str, method: str, path: str):
    words = (command,) if "all" in command else (command, ID.upper())
    for answer in (None, "", "n", "nonsense"):
        code, output, _ = typed(*words, answer=answer)
        assert code == 0
        assert "? [y/N] " in output
    peers.add(method, f"{API}/{path}", json={"num_deleted": 7})
    for words_now, answer in ((words, "y"), (words, "YES"), ((*words, "-f"), None), (("--force", *words), None)):
        code, output, _ = typed(*words_now, answer=answer)
        assert code == 0
        assert ("[y/N]" in output) == (answer is not None)
    verbose = typed("-v", "-f", *words)[1]
    assert "Completed in " in verbose
    assert ("7" if "all" in command else ID) in verbose
    assert len(peers.calls) == 5


def test_the_account(typed: Type, peers: Any, monkeypatch: pytest.MonkeyPatch):
    peers.get(f"{API}/queued_images", json={"queued_images": []})
    peers.post(f"{KEYSTONE}/v3/auth/tokens", status=201, headers={"X-Subject-Token": "t"}, json={})

    def asked() -> dict[str, Any]:
        token = json.loads(peers.calls[-2].request.body)["auth"]
        assert peers.calls[-1].request.headers["X-Auth-Token"] == "t"
        return {**token["identity"]["password"]["user"], "scope": token["scope"]["project"]}

    for url in (KEYSTONE, f"{KEYSTONE}/", f"{KEYSTONE}/v3", f"{KEYSTONE}/v3/", f"{KEYSTONE}/v2.0"):
        monkeypatch.setenv("OS_AUTH_URL", url)
        for name, value in (("OS_USERNAME", "u"), ("OS_PASSWORD", "p"), ("OS_TENANT_NAME", "t")):
            monkeypatch.setenv(name, value)
        assert typed("list-queued")[0] == 0
        assert asked() == {
            "name": "u", "password": "p", "domain": {"id": "default"},
            "scope": {"name": "t", "domain": {"id": "default"}},
        }
    monkeypatch.setenv("OS_USER_DOMAIN_NAME", "Users")
    monkeypatch.setenv("OS_PROJECT_NAME", "new")
    assert typed("list-queued", "--os-project-domain-id", "d", "-K", "other", "-I", "me")[0] == 0
    assert asked() == {
        "name": "me", "password": "other", "domain": {"name": "Users"}, "scope": {"name": "new", "domain": {"id": "d"}},
    }
    assert typed("list-queued", "--os-tenant-id", "77")[0] == 0
    assert asked()["scope"] == {"id": "77"}
    count = len(peers.calls)
    assert typed("list-queued", "--os-auth-token", "mine")[0] == 0
    assert peers.calls[-1].request.headers["X-Auth-Token"] == "mine"
    assert typed("list-queued", "-S", "noauth")[0] == 0
    assert "X-Auth-Token" not in peers.calls[-1].request.headers
    assert len(peers.calls) == count + 2  # Keystone was not asked


@pytest.mark.parametrize(
    ("words", "url"),
    [
        (("--host", "h"), "http://h:9292"), (("-H", "10.0.0.1", "-p", "81"), "http://10.0.0.1:81"),
        (("--host=::1",), "http://[::1]:9292"), (("--host", "https://h/image/"), "https://h/image"),
    ],
)
def test_the_host(typed: Type, peers: Any, words: tuple[str, ...], url: str):
    peers.get(f"{url}/v2/queued_images", json={"queued_images": []})
    assert typed("list-queued", *words)[0] == 0


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("queue-image", "guest"), "Image ID 'guest' is not a valid UUID."),
        (("queue-image", "../../etc/passwd"), "not a valid UUID"),
        (("queue-image",), "one argument"),
        (("delete-cached-image", ID, ID), "one argument"),
        (("list-cached", ID), "no argument"),
        (("help", "me"), "no command 'me'"),
        (("cached",), "no command 'cached'"),
        (("list-cached", "-S", "keystone"), "OS_AUTH_URL"),
        (("list-cached", "-S", "other"), "keystone or noauth"),
        (("list-cached", "-N", KEYSTONE), "OS_USERNAME"),
        (("list-cached", "-N", KEYSTONE, "-I", "u"), "OS_PASSWORD"),
    ],
)
def test_what_is_wrong_with_a_command(typed: Type, words: tuple[str, ...], text: str):
    code, output, errors = typed("-f", *words)
    assert (code, output) == (1, "")
    assert text in errors


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ({"status": 404}, "Cache management middleware not enabled on host 0.0.0.0"),
        ({"status": 403, "json": {"message": "policy manage_image_cache does not allow it"}}, "Not authorized"),
        ({"status": 401}, "Not authorized"),
        ({"status": 503, "json": {"message": "the image cache cannot be used now"}}, "503: the image cache cannot"),
        ({"status": 300, "json": {"versions": []}}, "300"),
        ({"status": 500, "body": "<html>"}, "500"),
        ({"status": 200, "body": "<html>"}, "not JSON"),
        ({"status": 200, "json": []}, "no cached_images"),
        ({"status": 200, "json": {"images": []}}, "no cached_images"),
    ],
)
def test_what_the_api_refuses(typed: Type, peers: Any, answer: dict[str, Any], text: str):
    peers.get(f"{API}/cached_images", **answer)
    code, output, errors = typed("list-cached")
    assert (code, output) == (1, "")
    assert text in errors
    assert "Traceback" not in errors
    assert "Traceback" in typed("-d", "list-cached")[2]


def test_what_keystone_refuses(typed: Type, peers: Any):
    account = ("-N", KEYSTONE, "-I", "u", "-K", "hush-hush", "-T", "t")
    peers.post(f"{KEYSTONE}/v3/auth/tokens", status=401, json={"error": {"code": 401, "message": "no such user"}})
    code, _, errors = typed("list-cached", *account)
    assert (code, errors) == (1, f"Keystone at {KEYSTONE} gives no token: 401: no such user\n")
    peers.replace("POST", f"{KEYSTONE}/v3/auth/tokens", status=201, json={})
    assert typed("list-cached", *account)[0] == 1


def test_help(typed: Type):
    code, output, _ = typed("help")
    assert code == 0
    assert all(name in output for name in commands.COMMANDS)
    assert typed("help", "queue-image")[1].startswith("usage: glance-cache-manage [options] queue-image ID\n")
    with pytest.raises(SystemExit) as ended:
        typed()
    assert ended.value.code == 2


def test_the_version_and_wrong_options(typed: Type, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        typed("--version")
    assert (ended.value.code, capsys.readouterr().out.split()[0]) == (0, "glance-cache-manage")
    for words in (("--prot", "1", "list-cached"), ("-p", "many", "list-cached")):
        with pytest.raises(SystemExit) as ended:
            typed(*words)
        assert ended.value.code == 2
