"""Data of an image as clients get them, whole, in part, or none (API sections 10.1 and 10.3)."""

import hashlib
import logging
import time

import pytest

from glance_common.observability.metrics.catalog import STORE_BYTES

OCTETS = {"Content-Type": "application/octet-stream"}
RAW = {"disk_format": "raw", "container_format": "bare"}
DATA = b"\x01" + bytes(range(100)) * 3


@pytest.fixture
def path(api):
    """Where the data of an active image are."""
    found = f"/v2/images/{api.create(**RAW)['id']}/file"
    assert api.call("PUT", found, data=DATA, headers=OCTETS).status_code == 204
    return found


def test_dat02_whole(api, path):
    answer = api.call("GET", path)
    assert (answer.status_code, answer.data) == (200, DATA)
    assert answer.headers["Content-Length"] == str(len(DATA))
    assert answer.headers["Content-MD5"] == hashlib.md5(DATA).hexdigest()
    assert answer.headers["Content-Type"] == "application/octet-stream"


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("Range", "bytes=10-19"), ("Content-Range", f"bytes 10-19/{len(DATA)}"), ("Content-Range", "bytes 10-19/*"),
    ],
)
def test_dat03_in_part(api, path, header, value):
    answer = api.call("GET", path, headers={header: value})
    assert (answer.status_code, answer.data) == (206, DATA[10:20])
    assert answer.headers["Content-Range"] == f"bytes 10-19/{len(DATA)}"
    assert answer.headers["Content-Length"] == "10"
    assert answer.headers["Content-MD5"] == hashlib.md5(DATA).hexdigest(), "of the whole image"


@pytest.mark.parametrize(
    ("header", "value"), [("Range", "bytes=301-"), ("Content-Range", "bytes 0-301/*"), ("Content-Range", "bytes 0-1/5")]
)
def test_dat03_parts_that_are_none(api, path, header, value):
    assert len(DATA) == 301
    answer = api.call("GET", path, headers={header: value})
    assert (answer.status_code, answer.headers["Content-Range"]) == (416, f"bytes */{len(DATA)}")


@pytest.mark.parametrize(
    "kind", ["Application/Octet-Stream", "application/octet-stream; charset=binary", "APPLICATION/OCTET-STREAM ;x"]
)
def test_a_media_type_has_no_case_and_may_have_parameters(api, kind):
    image = f"/v2/images/{api.create(**RAW)['id']}/file"
    assert api.call("PUT", image, data=DATA, headers={"Content-Type": f"x-{kind}"}).status_code == 415
    assert api.call("PUT", image, data=DATA, headers={"Content-Type": kind}).status_code == 204
    headers = {"Content-Type": kind, **{f"x-image-meta-{name}": value for name, value in RAW.items()}}
    assert api.call("POST", "/v1/images", data=DATA, headers=headers).json["image"]["status"] == "active"


def test_dat04_none(api):
    answer = api.call("GET", f"/v2/images/{api.create(**RAW)['id']}/file")
    assert (answer.status_code, answer.data) == (204, b"")


def test_dat06_the_header_chooses_the_store(make_api, tmp_path):
    folders = [tmp_path / name for name in ("fast", "slow")]
    for folder in folders:
        folder.mkdir()
    api = make_api(
        enabled_backends="fast:file,slow:file", glance_store__default_backend="fast",
        fast__filesystem_store_datadir=folders[0], slow__filesystem_store_datadir=folders[1],
    )
    for headers, store in (({}, "fast"), ({"X-Image-Meta-Store": "slow"}, "slow")):
        image = api.create(**RAW)["id"]
        assert api.call("PUT", f"/v2/images/{image}/file", data=DATA, headers=OCTETS | headers).status_code == 204
        assert api.call("GET", f"/v2/images/{image}").json["stores"] == store
        assert (tmp_path / store / image).read_bytes() == DATA


def test_data_are_handed_to_a_proxy_after_all_questions_and_counted(make_api, tmp_path, caplog):
    api = make_api(x_accel_redirect=f"{tmp_path}/images:/_images")
    image = api.create(**RAW)["id"]
    path, asked = f"/v2/images/{image}/file", {"X-Sendfile-Type": "X-Accel-Redirect"}
    assert api.call("GET", path, headers=asked).status_code == 204
    assert api.call("PUT", path, data=DATA, headers=OCTETS).status_code == 204
    counter = STORE_BYTES.labels("file", "out")
    caplog.set_level(logging.INFO, "glance_api.access")
    for part, status, count in (({}, 200, len(DATA)), ({"Range": "bytes=10-19"}, 206, 10)):
        before = counter._value.get()
        answer = api.call("GET", path, headers=asked | part)
        assert (answer.status_code, answer.data) == (status, b"")
        assert answer.headers["X-Accel-Redirect"] == f"/_images/{image}"
        assert answer.headers["Content-MD5"] == hashlib.md5(DATA).hexdigest()
        assert counter._value.get() - before == count
        assert vars(caplog.records[-1])["bytes_out"] == count
    assert api.call("GET", path).data == DATA, "nobody asked for it"
    assert api.call("GET", f"/v1/images/{image}", headers=asked).data == DATA, "v1 has headers that no proxy knows"
    assert api.call("GET", path, headers=asked, project="stranger").status_code == 404
    assert api.call("POST", f"/v2/images/{image}/actions/deactivate", roles="admin").status_code == 204
    assert api.call("GET", path, headers=asked).status_code == 403
    (tmp_path / "images" / image).unlink()
    assert api.call("GET", path, headers=asked, roles="admin").status_code == 503


@pytest.mark.parametrize("header", ["Range", "Content-Range"])
def test_s59_a_range_made_to_take_minutes_is_answered_at_once(api, path, header):
    value = "bytes=" + " " * 5_000 + "-" + " " * 5_000 + "x"
    before = time.process_time()
    answer = api.call("GET", path, headers={header: value})
    assert (answer.status_code, answer.headers["Content-Range"]) == (416, f"bytes */{len(DATA)}")
    assert time.process_time() - before < 5
