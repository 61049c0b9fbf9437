"""Each field by which a list can be filtered finds the image that has the value and no other (API section 6.2)."""

import hashlib
import subprocess

import pytest

OCTETS = {"Content-Type": "application/octet-stream"}
QCOW2 = {"disk_format": "qcow2", "container_format": "aki"}
RAW = {"disk_format": "raw", "container_format": "bare"}


@pytest.fixture(scope="module")
def qcow2(tmp_path_factory):
    path = tmp_path_factory.mktemp("disks") / "zeros.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(path), "1M"], check=True)
    return path.read_bytes()


@pytest.fixture
def images(make_api, qcow2):
    """The API; image ``disk`` with data, ``other`` with other data, ``empty`` without."""
    api = make_api(hashing_algorithm="sha256")
    for name, data, fields in (
        ("disk", qcow2, QCOW2 | {"min_disk": 7, "min_ram": 9, "os_hidden": False}), ("other", b"\x01other", RAW),
    ):
        image = api.create(name=name, **fields)["id"]
        assert api.call("PUT", f"/v2/images/{image}/file", data=data, headers=OCTETS).status_code == 204
    api.create(name="empty", visibility="private")
    return api


def test_img13_img33_every_field_finds_its_image(images, qcow2):
    (disk,) = images.call("GET", "/v2/images?name=disk").json["images"]
    assert (disk["checksum"], disk["os_hash_algo"], disk["os_hash_value"]) == (
        hashlib.md5(qcow2).hexdigest(), "sha256", hashlib.sha256(qcow2).hexdigest(),
    )
    assert (disk["size"], disk["virtual_size"]) == (len(qcow2), 2**20), "read from the header of the disk"
    for field in (
        "id", "checksum", "os_hash_value", "size", "virtual_size", "min_disk", "min_ram", "disk_format",
        "container_format",
    ):
        assert images.names(f"{field}={disk[field]}") == ["disk"], field
    assert images.names("owner=own&sort=name:asc") == ["disk", "empty", "other"]
    assert images.names("os_hash_algo=sha256&sort=name:asc") == ["disk", "other"]
    for field in ("checksum", "os_hash_value"):
        assert images.names(f"{field}={disk[field][::-1]}") == []


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("status=active", ["disk", "other"]), ("status=in:queued,saving", ["empty"]),
        ("container_format=in:aki,ova", ["disk"]), ("disk_format=in:raw,qcow2", ["disk", "other"]),
        ("size_min=7", ["disk"]), ("size_max=7", ["other"]), ("size_min=6&size_max=6", ["other"]),
        ("visibility=private", ["empty"]), ("visibility=shared", ["disk", "other"]), ("visibility=public", []),
    ],
)
def test_img06_img07_img11_lists_and_ranges(images, query, names):
    assert images.names(f"{query}&sort=name:asc") == names


@pytest.mark.parametrize("field", ["created_at", "updated_at"])
def test_img08_times_are_compared(images, engine, field):
    fields = {"created_at", field}  # nothing was changed before it was created
    with engine.begin() as connection:
        for name, day in (("disk", 1), ("empty", 2), ("other", 3)):
            times = ", ".join(f"{each} = '2020-01-0{day}T00:00:00Z'" for each in fields)
            connection.exec_driver_sql(f"UPDATE images SET {times} WHERE name = '{name}'")
    for operator, names in (
        ("gt", ["other"]), ("gte", ["empty", "other"]), ("lt", ["disk"]), ("lte", ["disk", "empty"]),
        ("eq", ["empty"]), ("neq", ["disk", "other"]),
    ):
        assert images.names(f"{field}={operator}:2020-01-02T00:00:00Z&sort=name:asc") == names, operator
