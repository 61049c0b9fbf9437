"""Rules of security advisories that v1 shares with v2: its own views and translation keep them too."""

from typing import Any

import pytest

OCTETS = {"Content-Type": "application/octet-stream"}
RAW = {"x-image-meta-name": "one", "x-image-meta-disk_format": "raw", "x-image-meta-container_format": "bare"}
ADMIN = "admin,member,reader"
DATA = b"\x01some data of an image"
MISSING = "99999999-9999-4999-8999-999999999999"


def create(api: Any, data: bytes | None = None, expected: int = 201, project: str = "own", **more: str) -> str:
    """Create an image with these headers; return its id, or what was said of it."""
    headers = {**RAW, **(OCTETS if data is not None else {}), **more}
    answer = api.call("POST", "/v1/images", data=data, headers=headers, project=project)
    assert answer.status_code == expected, answer.text
    return str(answer.json["image"]["id"] if expected == 201 else answer.text)


def status(api: Any, image: str) -> str:
    """Return the status of an image."""
    return str(api.call("HEAD", f"/v1/images/{image}", roles=ADMIN).headers["x-image-meta-status"])


def listed(api: Any, query: str = "", **caller: Any) -> list[str]:
    """Return the ids in both lists, which hold the same images."""
    pages = [api.call("GET", f"/v1/{path}?{query}", **caller).json["images"] for path in ("images", "images/detail")]
    brief, detailed = ([image["id"] for image in page] for page in pages)
    assert brief == detailed
    return brief


@pytest.mark.parametrize("delayed", [True, False])
def test_s01_s72_a_deactivated_image_goes_with_its_data(make_api, delayed):
    api = make_api(delayed_delete=delayed)
    image = create(api, DATA)
    assert api.call("POST", f"/v2/images/{image}/actions/deactivate").status_code == 204
    assert api.call("DELETE", f"/v1/images/{image}", project="stranger").status_code == 404
    assert status(api, image) == "deactivated"
    assert api.call("DELETE", f"/v1/images/{image}").status_code == 200
    assert status(api, image) == ("pending_delete" if delayed else "deleted")


def test_s05_who_may_not_download_gets_no_byte(make_api, tmp_path):
    policy = tmp_path / "policy.yaml"
    policy.write_text('"download_image": "role:admin"\n')
    api = make_api(oslo_policy__policy_file=policy)
    image = create(api, DATA)
    assert api.call("GET", f"/v1/images/{image}").status_code == 403
    assert api.call("HEAD", f"/v1/images/{image}").status_code == 200
    assert api.call("GET", f"/v1/images/{image}", roles=ADMIN).data == DATA


def test_s14_s21_s35_s36_unsafe_data_kill(api, tmp_path):
    with_backing_file = b"QFI\xfb" + (3).to_bytes(4, "big") + (104).to_bytes(8, "big") + (11).to_bytes(4, "big")
    with_backing_file += bytes(4 + 4 + 8 + 4 + 4 + 8 + 8 + 4 + 4 + 8 + 8 + 8 + 8) + b"/etc/passwd" + bytes(65_536)
    for number, declared in enumerate(("raw", "qcow2", "iso")):
        image = f"0000000{number}-1111-4111-8111-111111111111"
        said = create(api, with_backing_file, 415, **{"x-image-meta-disk_format": declared, "x-image-meta-id": image})
        assert "passwd" not in said
        assert status(api, image) == "killed"
    assert [path.name for path in (tmp_path / "images").rglob("*") if path.is_file()] in ([], [".glance-store"])


def test_s25_the_id_of_a_deleted_image_stays_taken(api):
    image = create(api, DATA)
    assert api.call("DELETE", f"/v1/images/{image}").status_code == 200
    for project in ("own", "stranger"):
        create(api, expected=409, project=project, **{"x-image-meta-id": image})


def test_s26_a_page_has_an_end(make_api):
    api = make_api(api_limit_max=2)
    for _ in range(3):
        create(api)
    assert len(listed(api)) == len(listed(api, "limit=1000")) == 2


def test_s43_what_is_invisible_is_like_what_does_not_exist(api):
    hidden = create(api, DATA)
    body = {"headers": {"Content-Type": "application/json"}, "data": b'{"memberships": []}'}
    for method, path, how in (
        ("GET", "", {}), ("HEAD", "", {}), ("PUT", "", {"headers": {"x-image-meta-name": "mine"}}),
        ("PUT", "", {"headers": OCTETS, "data": b"x"}), ("PUT", "", {"headers": {"x-image-meta-location": "http://h/x"}}),
        ("DELETE", "", {}), ("GET", "/members", {}), ("PUT", "/members", body), ("PUT", "/members/stranger", {}),
        ("DELETE", "/members/own", {}),
    ):
        answers = [
            api.call(method, f"/v1/images/{image}{path}", project="stranger", **how) for image in (hidden, MISSING)
        ]
        assert {answer.status_code for answer in answers} == {404}, (method, path)
        texts = [answer.text.replace(image, "ID") for answer, image in zip(answers, (hidden, MISSING), strict=True)]
        assert texts[0] == texts[1], (method, path)
    assert api.call("GET", f"/v1/images/{hidden}").data == DATA


def test_s44_a_member_sees_itself_only(api):
    image = create(api)
    for member in ("friend", "other"):
        assert api.call("PUT", f"/v1/images/{image}/members/{member}").status_code == 204
    seen = api.call("GET", f"/v1/images/{image}/members", project="friend").json["members"]
    assert seen == [{"member_id": "friend", "can_share": False}]
    assert api.call("GET", "/v1/shared-images/other", project="friend").json == {"shared_images": []}
    renamed = api.call("PUT", f"/v1/images/{image}", headers={"x-image-meta-name": "x"}, project="friend")
    assert renamed.status_code == 403


def test_s45_community_images_are_listed_by_their_owner_only(api):
    image = api.create(visibility="community")["id"]
    assert listed(api) == [image]
    assert listed(api, "is_public=none", project="stranger") == listed(api, project="stranger") == []
    assert api.call("HEAD", f"/v1/images/{image}", project="stranger").status_code == 200


def test_s59_no_more_properties_than_the_quota(make_api):
    api = make_api(image_property_quota=2)
    two = {"x-image-meta-property-a": "1", "x-image-meta-property-b": "1"}
    more = {"x-image-meta-property-c": "1"}
    create(api, expected=413, **two, **more)
    image = create(api, **two)
    keep = {"x-glance-registry-purge-props": "false"}
    assert api.call("PUT", f"/v1/images/{image}", headers={**more, **keep}).status_code == 413
    changed = api.call("PUT", f"/v1/images/{image}", headers=more)
    assert (changed.status_code, changed.json["image"]["properties"]) == (200, {"c": "1"})
