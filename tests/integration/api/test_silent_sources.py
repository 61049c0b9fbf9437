"""Servers that answer slowly or never: what they keep busy, for whom, and how soon a delete frees it (S-22, S-27, I7).

The limits of time are hours and the lease lasts a day where a test shows that something else ends the wait.
"""

import threading
from typing import Any

import pytest
from tests.integration.api.imports_kit import Node, options, page, working
from tests.servers.scripted import dripping, scripted_peer, silent
from tests.support.waiting import wait_for

HOURS = {
    "upload__lease": 86400,
    "import_sources__connect_timeout": 3600, "import_sources__read_timeout": 3600,
    "import_sources__answer_timeout": 3600, "glance_store__http_read_timeout": 3600,
    "glance_store__http_answer_timeout": 3600,
}


def fetching(web: Any, peer: Any) -> dict[str, Any]:
    """Return options with which both servers are sources of images."""
    return {**HOURS, "import_filtering_opts__allowed_ports": f"[{web.port},{peer.port}]"}


def begin(node: Node, uri: str, project: str = "own") -> str:
    """Ask for an import in the name of a project and return the image."""
    image = node.call(
        "POST", "/v2/images", 201, project=project, json={"disk_format": "raw", "container_format": "bare"}
    ).json["id"]
    body = {"method": {"name": "web-download", "uri": uri}}
    node.call("POST", f"/v2/images/{image}/import", 202, project=project, json=body)
    return str(image)


def status(node: Node, image: str) -> str:
    return str(node.call("GET", f"/v2/images/{image}", 200).json["status"])


def test_s22_i7_one_project_cannot_take_all_workers_and_a_delete_frees_them(make_api, tmp_path, web):
    """22 imports from a server that never answers, then one of somebody else, then all 22 are deleted."""
    with scripted_peer(silent) as peer:
        node = Node(make_api(**{**options(tmp_path, web), **fetching(web, peer)}), tmp_path)
        with working(node):
            stuck = [begin(node, peer.url()) for _ in range(22)]
            wait_for(lambda: peer.connections == 5)
            other = begin(node, page(web, b"\x01data")["uri"], "another")
            wait_for(lambda: status(node, other) == "active")
            assert peer.connections == 5
            for image in reversed(stuck):
                node.call("DELETE", f"/v2/images/{image}", 204)
            own = begin(node, page(web, b"\x01data")["uri"])
            wait_for(lambda: status(node, own) == "active")
            assert peer.connections == 5
            node.settled()


@pytest.mark.parametrize(
    "script",
    [silent, dripping(b"HTTP/1.1 200 OK\r\nX: "), dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")],
    ids=["silence", "header", "body"],
)
def test_i7_a_delete_ends_the_wait(make_api, tmp_path, web, script):
    with scripted_peer(script) as peer:
        changed = {"taskflow_executor__engine_mode": "serial", **fetching(web, peer)}
        node = Node(make_api(**{**options(tmp_path, web), **changed}), tmp_path)
        with working(node):
            image = begin(node, peer.url())
            wait_for(lambda: peer.connections == 1)
            node.call("DELETE", f"/v2/images/{image}", 204)
            after = begin(node, page(web, b"\x01data")["uri"])
            wait_for(lambda: status(node, after) == "active")
            node.settled()


def test_a_stopped_process_does_not_wait_for_a_silent_server(make_api, tmp_path, web):
    with scripted_peer(silent) as peer:
        node = Node(make_api(**{**options(tmp_path, web), **fetching(web, peer)}), tmp_path)
        with working(node):
            image = begin(node, peer.url())
            wait_for(lambda: peer.connections == 1)
        assert node.task(image)["status"] == "pending"


@pytest.mark.parametrize(
    "script", [silent, dripping(b"HTTP/1.1 200 OK\r\nX: "), dripping(b"", b"HTTP/1.1 100 Continue\r\n\r\n")],
    ids=["silence", "header", "1xx"],
)
def test_s22_an_import_from_a_server_that_does_not_answer_fails(make_api, tmp_path, web, script):
    with scripted_peer(script) as peer:
        changed = {**fetching(web, peer), "import_sources__answer_timeout": 0.5}
        node = Node(make_api(**{**options(tmp_path, web), **changed}), tmp_path)
        with working(node):
            image = begin(node, peer.url())
            task = node.finished(image)
            assert (task["status"], task["message"]) == ("failure", "the source does not answer")
            assert status(node, image) == "queued"


# Requests that register a location


def location(node: Node, way: str, image: str, url: str) -> Any:
    """Register a location in one of the three ways and return the answer."""
    caller = {"project": "own", "roles": "admin,member,reader"}
    match way:
        case "v1":
            return node.api.call("POST", "/v1/images", **caller, headers={
                "x-image-meta-name": "x", "x-image-meta-disk_format": "raw", "x-image-meta-container_format": "bare",
                "x-image-meta-location": url,
            })
        case "patch":
            return node.api.call(
                "PATCH", f"/v2/images/{image}", **caller,
                json=[{"op": "add", "path": "/locations/-", "value": {"url": url, "metadata": {}}}],
                headers={"Content-Type": "application/openstack-images-v2.1-json-patch"},
            )
        case _:
            return node.api.call("POST", f"/v2/images/{image}/locations", **caller, json={"url": url})


def registering(folder: Any, peer: Any, **changed: Any) -> dict[str, Any]:
    (folder / "fast").mkdir(exist_ok=True)
    return {
        **HOURS,
        "enabled_backends": "fast:file,web:http", "glance_store__default_backend": "fast",
        "fast__filesystem_store_datadir": folder / "fast",
        "web__http_read_timeout": 3600, "web__http_answer_timeout": 3600, "web__http_connect_timeout": 3600,
        "show_multiple_locations": True,
        "import_filtering_opts__allowed_hosts": "[127.0.0.1]",
        "import_filtering_opts__allowed_ports": f"[{peer.port}]",
        **changed,
    }


WAYS = ("v1", "patch", "location API")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "script", [silent, dripping(b"HTTP/1.1 200 OK\r\nX: "), dripping(b"", b"HTTP/1.1 100 Continue\r\n\r\n")],
    ids=["silence", "header", "1xx"],
)
def test_s22_s27_a_request_does_not_wait_for_ever(make_api, tmp_path, way, script):
    """The store would wait for hours; the request has half a second."""
    with scripted_peer(script) as peer:
        node = Node(make_api(**registering(tmp_path, peer, remote_check_timeout=0.5)), tmp_path)
        answer = location(node, way, node.create(), peer.url())
        assert answer.status_code == 400, answer.text
        assert "the store web finds no data that it may read there" in answer.text


