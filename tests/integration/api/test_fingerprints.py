"""Downloads are verified by the fingerprint of the copy, by os_hash_value where there is none, and never shown it."""

import pytest
import sqlalchemy as sa
import xxhash
from tests.integration.api.imports_kit import OCTETS, Node, options, working
from tests.servers.web import web_server

from glance_api.content.streams import DamagedData

DATA = bytes(range(256)) * 9000
DAMAGED = DATA[:-1] + b"\0"


@pytest.fixture
def node(make_api, tmp_path):
    """A node with two stores."""
    with web_server() as web:
        yield Node(make_api(**options(tmp_path, web)), tmp_path)


def fingerprints(engine: sa.Engine, image: str) -> list[str | None]:
    """Return those of the image's copies."""
    with engine.connect() as connection:
        select = sa.text("SELECT fingerprint FROM locations WHERE image_id = :image ORDER BY position")
        return list(connection.scalars(select, {"image": image}))


def set_fingerprint(engine: sa.Engine, image: str, value: str | None) -> None:
    """Change those of all copies of the image."""
    with engine.begin() as connection:
        update = sa.text("UPDATE locations SET fingerprint = :value WHERE image_id = :image")
        connection.execute(update, {"value": value, "image": image})


def uploaded(node: Node) -> str:
    """Return an image with the data."""
    image = node.create()
    node.call("PUT", f"/v2/images/{image}/file", 204, data=DATA, headers=OCTETS)
    return image


def test_every_copy_that_the_service_writes_has_one(node: Node, engine: sa.Engine):
    known = f"xxh3-128:{xxhash.xxh3_128_hexdigest(DATA)}"
    with working(node):
        image = uploaded(node)
        assert fingerprints(engine, image) == [known]
        node.begin(image, "copy-image", stores=["slow"])
        assert node.finished(image)["status"] == "success"
        assert fingerprints(engine, image) == [known, known]
        imported = node.create()
        node.stage(imported, DATA)
        node.begin(imported, "glance-direct", stores=["fast"])
        assert node.finished(imported)["status"] == "success"
        assert known in fingerprints(engine, imported)
    assert "fingerprint" not in node.call("GET", f"/v2/images/{image}", 200).text


@pytest.mark.parametrize("known", ["own", None, "sha3-unheard-of:00"])
def test_s69_a_damaged_copy_never_reaches_its_announced_length(node: Node, engine: sa.Engine, known: str | None):
    image = uploaded(node)
    if known != "own":
        set_fingerprint(engine, image, known)
    assert node.call("GET", f"/v2/images/{image}/file", 200).data == DATA
    (node.folder / "fast" / image).write_bytes(DAMAGED)
    with pytest.raises(DamagedData, match="xxh3-128" if known == "own" else "sha512"):
        node.call("GET", f"/v2/images/{image}/file", 200)


def test_the_fingerprint_is_what_decides_where_there_is_one(node: Node, engine: sa.Engine):
    image = uploaded(node)
    set_fingerprint(engine, image, f"xxh3-128:{xxhash.xxh3_128_hexdigest(DAMAGED)}")
    with pytest.raises(DamagedData):
        node.call("GET", f"/v2/images/{image}/file", 200)


def states(engine: sa.Engine, image: str) -> dict[str, str]:
    """Return the status of the image's copies, by store."""
    with engine.connect() as connection:
        select = sa.text("SELECT store, status FROM locations WHERE image_id = :image ORDER BY position")
        return {row.store: row.status for row in connection.execute(select, {"image": image})}


def test_a_copy_that_a_download_finds_damaged_is_never_served_again(node: Node, engine: sa.Engine):
    with working(node):
        image = uploaded(node)
        node.begin(image, "copy-image", stores=["slow"])
        assert node.finished(image)["status"] == "success"
    (node.folder / "fast" / image).write_bytes(DAMAGED)
    with pytest.raises(DamagedData):
        node.call("GET", f"/v2/images/{image}/file", 200)
    assert states(engine, image) == {"fast": "quarantined", "slow": "active"}
    assert node.call("GET", f"/v2/images/{image}/file", 200).data == DATA
    (node.folder / "slow" / image).write_bytes(DAMAGED)
    with pytest.raises(DamagedData):
        node.call("GET", f"/v2/images/{image}/file", 200)
    assert states(engine, image) == {"fast": "quarantined", "slow": "quarantined"}
    assert "no store holds the data" in node.call("GET", f"/v2/images/{image}/file", 503).text
    assert node.call("GET", f"/v2/images/{image}", 200).get_json()["status"] == "active"
    node.call("DELETE", f"/v2/images/{image}", 204)


def test_a_damaged_source_of_a_copy_goes_out_of_use(node: Node, engine: sa.Engine):
    with working(node):
        image = uploaded(node)
        (node.folder / "fast" / image).write_bytes(DAMAGED)
        node.begin(image, "copy-image", stores=["slow"])
        assert node.finished(image)["status"] == "failure"
    assert states(engine, image)["fast"] == "quarantined"
    assert not (node.folder / "slow" / image).exists()


@pytest.mark.parametrize(("mode", "is_found"), [("remote", True), ("always", True), ("never", False)])
def test_downloads_are_verified_as_the_option_says(make_api, engine: sa.Engine, tmp_path, mode: str, is_found: bool):
    with web_server() as web:
        node = Node(make_api(**{**options(tmp_path, web), "verify_downloads": mode}), tmp_path)
        image = uploaded(node)
        (node.folder / "fast" / image).write_bytes(DAMAGED)
        # Without a server that sends files by the kernel, the data of a local file pass through the service.
        if is_found:
            with pytest.raises(DamagedData):
                node.call("GET", f"/v2/images/{image}/file", 200)
        else:
            assert node.call("GET", f"/v2/images/{image}/file", 200).data == DAMAGED
        assert states(engine, image) == {"fast": "quarantined" if is_found else "active"}
