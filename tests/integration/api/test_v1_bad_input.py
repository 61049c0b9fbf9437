"""What v1 clients should not send in headers: a precise 4xx that names the header, and no image (S-54 to S-59)."""

from typing import Any

import pytest
from tests.servers.web import Page

from glance_api.v1 import headers

RAW = {"x-image-meta-name": "one", "x-image-meta-disk_format": "raw", "x-image-meta-container_format": "bare"}
ADMIN = "admin,member,reader"
NUMBERS = ("-1", "+1", "1.0", "1e3", "0x10", "1_000", "NaN", "Infinity", "None ", "%D9%A0", "%C2%B2", "9" * 5_000, "--",
           str(2**63))
VALUES = ("%00", "%0d%0aX-Injected:%20yes", "\xff", "caf\xe9", "%ff", "%ed%a0%80", "%c0%af", "\x7f", "x" * 70_000,
          "../../etc/passwd", "'; DROP TABLE images; --", "%s{0}{x.__class__}", "[]", "{}", "None", "%", "%zz",
          *NUMBERS)
NOT_TEXT = ("%00", "%0d%0aX-Injected:%20yes", "\xff", "caf\xe9", "%ff", "%ed%a0%80", "%c0%af", "\x7f")


def send(api: Any, method: str, path: str, expected: int | None = None, **more: str) -> Any:
    """Make a call with these headers beside those of a good image; ``_`` of the names stays."""
    answer = api.call(method, path, headers={**RAW, "Accept": "application/json", **more}, roles=ADMIN)
    assert answer.status_code == expected if expected else answer.status_code < 500, (more, answer.text)
    assert "X-Injected" not in answer.headers, more
    for trace in ("Traceback", "glance_api", "secret"):
        assert trace not in answer.text, more
    return answer


def count(api: Any) -> int:
    """Return how many images there are."""
    return len(api.call("GET", "/v1/images?is_public=none", roles=ADMIN).json["images"])


@pytest.fixture
def image(api: Any) -> str:
    """A queued image, whose changes are refused."""
    return str(api.create(disk_format="raw", container_format="bare", p="kept")["id"])


def test_s54_s58_no_value_of_a_header_is_a_defect(api, image):
    paths = (("POST", "/v1/images"), ("PUT", f"/v1/images/{image}"))
    names = [f"x-image-meta-{name}" for name in (*headers.READERS, "property-p", "nonsense")]
    names += ["x-glance-api-copy-from", "x-glance-registry-purge-props", "content-length"]
    for method, path in paths:
        for name in names:
            for value in VALUES:
                answer = send(api, method, path, **{name: value})
                is_read = name.startswith("x-image-meta-") and name != "x-image-meta-nonsense"
                if value in NOT_TEXT and is_read:
                    assert answer.status_code == 400, (name, value)
                    assert name in answer.json["message"]


@pytest.mark.parametrize("name", ["size", "virtual_size", "min_ram", "min_disk"])
def test_s56_numbers_that_are_none(api, image, name):
    before = count(api)
    for value in NUMBERS:
        for method, path in (("POST", "/v1/images"), ("PUT", f"/v1/images/{image}")):
            refused = send(api, method, path, 400, **{f"x-image-meta-{name}": value})
            assert name in refused.json["message"]
            assert len(refused.json["message"]) < 300
    assert count(api) == before


def test_s59_names_and_values_that_are_too_long(api, image):
    for method, path in (("POST", "/v1/images"), ("PUT", f"/v1/images/{image}")):
        for name in ("name", "owner", "disk_format", "container_format", "store", "status"):
            refused = send(api, method, path, 400, **{f"x-image-meta-{name}": "x" * 256})
            assert name in refused.json["message"]
        send(api, method, path, 400, **{"x-image-meta-property-p": "x" * 65_537})
        send(api, method, path, 400, **{f"x-image-meta-property-{'n' * 256}": "v"})
        send(api, method, path, 400, **{"x-image-meta-property-": "v"})
    shown = api.call("GET", f"/v2/images/{image}").json
    assert (shown["name"], shown["p"]) == (None, "kept")


def test_s58_a_name_that_is_no_text(api):
    """Servers refuse such a name; one that does not must not put it into the database as something else."""
    name = "HTTP_X_IMAGE_META_PROPERTY_CAF\xc9"
    answer = api.call("POST", "/v1/images", headers=RAW, environ_overrides={name: "v"})
    assert answer.status_code == 400
    assert count(api) == 0


LOOPBACK = ("http://127.0.0.1/x", "http://localhost/x", "http://[::1]/x", "http://2130706433/x", "http://0x7f.1/x",
            "http://[::ffff:127.0.0.1]/x", "http://127.0.0.1:9292/v1/images", "http://0.0.0.0/x")


def test_s22_s27_nothing_is_copied_from_loopback_or_with_credentials(make_api):
    api = make_api(enabled_import_methods="[web-download]")
    for url in (*LOOPBACK, "http://user:secret@example.org/x", "ftp://user:secret@example.org/x"):
        send(api, "POST", "/v1/images", 400, **{"x-glance-api-copy-from": url})
    assert count(api) == 0


def test_s09_no_location_on_loopback_or_in_files(make_api):
    api = make_api(glance_store__stores="file,http")
    for url in (*LOOPBACK, "file:///etc/passwd", "file://user:secret@127.0.0.1/etc/passwd", "ftp://user:secret@h/x"):
        send(api, "POST", "/v1/images", 400, **{"x-image-meta-location": url})
    assert count(api) == 0


def test_s02_credentials_of_a_location_are_never_shown(make_api, web, caplog):
    web.pages["/there"] = Page(b"data")
    hosts = {"allowed_hosts": "[127.0.0.1]", "allowed_ports": f"[{web.port}]"}
    api = make_api(
        glance_store__stores="file,http", show_multiple_locations=True, show_image_direct_url=True,
        **{f"import_filtering_opts__{name}": value for name, value in hosts.items()},
    )
    for path, expected in (("/there", 201), ("/missing", 400)):
        url = web.url(path).replace("//", "//user:secret@")
        public = {"x-image-meta-location": url, "x-image-meta-is_public": "True"}
        answers = [send(api, "POST", "/v1/images", expected, **public)]
    image = api.call("GET", "/v1/images").json["images"][0]["id"]
    paths = ("/v1/images/detail", f"/v1/images/{image}", f"/v2/images/{image}")
    for caller in ({}, {"project": "stranger"}, {"roles": ADMIN}):
        answers += [api.call("GET", path, **caller) for path in paths]
        answers.append(api.call("HEAD", f"/v1/images/{image}", **caller))
    for answer in answers:
        assert answer.status_code in (200, 400)
        assert "secret" not in answer.text
        assert "secret" not in str(answer.headers)
        assert "x-image-meta-location" not in str(answer.headers).lower()
    assert "secret" not in caplog.text
