"""Several stores as clients see them: what there is, one copy of many, which one is read (API sections 10.3, 14.1)."""

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa

from glance_registry.db.tables import locations as location_rows

RAW = {"disk_format": "raw", "container_format": "bare"}
DATA = b"\x01bytes"


@pytest.fixture
def make(make_api, tmp_path: Path):
    """Build an API with two file stores and one on the web."""
    for name in ("fast", "slow"):
        (tmp_path / name).mkdir()

    def build(**options: Any):
        return make_api(**{
            "enabled_backends": "fast:file,slow:file,web:http",
            "glance_store__default_backend": "fast",
            "fast__filesystem_store_datadir": tmp_path / "fast",
            "fast__store_description": "NVMe",
            "slow__filesystem_store_datadir": tmp_path / "slow",
            "slow__weight": 10,
            **options,
        })

    return build


@pytest.fixture
def several(make):
    """That API with the default of every other option."""
    return make()


@pytest.fixture
def two_copies(several, engine, tmp_path):
    """An image with equal data in both file stores."""
    image = several.create(**RAW)["id"]
    upload = {"data": DATA, "headers": {"Content-Type": "application/octet-stream"}}
    assert several.call("PUT", f"/v2/images/{image}/file", **upload).status_code == 204
    add_copy(engine, image, "slow")
    (tmp_path / "slow" / image).write_bytes(DATA)
    return image


def add_copy(engine: sa.Engine, image: str, store: str) -> None:
    row = {"id": str(uuid4()), "image_id": image, "store": store, "key": image, "status": "active", "size": len(DATA)}
    with engine.begin() as connection:
        connection.execute(sa.insert(location_rows).values(attempt=str(uuid4()), **row))


def test_the_stores_are_listed(several):
    assert several.call("GET", "/v2/info/stores").json == {"stores": [
        {"id": "fast", "description": "NVMe", "default": "true"}, {"id": "slow"}, {"id": "web", "read-only": "true"},
    ]}


def test_created_images_name_the_stores(several):
    response = several.call("POST", "/v2/images", json={})
    assert response.headers["OpenStack-image-store-ids"] == "fast,slow,web"


def test_s51_how_they_are_set_up_is_for_administrators_and_services(several, tmp_path):
    path = "/v2/info/stores/detail"
    assert several.call("GET", path).status_code == 403
    assert several.call("GET", path, roles="service").status_code == 200
    found = {store["id"]: store for store in several.call("GET", path, roles="admin").json["stores"]}
    assert found["fast"] == {
        "id": "fast", "description": "NVMe", "default": "true", "type": "file", "weight": 0,
        "properties": {"data_dir": str(tmp_path / "fast"), "chunk_size": 65536, "thin_provisioning": False},
    }
    assert (found["slow"]["weight"], found["web"]["properties"], found["web"]["type"]) == (10, {}, "http")


def test_with_a_single_store_there_is_nothing_to_choose(api):
    for method, path in (
        ("GET", "/v2/info/stores"), ("GET", "/v2/info/stores/detail"), ("DELETE", f"/v2/stores/file/{uuid4()}"),
    ):
        assert api.call(method, path, roles="admin").status_code == 404, path
    image = api.create(**RAW)["id"]
    upload = {"data": DATA, "headers": {"Content-Type": "application/octet-stream"}}
    assert api.call("PUT", f"/v2/images/{image}/file", **upload).status_code == 204
    assert api.call("GET", f"/v2/images/{image}/file?prefer=file").status_code == 400
    assert "stores" not in api.call("GET", f"/v2/images/{image}").json


def test_documents_name_the_stores_by_weight(several, two_copies):
    assert several.call("GET", f"/v2/images/{two_copies}").json["stores"] == "slow,fast"
    assert several.call("GET", "/v2/images").json["images"][0]["stores"] == "slow,fast"
    assert "stores" not in several.create()


