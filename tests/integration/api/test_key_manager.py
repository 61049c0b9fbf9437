"""Signed uploads, and keys that end with their image: with a real registry and a key manager that speaks Barbican."""

import json
from collections.abc import Callable, Iterator

import pytest
from tests.integration.api.conftest import Api
from tests.servers.barbican import Barbican
from tests.support.signing import Signer

DATA = b"\x01the data that were signed" * 5000
TOKEN = {"X-Auth-Token": "token of own"}
KEY = "cinder_encryption_key_id"
POLICY = "cinder_encryption_key_deletion_policy"


@pytest.fixture
def barbican() -> Iterator[Barbican]:
    """A key manager without secrets."""
    server = Barbican()
    yield server
    server.close()


@pytest.fixture
def api(make_api: Callable[..., Api], barbican: Barbican) -> Api:
    """The API with that key manager."""
    return make_api(barbican__barbican_endpoint=barbican.url)


def signed(barbican: Barbican, signer: Signer, data: bytes = DATA) -> dict[str, str]:
    """Return the properties of an image with these data, whose certificate ``own`` may read."""
    return signer.properties(data, barbican.add(signer.certificate(), TOKEN["X-Auth-Token"]))


def upload(api: Api, properties: dict[str, str], data: bytes = DATA, **headers: str) -> tuple[str, int, str]:
    """Create an image with properties and upload: its id, the status and the text of the answer."""
    image = api.create(disk_format="raw", container_format="bare", **properties)["id"]
    kind = {"Content-Type": "application/octet-stream"}
    answer = api.call("PUT", f"/v2/images/{image}/file", data=data, headers={**kind, **TOKEN, **headers})
    return image, answer.status_code, answer.text


def show(api: Api, image: str) -> dict:
    shown: dict = api.call("GET", f"/v2/images/{image}").get_json()
    return shown


@pytest.mark.parametrize("key_type", ["RSA-PSS", "DSA", "ECC_SECP384R1"])
def test_img_34_data_that_were_signed_become_active(api: Api, barbican: Barbican, key_type: str):
    image, status, text = upload(api, signed(barbican, Signer(key_type)))
    assert status == 204, text
    assert show(api, image)["status"] == "active"
    assert [method for method, _ in barbican.calls] == ["GET", "GET"]


def test_s29_a_mismatch_is_400_and_nothing_stays(api: Api, barbican: Barbican, tmp_path):
    properties = signed(barbican, Signer())
    image, status, text = upload(api, properties, DATA[:-1] + b"!")
    assert status == 400
    assert "not those that were signed" in text
    after = show(api, image)
    assert (after["status"], after["checksum"], after["size"]) == ("queued", None, None)
    assert not [path for path in (tmp_path / "images").rglob("*") if path.is_file() and image in path.name]
    # The image is not spoiled: the right data are taken.
    kind = {"Content-Type": "application/octet-stream", **TOKEN}
    assert api.call("PUT", f"/v2/images/{image}/file", data=DATA, headers=kind).status_code == 204


def test_three_properties_of_four_ask_for_nothing(api: Api, barbican: Barbican):
    properties = signed(barbican, Signer())
    del properties["img_signature_hash_method"]
    _, status, text = upload(api, properties, b"\x01other data")
    assert status == 204, text
    assert barbican.calls == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"img_signature_hash_method": "MD5"}, "img_signature_hash_method must be one of"),
        ({"img_signature_hash_method": "SHA-1"}, "img_signature_hash_method must be one of"),
        ({"img_signature_key_type": "RSA-PKCS"}, "img_signature_key_type must be one of"),
        ({"img_signature_certificate_uuid": "00000000-0000-4000-8000-000000000000"}, "404"),
    ],
)
def test_what_cannot_be_verified_is_400_and_the_image_stays_queued(
    api: Api, barbican: Barbican, change: dict[str, str], expected: str
):
    image, status, text = upload(api, {**signed(barbican, Signer()), **change})
    assert status == 400
    assert expected in text
    assert show(api, image)["status"] == "queued"


