"""The schemas as they are served, and schema-image.json (API section 17, configuration section 7)."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from jsonschema import Draft4Validator
from tests.unit.api.conftest import make_conf
from tests.unit.api.fake_registry import make_image

from glance_api.settings import Settings
from glance_api.v2 import fields
from glance_common.config.loading import ConfigError

ID = "11111111-1111-4111-8111-111111111111"
SAMPLE = Path(__file__).parents[3] / "etc" / "glance" / "schema-image.json"


@pytest.fixture
def with_schema(make_api, tmp_path):
    """Return a function that makes an API with this content of schema-image.json."""

    def make(content, **options):
        path = tmp_path / "schema-image.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return make_api(conf=make_conf({"schema_image_file": str(path), **options}))

    return make


def test_what_is_served_describes_what_is_sent(with_schema):
    api = with_schema(SAMPLE.read_text())
    api.registry.images.rows[ID] = make_image(properties={"kernel_id": None, "other": "x"}, tags=["t"])
    served = {name: api.call("GET", f"/v2/schemas/{name}").json for name in ("image", "images", "member", "members")}
    for schema in served.values():
        Draft4Validator.check_schema(schema)
    Draft4Validator(served["image"]).validate(api.call("GET", f"/v2/images/{ID}").json)
    Draft4Validator(served["images"]).validate(api.call("GET", "/v2/images").json)
    assert [served[name]["name"] for name in served] == ["image", "images", "member", "members"]
    properties = served["image"]["properties"]
    assert properties["kernel_id"]["is_base"] is False
    assert "is_base" not in properties["name"]
    assert {name for name, rule in properties.items() if rule.get("readOnly")} == {
        "status", "checksum", "os_hash_algo", "os_hash_value", "size", "virtual_size", "created_at", "updated_at",
        "direct_url", "self", "file", "schema", "stores",
    }
    assert [link["rel"] for link in served["image"]["links"]] == ["self", "enclosure", "describedby"]
    assert {"first", "next", "images", "schema"} == served["images"]["properties"].keys()
    assert {"members", "schema"} == served["members"]["properties"].keys()


def test_custom_properties_are_checked(with_schema):
    api = with_schema({"kernel_id": {"type": ["null", "string"], "pattern": "^k"}, "size_class": {"type": "string"}})

    def create(document):
        return api.call("POST", "/v2/images", data=json.dumps(document))

    image = create({"kernel_id": None})
    assert (image.status_code, image.json["kernel_id"]) == (201, None)
    assert create({"kernel_id": "x"}).status_code == 400
    assert create({"size_class": None}).status_code == 400
    # S-59: a length comes before the operator's pattern.
    too_long = create({"kernel_id": "x" * 70_000})
    assert (too_long.status_code, "longer than 65536" in too_long.text) == (400, True)


@pytest.mark.parametrize("name", ["os_glancefoo", "os_hash_x", "location", "", "x" * 256])
def test_s47_custom_properties_have_no_reserved_names(with_schema, name):
    with pytest.raises(ConfigError, match="is no name of a property"):
        with_schema({name: {"type": "string"}})


def test_the_extended_form(with_schema):
    api = with_schema({"properties": {"os_distro": {"type": "string"}}, "required": ["os_distro"]})
    assert api.call("GET", "/v2/schemas/image").json["required"] == ["os_distro"]
    missing = api.call("POST", "/v2/images", data="{}")
    assert missing.status_code == 400
    assert "os_distro" in missing.text
    assert api.call("POST", "/v2/images", data='{"os_distro": "debian"}').status_code == 201


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "not JSON"), ([], "JSON object"), ({"name": {"type": "string"}}, "cannot be redefined"),
        ({"x": {"type": "strnig"}}, "not a JSON schema"), ({"x": 5}, "not a JSON schema"),
        ({"x": {"type": "integer"}}, "text"), ({"x": {}}, "text"),
        ({"properties": {}, "required": "x"}, "required"),
    ],
)
def test_bad_files_stop_the_start(with_schema, content, reason):
    with pytest.raises(ConfigError, match=reason):
        with_schema(content)


def test_a_named_file_that_is_missing_stops_the_start(make_api, tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        make_api(schema_image_file=str(tmp_path / "none.json"))


def test_a_base_field_may_be_named_as_it_is(with_schema):
    document = with_schema({}).call("GET", "/v2/schemas/image").json
    again = with_schema({"min_ram": document["properties"]["min_ram"]})
    assert again.call("GET", "/v2/schemas/image").json == document


def test_a_closed_schema_has_the_named_properties_only(with_schema):
    api = with_schema({"os_distro": {"type": "string"}}, allow_additional_image_properties=False)
    schema = api.call("GET", "/v2/schemas/image").json
    assert (schema["additionalProperties"], "os_distro" in schema["properties"]) == (False, True)

    def change(name):
        operations = [{"op": "add", "path": f"/{name}", "value": "x"}]
        headers = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
        return api.call("PATCH", f"/v2/images/{ID}", data=json.dumps(operations), headers=headers)

    api.registry.images.rows[ID] = make_image()
    for name, created, changed in (("os_distro", 201, 200), ("colour", 400, 400)):
        assert api.call("POST", "/v2/images", json={name: "x"}).status_code == created
        assert change(name).status_code == changed


def test_schemas_hold_plain_values():
    """Messages of the validator repeat them, and a member of an enum would show its class to the client."""
    def values(schema):
        if isinstance(schema, Mapping):
            for each in schema.values():
                yield from values(each)
        elif isinstance(schema, list | tuple):
            for each in schema:
                yield from values(each)
        else:
            yield schema

    served = [fields.base(Settings.from_conf(make_conf({})))]
    served += [value for name, value in vars(fields).items() if isinstance(value, Mapping) and name[0] != "_"]
    assert {type(value) for value in values(served)} <= {str, int, bool, float, type(None)}