def test_one_copy_is_deleted(several, two_copies, engine):
    assert several.call("DELETE", f"/v2/stores/slow/{two_copies}", roles="admin").status_code == 204
    shown = several.call("GET", f"/v2/images/{two_copies}").json
    assert (shown["status"], shown["stores"]) == ("active", "fast")
    with engine.connect() as connection:
        rows = connection.execute(sa.select(location_rows.c.store, location_rows.c.status))
        assert {tuple(row) for row in rows} == {("fast", "active"), ("slow", "deleting")}
    assert several.call("GET", f"/v2/images/{two_copies}/file").data == DATA


def test_the_checks_before_a_copy_is_deleted_and_their_order(several, two_copies, tmp_path):
    def delete(store: str, image: str, roles: str = "admin") -> int:
        return int(several.call("DELETE", f"/v2/stores/{store}/{image}", roles=roles).status_code)

    assert delete("absent", str(uuid4())) == 409
    assert delete("os_glance_staging_store", two_copies) == 409
    assert delete("slow", str(uuid4())) == 404
    assert delete("slow", two_copies, roles="member,reader") == 403
    queued = several.create()["id"]
    assert delete("slow", queued, roles="member,reader") == 403
    assert delete("slow", queued) == 409
    assert delete("web", two_copies) == 404
    assert delete("slow", two_copies) == 204
    # That it is the last one is told before whether it is there.
    assert delete("slow", two_copies) == 403
    assert delete("fast", two_copies) == 403
    assert (tmp_path / "fast" / two_copies).read_bytes() == DATA


def test_downloads_prefer_a_store(several, two_copies, tmp_path):
    """The copies differ here, so that one sees which was read. Parts are asked for: of a whole a damage is noticed."""
    (tmp_path / "slow" / two_copies).write_bytes(b"SLOWER")

    def read(query: str = "") -> bytes:
        response = several.call("GET", f"/v2/images/{two_copies}/file{query}", headers={"Range": "bytes=0-5"})
        assert response.status_code == 206, response.text
        return bytes(response.data)

    assert read() == b"SLOWER"
    assert read("?prefer=fast") == DATA
    assert read("?prefer=web,fast") == DATA
    (tmp_path / "fast" / two_copies).unlink()
    assert read("?prefer=fast") == b"SLOWER"
    for unknown in ("absent", "", "slow,", "os_glance_staging_store"):
        assert several.call("GET", f"/v2/images/{two_copies}/file?prefer={unknown}").status_code == 400


def test_preferring_needs_the_right_to_it(make, tmp_path):
    (tmp_path / "policy.yaml").write_text('"download_from_store": "!"\n')
    api = make(oslo_policy__policy_file=tmp_path / "policy.yaml")
    image = api.create(**RAW)["id"]
    upload = {"data": DATA, "headers": {"Content-Type": "application/octet-stream"}}
    assert api.call("PUT", f"/v2/images/{image}/file", **upload).status_code == 204
    assert api.call("GET", f"/v2/images/{image}/file").status_code == 200
    assert api.call("GET", f"/v2/images/{image}/file?prefer=fast").status_code == 403


def test_location_strategies(make, two_copies, engine):
    """The order of documents is the order of reading; a kind that is preferred beats the weight."""
    with engine.begin() as connection:
        connection.execute(sa.insert(location_rows).values(
            id=str(uuid4()), image_id=two_copies, store="web", key="http://mirror/x", status="active", size=len(DATA),
            attempt=str(uuid4()), external=True,
        ))
    by_kind = {"location_strategy": "store_type"}

    def order(**options: Any) -> str:
        return str(make(**options).call("GET", f"/v2/images/{two_copies}").json["stores"])

    assert order() == "slow,fast,web"
    assert order(slow__weight=0) == "fast,slow,web"
    assert order(**by_kind) == "slow,fast,web"
    for preference in ("http", "https, filesystem", "rbd, http"):
        options = {**by_kind, "store_type_location_strategy__store_type_preference": preference}
        assert order(**options) == "web,slow,fast"
    assert order(store_type_location_strategy__store_type_preference="http") == "slow,fast,web"