def test_a_certificate_that_the_caller_may_not_read_is_none(api: Api, barbican: Barbican):
    image, status, text = upload(api, signed(barbican, Signer()), DATA, **{"X-Auth-Token": "another user"})
    assert (status, show(api, image)["status"]) == (400, "queued")
    assert "another user" not in text


def test_a_secret_that_is_no_certificate_is_none(api: Api, barbican: Barbican):
    """Nova, which verifies the data when it starts a server, refuses it as well."""
    signer = Signer()
    secret = barbican.add(signer.certificate(), TOKEN["X-Auth-Token"], kind="opaque")
    image, status, text = upload(api, signer.properties(DATA, secret))
    assert (status, show(api, image)["status"]) == (400, "queued")
    assert "is no certificate" in text


def test_a_key_manager_that_is_down_is_503_and_is_not_named(api: Api, barbican: Barbican, make_api):
    barbican.broken = True
    image, status, text = upload(api, signed(barbican, Signer()))
    assert (status, show(api, image)["status"]) == (503, "queued")
    away = make_api(barbican__barbican_endpoint="http://127.0.0.1:1")
    image, status, text = upload(away, signed(barbican, Signer()))
    assert (status, show(away, image)["status"]) == (503, "queued")
    assert "127.0.0.1" not in text


def test_the_service_catalog_says_where_the_key_manager_is(make_api: Callable[..., Api], barbican: Barbican):
    api = make_api(barbican__barbican_endpoint_type="internal", barbican__barbican_region_name="two")
    endpoints = [
        {"region": "one", "internalURL": "http://127.0.0.1:1"},
        {"region": "two", "publicURL": "http://127.0.0.1:1", "internalURL": f"{barbican.url}/v1/"},
    ]
    catalog = json.dumps([{"type": "image", "endpoints": []}, {"type": "key-manager", "endpoints": endpoints}])
    _, status, text = upload(api, signed(barbican, Signer()), DATA, **{"X-Service-Catalog": catalog})
    assert status == 204, text
    _image, status, text = upload(api, signed(barbican, Signer()))
    assert status == 503
    assert "barbican_endpoint is unset" in text


def delete(api: Api, image: str, **caller: str) -> int:
    return api.call("DELETE", f"/v2/images/{image}", headers=TOKEN, **caller).status_code


def test_img_35_the_encryption_key_goes_with_the_image(api: Api, barbican: Barbican):
    key = barbican.add(b"key", TOKEN["X-Auth-Token"])
    image = api.create(**{KEY: key, POLICY: "on_image_deletion"})["id"]
    assert delete(api, image) == 204
    assert key not in barbican.secrets


@pytest.mark.parametrize("policy", ["do_not_delete", None])
def test_s77_without_the_policy_the_key_stays(api: Api, barbican: Barbican, policy: str | None):
    key = barbican.add(b"key", TOKEN["X-Auth-Token"])
    image = api.create(**{KEY: key, **({POLICY: policy} if policy else {})})["id"]
    assert delete(api, image) == 204
    assert barbican.calls == []


def test_s77_an_administrators_rights_are_not_lent_to_another_projects_image(api: Api, barbican: Barbican):
    key = barbican.add(b"the administrator's", TOKEN["X-Auth-Token"])
    image = api.create(**{KEY: key, POLICY: "on_image_deletion"})["id"]
    assert delete(api, image, project="admins", roles="admin") == 204
    assert key in barbican.secrets


@pytest.mark.parametrize("trouble", ["broken", "foreign", "no uuid", "gone"])
def test_s77_a_failure_is_logged_and_blocks_nothing(api: Api, barbican: Barbican, trouble: str, caplog):
    key = barbican.add(b"key", "another user" if trouble == "foreign" else TOKEN["X-Auth-Token"])
    barbican.broken = trouble == "broken"
    named = {"no uuid": f"../secrets/{key}", "gone": "00000000-0000-4000-8000-000000000000"}.get(trouble, key)
    image = api.create(**{KEY: named, POLICY: "on_image_deletion"})["id"]
    assert delete(api, image) == 204
    assert api.call("GET", f"/v2/images/{image}").status_code == 404
    assert key in barbican.secrets
    assert f"the encryption key of image {image} could not be deleted" in caplog.text
    assert TOKEN["X-Auth-Token"] not in caplog.text
