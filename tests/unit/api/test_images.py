"""Create, show, list, delete over HTTP, with the checks in the order of API sections 4 to 8."""

import json
from typing import Any

import pytest
from tests.unit.api.fake_registry import make_image

from glance_common.model.image import ImageLocation
from glance_common.model.status import ImageStatus

ID = "11111111-1111-4111-8111-111111111111"


def create(api: Any, document: Any, **kwargs: Any) -> Any:
    return api.call("POST", "/v2/images", data=json.dumps(document), **kwargs)


def test_create_with_defaults(api):
    response = create(api, {"name": "first", "os_distro": "debian", "tags": ["a", "b", "a"]})
    assert response.status_code == 201
    image = response.json
    assert response.headers["Location"] == f"/v2/images/{image['id']}" == image["self"]
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["OpenStack-image-import-methods"] == "glance-direct,web-download,copy-image"
    assert "OpenStack-image-store-ids" not in response.headers
    assert image | {"id": "", "self": "", "file": ""} == {
        "id": "", "self": "", "file": "", "name": "first", "os_distro": "debian", "tags": ["a", "b"],
        "status": "queued", "visibility": "shared", "owner": "own", "protected": False, "os_hidden": False,
        "checksum": None, "os_hash_algo": None, "os_hash_value": None, "size": None, "virtual_size": None,
        "container_format": None, "disk_format": None, "min_ram": 0, "min_disk": 0,
        "created_at": "2026-11-21T10:00:00Z", "updated_at": "2026-11-21T10:00:00Z", "schema": "/v2/schemas/image",
    }


@pytest.mark.parametrize(
    ("document", "status", "field"),
    [
        *(({name: "x"}, 403, name) for name in ("direct_url", "self", "file", "schema", "stores")),
        ({"name": 5}, 400, "name"),
        ({"name": "n" * 256}, 400, "name"),
        ({"id": "not-a-uuid"}, 400, "id"),
        ({"id": f"{ID}\n"}, 400, "id"),
        ({"visibility": "secret"}, 400, "visibility"),
        ({"disk_format": "floppy"}, 400, "disk_format"),
        ({"protected": "true"}, 400, "protected"),
        ({"tags": "a"}, 400, "tags"),
        ({"tags": ["t" * 256]}, 400, "tags.0"),
        ({"extra": None}, 400, "extra"),
        ({"extra": 5}, 400, "extra"),
        ({"extra": "x" * 65537}, 400, "extra"),
        ({"p" * 256: "x"}, 400, "name of a property"),
        ({"": "x"}, 400, "name of a property"),
        *(({name: "x"}, 403, name) for name in ("location", "deleted", "deleted_at", "os_glance_import_task")),
        ({"status": "active"}, 403, "status"),
        ({"created_at": "2026-01-01T00:00:00Z"}, 403, "created_at"),
        ({"checksum": "0" * 32}, 403, "checksum"),
        ({"size": 5}, 403, "size"),
        ({"locations": []}, 403, "locations"),
        ({"owner": "other"}, 403, "add_image"),
        ({"visibility": "public"}, 403, "publicize_image"),
        ({"min_disk": -1}, 400, "min_disk"),
        ({"min_ram": 2**31}, 400, "min_ram"),
        ({"min_ram": 5.0}, 400, "min_ram"),
        ({"min_ram": 2**70}, 400, "min_ram"),
        ({"name": "a\0b"}, 400, "name"),
        ({"a\0b": "x"}, 400, "NUL"),
        ({"tags": ["a\0"]}, 400, "tags"),
    ],
)
def test_create_refused(api, document, status, field):
    response = create(api, document)
    assert response.status_code == status, response.text
    assert field in response.text
    assert api.registry.images.writes == []


@pytest.mark.parametrize(
    "body", [b"", b"  ", b"{", b"null", b"5", b"[]", b'"x"', b"[{}]", b"\xff\xfe", b'{"name": NaN}']
)
def test_s54_malformed_bodies_are_bad_requests(api, body):
    response = api.call("POST", "/v2/images", data=body)
    assert response.status_code == 400
    assert "Traceback" not in response.text


def test_s59_limits_of_json_bodies(make_api):
    api = make_api(max_json_body=2048)
    assert api.call("POST", "/v2/images", data=b"{" + b" " * 2048 + b"}").status_code == 413
    assert api.call("POST", "/v2/images", data=b'{"a":' * 50 + b"1" + b"}" * 50).status_code == 400
    assert api.call("POST", "/v2/images", data=b"[" * 2000 + b"]" * 2000).status_code == 413
    assert make_api().call("POST", "/v2/images", data=b"[" * 100_000 + b"]" * 100_000).status_code == 400


