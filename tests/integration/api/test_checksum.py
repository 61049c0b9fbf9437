"""``compute_checksum = false``: MD5 is left out where nobody knows one, and compared where somebody does."""

from hashlib import md5, sha256
from typing import Any

import pytest
from tests.integration.api.imports_kit import OCTETS, Node, options, working
from tests.servers.web import web_server

DATA = b"\x01some data of an image"
WITHOUT = {"compute_checksum": "false", "hashing_algorithm": "sha256"}
V1 = {"x-image-meta-name": "one", "x-image-meta-disk_format": "raw", "x-image-meta-container_format": "bare"}


@pytest.fixture
def web():
    """A web server without pages."""
    with web_server() as server:
        yield server


@pytest.fixture
def make_node(make_api, tmp_path, web):
    """A function that makes a node with some options changed; all of them share registry and stores."""
    return lambda **changed: Node(make_api(**{**options(tmp_path, web), **changed}), tmp_path)


def uploaded(node: Node) -> str:
    """Return an image with data."""
    image = node.create()
    node.call("PUT", f"/v2/images/{image}/file", 204, data=DATA, headers=OCTETS)
    return image


def digests(node: Node, image: str) -> tuple[Any, ...]:
    """Return what the image's document says of its data."""
    shown = node.show(image)
    return shown["checksum"], shown["os_hash_algo"], shown["os_hash_value"]


def test_img31_img32_an_image_without_checksum_is_whole_otherwise(make_node):
    known = (None, "sha256", sha256(DATA).hexdigest())
    with working(make_node(**WITHOUT)) as node:
        image = uploaded(node)
        assert digests(node, image) == known
        answer = node.call("GET", f"/v2/images/{image}/file", 200)
        assert (answer.data, "Content-MD5" in answer.headers) == (DATA, False)
        old = node.call("HEAD", f"/v1/images/{image}", 200).headers
        assert not {"ETag", "X-Image-Meta-Checksum"} & set(old)
        node.begin(image, "copy-image", stores=["slow"])
        assert node.finished(image)["status"] == "success"
        assert digests(node, image) == known
        imported = node.create()
        node.stage(imported, DATA)
        node.begin(imported, "glance-direct", all_stores=True)
        assert node.finished(imported)["status"] == "success"
        assert digests(node, imported) == known


def test_s71_a_damaged_copy_shows_by_the_other_digest(make_node):
    with working(make_node(**WITHOUT)) as node:
        image = uploaded(node)
        (node.folder / "fast" / image).write_bytes(bytes(len(DATA)))
        node.begin(image, "copy-image", stores=["slow"])
        assert node.finished(image)["status"] == "failure"
        assert node.files("slow") == []


@pytest.mark.parametrize(("before", "after"), [({}, WITHOUT), (WITHOUT, {})])
def test_the_option_may_change_between_the_data_and_their_copy(make_node, before, after):
    first = make_node(**before)
    image = uploaded(first)
    known = digests(first, image)
    with working(make_node(**after)) as second:
        second.begin(image, "copy-image", stores=["slow"])
        assert second.finished(image)["status"] == "success"
        assert digests(second, image) == known
        assert second.show(image)["stores"] == "fast,slow"


def test_v1_14_a_checksum_that_a_client_tells_is_compared_and_kept(make_node):
    node = make_node(**WITHOUT)
    headers = {**V1, **OCTETS, "x-image-meta-checksum": "0" * 32}
    refused = node.call("POST", "/v1/images", 400, data=DATA, headers=headers)
    assert "checksum" in refused.text
    right = md5(DATA).hexdigest()
    headers["x-image-meta-checksum"] = right
    made = node.call("POST", "/v1/images", 201, data=DATA, headers=headers).json["image"]
    assert made["checksum"] == right
    assert digests(node, made["id"])[0] == right