@pytest.mark.parametrize("way", WAYS)
def test_s22_requests_that_wait_leave_threads_to_others(make_api, tmp_path, way):
    """Two of a project may wait; the third is sent away at once, and what asks no server is answered."""
    with scripted_peer(silent) as peer:
        changed = {"max_remote_checks": 4, "remote_check_timeout": 3600}
        node = Node(make_api(**registering(tmp_path, peer, **changed)), tmp_path)
        images = [node.create() for _ in range(3)]
        answers: list[Any] = []

        def register(image: str) -> None:
            answers.append(location(node, way, image, peer.url()))

        threads = [threading.Thread(target=register, args=(image,)) for image in images[:2]]
        for thread in threads:
            thread.start()
        wait_for(lambda: peer.connections == 2)
        refused = location(node, way, images[2], peer.url())
        assert refused.status_code == 503, refused.text
        assert int(refused.headers["Retry-After"]) > 0
        assert "max_remote_checks" in refused.text
        assert node.show(images[2])["status"] == "queued"
        peer.stop()
        for thread in threads:
            thread.join()
        assert [answer.status_code for answer in answers] == [400, 400]
        again = location(node, way, images[2], peer.url())
        assert again.status_code == 400, "the permits were not given back"


@pytest.mark.parametrize("way", ["import", "task", "copy_from"])
def test_s22_a_look_up_that_hangs_does_not_hold_the_request(make_api, tmp_path, web, way):
    changed = {**options(tmp_path, web), "remote_check_timeout": 0.5, "max_remote_checks": 1}
    node = Node(make_api(**{name: value for name, value in changed.items() if "filtering" not in name}), tmp_path)
    go_on, url = threading.Event(), "http://slow.example.org/x"

    def hang(host: str, port: int) -> list[str]:
        go_on.wait()
        return []

    node.api.services.url_filter._resolve = hang
    try:
        match way:
            case "import":
                answer = node.begin(node.create(), "web-download", 400, arguments={"uri": url})
            case "task":
                body = {"type": "import", "input": {
                    "import_from": url, "import_from_format": "raw", "image_properties": {},
                }}
                answer = node.call("POST", "/v2/tasks", 400, json=body)
            case _:
                answer = node.call("POST", "/v1/images", 400, headers={
                    "x-image-meta-name": "x", "x-image-meta-disk_format": "raw",
                    "x-image-meta-container_format": "bare", "x-glance-api-copy-from": url,
                })
    finally:
        go_on.set()
    assert "host slow.example.org has no address that may be contacted" in answer.text
    with node.api.services.remote_checks.permit(None):
        pass


@pytest.mark.parametrize("way", ["before it is active", "active already"])
def test_s22_i7_hashing_ends_with_the_delete_of_the_image(make_api, tmp_path, way):
    """The source would drip for ten minutes; it sees the connection end, and the worker is free."""
    size, ended = 1_000_000, threading.Event()

    def script(connection: Any) -> None:
        asked = connection.recv(65536)
        length = b"Content-Length: %d\r\nConnection: close\r\n" % size
        if b"\r\nrange:" in asked.lower():
            connection.sendall(b"HTTP/1.1 206 Part\r\nContent-Range: bytes 0-%d/%d\r\n" % (size - 1, size))
            connection.sendall(length + b"\r\n" + bytes(size))
            return
        connection.sendall(b"HTTP/1.1 200 OK\r\n" + length + b"\r\n")
        if asked.startswith(b"GET"):
            try:
                for _ in range(10 * 60 * 20):
                    threading.Event().wait(0.05)
                    connection.sendall(bytes(1))
            except OSError:
                ended.set()

    with scripted_peer(script) as peer:
        node = Node(make_api(**registering(tmp_path, peer, taskflow_executor__engine_mode="serial")), tmp_path)
        with working(node):
            image = node.create()
            validation = {"os_hash_algo": "sha512", "os_hash_value": "a" * 128}
            body = {"url": peer.url(), "validation_data": validation if way == "before it is active" else {}}
            node.call("POST", f"/v2/images/{image}/locations", 202, json=body)
            assert status(node, image) == ("importing" if way == "before it is active" else "active")
            wait_for(lambda: node.task(image)["status"] == "processing")
            wait_for(lambda: peer.connections == (2 if way == "before it is active" else 3))
            assert not ended.is_set()
            node.call("DELETE", f"/v2/images/{image}", 204)
            wait_for(ended.is_set)
            wait_for(lambda: node.pool._free.acquire(blocking=False))
            node.pool._free.release()