def test_s60_and_s64_hashes_are_not_the_clients_to_set(api):
    assert create(api, {"os_hash_value": "ab"}).status_code == 403
    assert create(api, {"os_hash_algo": "sha512"}).status_code == 403
    assert create(api, {"": "x"}).status_code == 400


def test_s46_only_an_admin_creates_for_another_project(api):
    assert create(api, {"owner": "other"}).status_code == 403
    response = create(api, {"owner": "other"}, roles="admin")
    assert (response.status_code, response.json["owner"]) == (201, "other")


def test_a_used_id_is_a_conflict(api):
    assert create(api, {"id": ID.upper()}).json["id"] == ID
    assert create(api, {"id": ID}).status_code == 409


def test_four_byte_unicode_is_kept(api):
    document = {"name": "📦", "emoji 🙂": "🎉", "tags": ["🏷"]}
    image = create(api, document).json
    assert {name: image[name] for name in document} == document


def test_quotas_at_create(make_api):
    api = make_api(image_property_quota=2, image_tag_quota=1)
    assert create(api, {"a": "1", "b": "2", "tags": ["x", "x"]}).status_code == 201
    over = create(api, {"a": "1", "b": "2", "c": "3"})
    assert over.status_code == 413
    assert over.headers["Content-Type"].startswith("text/plain")
    assert create(api, {"tags": ["x", "y"]}).status_code == 413
    assert create(make_api(image_tag_quota=-1), {"tags": [str(n) for n in range(500)]}).status_code == 201


def test_create_names_the_stores_when_there_are_several(make_api):
    response = create(make_api(enabled_backends=["fast:file", "slow:file"]), {})
    assert response.headers["OpenStack-image-store-ids"] == "fast,slow,web"


def test_only_named_properties_when_additional_ones_are_off(make_api):
    assert create(make_api(allow_additional_image_properties=False), {"extra": "x"}).status_code == 400


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("disk_format", "ami ari aki vhd vhdx vmdk raw qcow2 vdi iso ploop"),
        ("container_format", "ami ari aki bare ovf ova docker compressed"),
    ],
)
def test_formats(api, make_api, field, values):
    """IMG-24 to IMG-28: the formats of the default lists, and lists of the operator's own."""
    for value in values.split():
        assert create(api, {field: value}).json[field] == value
    own = make_api(**{f"image_format__{field}s": ["squashfs"]})
    assert create(own, {field: "squashfs"}).status_code == 201
    assert create(own, {field: "raw"}).status_code == 400
    schema = own.call("GET", "/v2/schemas/image").json["properties"][field]
    assert schema["enum"] == [None, "squashfs"]


def test_show_and_the_properties_it_hides(api):
    properties = {"os_glance_stage_host": "http://x", "os_glance_hash_op_host": "http://x", "empty": None, "a": "b"}
    api.registry.images.rows[ID] = make_image(properties=properties)
    document = api.call("GET", f"/v2/images/{ID}").json
    assert (document["empty"], document["a"]) == ("", "b")
    assert not {"os_glance_stage_host", "os_glance_hash_op_host"} & document.keys()


def test_s43_invisible_is_like_missing(api):
    """Every call on a foreign image answers as if it did not exist, in the same words."""
    api.registry.images.rows[ID] = make_image()
    missing = ID.replace("1", "2")
    calls = [
        ("GET", ""), ("DELETE", ""), ("POST", "/actions/deactivate"), ("POST", "/actions/reactivate"),
        ("PUT", "/tags/x"), ("DELETE", "/tags/x"), ("GET", "/members"), ("GET", "/members/x"), ("DELETE", "/members/x"),
        ("POST", "/members"), ("PUT", "/members/x"), ("PATCH", ""),
    ]
    bodies = {
        ("POST", "/members"): '{"member": "m"}', ("PUT", "/members/x"): '{"status": "accepted"}', ("PATCH", ""): "[]",
    }
    headers = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
    for method, rest in calls:
        answers = [
            api.call(method, f"/v2/images/{image}{rest}", project="stranger", headers=headers,
                     data=bodies.get((method, rest)))
            for image in (ID, missing)
        ]
        assert [answer.status_code for answer in answers] == [404, 404], (method, rest)
        assert answers[0].text.replace(ID, missing) == answers[1].text, (method, rest)
    assert api.registry.images.writes == []


def test_list_links_keep_every_parameter(api):
    for number in range(3):
        image_id = f"{number}{ID[1:]}"
        api.registry.images.rows[image_id] = make_image(id=image_id)
    response = api.call("GET", "/v2/images?limit=2&tag=a&tag=b%26c&marker=0" + ID[1:])
    assert response.status_code == 200
    assert response.json["first"] == "/v2/images?limit=2&tag=a&tag=b%26c"
    assert response.json["next"] == f"/v2/images?limit=2&tag=a&tag=b%26c&marker=1{ID[1:]}"
    assert response.json["schema"] == "/v2/schemas/images"
    assert "next" not in api.call("GET", "/v2/images").json
    assert api.call("GET", "/v2/images?limit=0").json == {
        "images": [], "first": "/v2/images?limit=0", "schema": "/v2/schemas/images",
    }


def test_list_limits_are_capped(make_api):
    api = make_api(api_limit_max=10, limit_param_default=25)
    api.call("GET", "/v2/images")
    api.call("GET", "/v2/images?limit=5000000000000000000000000")
    assert [query["limit"] for query in api.registry.images.queries] == [10, 10]


def test_s01_delete_asks_before_it_touches_anything(api):
    locations = (ImageLocation("l1", "fast", ID, {}),)
    api.registry.images.rows[ID] = make_image(visibility="public", status=ImageStatus.ACTIVE, locations=locations)
    assert api.call("DELETE", f"/v2/images/{ID}", project="stranger").status_code == 403
    assert api.call("DELETE", f"/v2/images/{ID}", roles="reader").status_code == 403
    assert (api.registry.images.writes, api.published) == ([], [])
    response = api.call("DELETE", f"/v2/images/{ID}")
    assert (response.status_code, response.data) == (204, b"")
    assert "Content-Type" not in response.headers
    assert api.published == ["l1"]


def test_protected_images_stay(api):
    api.registry.images.rows[ID] = make_image(protected=True)
    assert api.call("DELETE", f"/v2/images/{ID}").status_code == 403
    assert api.registry.images.writes == []


def test_delayed_delete_announces_nothing_yet(make_api):
    api = make_api(delayed_delete=True)
    api.registry.images.rows[ID] = make_image(locations=(ImageLocation("l1", "fast", ID, {}),))
    assert api.call("DELETE", f"/v2/images/{ID}").status_code == 204
    assert api.published == []


def located(**values: Any) -> Any:
    places = (ImageLocation("l1", "slow", "k1", {"a": 1}), ImageLocation("l2", "fast", "k2", {}))
    return make_image(visibility="public", status=ImageStatus.ACTIVE, locations=places, **values)


def test_s28_locations_are_hidden_by_default(api):
    api.registry.images.rows[ID] = located()
    document = api.call("GET", f"/v2/images/{ID}", roles="admin").json
    assert not {"locations", "direct_url", "stores"} & document.keys()


def test_locations_as_the_options_show_them(make_api):
    api = make_api(
        show_multiple_locations=True, show_image_direct_url=True, enabled_backends=["fast:file", "slow:file"]
    )
    api.registry.images.rows[ID] = located()
    document = api.call("GET", f"/v2/images/{ID}").json
    assert document["locations"] == [
        {"url": "fast://k2", "metadata": {"store": "fast"}},
        {"url": "slow://k1", "metadata": {"a": 1, "store": "slow"}},
    ]
    assert document["direct_url"] == "fast://k2"
    assert document["stores"] == "fast,slow"
    foreign = api.call("GET", "/v2/images", project="stranger").json["images"][0]
    assert (foreign["locations"], foreign["stores"]) == ([], "fast,slow")


def test_s49_no_locations_of_a_deactivated_image(make_api):
    api = make_api(show_multiple_locations=True, show_image_direct_url=True)
    api.registry.images.rows[ID] = make_image(
        status=ImageStatus.DEACTIVATED, locations=(ImageLocation("l1", "slow", "k1", {}),)
    )
    document = api.call("GET", f"/v2/images/{ID}").json
    assert document["locations"] == []
    assert "direct_url" not in document
    assert len(api.call("GET", f"/v2/images/{ID}", roles="admin").json["locations"]) == 1


@pytest.mark.parametrize(
    "name",
    ["os_glance_import_task", "os_glance_x", "os_glancefoo", "os_hash_value", "os_hash_x", "checksum", "direct_url",
     "locations", "stores"],
)
def test_s47_reserved_names_are_refused_everywhere(api, name):
    api.registry.images.rows[ID] = make_image(properties={name: "x"} if name.startswith("os_glance") else {})
    value = [] if name == "locations" else "x"
    assert create(api, {name: value}).status_code == 403
    headers = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
    for operation in ("add", "replace", "remove"):
        document = [{"op": operation, "path": f"/{name}", "value": value}]
        response = api.call("PATCH", f"/v2/images/{ID}", json=document, headers=headers, roles="admin")
        assert response.status_code == 403, operation
    assert api.registry.images.writes == []


@pytest.mark.parametrize("value", [-1, 2**31, 2**63, 1.5, True, "5", None])
def test_s56_numbers_that_no_column_holds(api, value):
    for name in ("min_disk", "min_ram"):
        assert create(api, {name: value}).status_code == 400
