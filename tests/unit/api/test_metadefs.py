"""The HTTP face of the catalogue of metadata definitions; what the registry decides is tested against the real one."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from jsonschema import Draft4Validator

from glance_api.v2.metadefs import fields

NAMESPACES = "/v2/metadefs/namespaces"
N = f"{NAMESPACES}/N"
P = {"title": "P", "type": "string"}
STOCK = sorted((Path(__file__).parents[3] / "etc" / "glance" / "metadefs").glob("*.json"))
FULL = {
    "namespace": "N", "display_name": "All of it", "description": "d", "visibility": "public", "protected": False,
    "resource_type_associations": [{"name": "OS::Glance::Image", "prefix": "hw_"}, {"name": "plain"}],
    "properties": {"p": {**P, "enum": ["a"], "default": "a", "minLength": 1, "operators": ["<or>"]}},
    "objects": [{"name": "O", "description": "od", "required": ["q"], "properties": {"q": P}}, {"name": "Empty"}],
    "tags": [{"name": "t"}],
}


@pytest.fixture
def told(api):
    """What other services are told."""
    sent = []
    notifications = SimpleNamespace(
        wants=lambda _event: True, send=lambda _context, event, payload: sent.append((event, payload))
    )
    object.__setattr__(api.app.extensions["glance"], "notifications", notifications)
    return sent


@pytest.fixture
def admin(api):
    def call(method, path, body=None, status=None, **kwargs):
        response = api.call(method, path, json=body, roles="admin", **kwargs)
        if status is not None:
            assert response.status_code == status, response.text
        return response.json if response.status_code < 300 and response.data else response

    return call


def test_a_namespace_shows_all_that_it_was_made_with(api, admin):
    response = api.call("POST", NAMESPACES, json=FULL, roles="admin")
    assert response.status_code == 201
    assert response.headers["Location"] == f"http://localhost{N}"
    shown = admin("GET", N)
    assert shown == response.json
    times = {"created_at": shown["created_at"], "updated_at": shown["updated_at"]}
    links = {"self": f"{N}/objects/O", "schema": "/v2/schemas/metadefs/object"}
    assert {name: shown[name] for name in FULL} == {
        **FULL,
        "resource_type_associations": [{**each, **times} for each in FULL["resource_type_associations"]],
        "objects": [
            {**FULL["objects"][0], **times, **links},
            {"name": "Empty", "properties": {}, **times, **links, "self": f"{N}/objects/Empty"},
        ],
    }
    assert (shown["owner"], shown["self"], shown["schema"]) == ("own", N, "/v2/schemas/metadefs/namespace")
    (listed,) = admin("GET", NAMESPACES)["namespaces"]
    assert shown.keys() - listed.keys() == {"properties", "objects", "tags"}
    for name, document in (("namespace", shown), ("object", shown["objects"][0])):
        schema = api.call("GET", f"/v2/schemas/metadefs/{name}").json
        Draft4Validator.check_schema(schema)
        Draft4Validator(schema).validate(document)


def test_what_was_shown_may_be_sent_back(api, admin):
    admin("POST", NAMESPACES, FULL, 201)
    shown = {name: value for name, value in admin("GET", N).items() if name not in fields.READ_ONLY}
    changed = admin("PUT", N, {**shown, "namespace": "M::N", "display_name": "other"}, 200)
    assert (changed["self"], changed["display_name"]) == (f"{NAMESPACES}/M::N", "other")
    again = {**shown, "namespace": "copy"}
    made = admin("POST", NAMESPACES, again, 201)
    assert made["objects"][0]["required"] == ["q"]
    assert admin("GET", f"{NAMESPACES}/M::N")["properties"] == FULL["properties"]
    for name in fields.READ_ONLY:
        admin("POST", NAMESPACES, {**again, name: "x"}, 403)


def test_fields_that_are_left_out_of_a_put_get_their_defaults(api, admin):
    admin("POST", NAMESPACES, {**FULL, "owner": "somebody"}, 201)
    changed = admin("PUT", N, {"namespace": "N"}, 200)
    assert (changed["visibility"], changed["protected"], changed["owner"]) == ("private", False, "own")
    assert "display_name" not in changed


PATTERNS = [{"properties": {"p": {**P, "pattern": pattern}}} for pattern in ("x" * 4_097, None)]


@pytest.mark.parametrize("change", [
    {"namespace": ""}, {"namespace": "a/b"}, {"namespace": ".."}, {"namespace": "n" * 81}, {"namespace": "n" * 300},
    {"namespace": 5}, {"namespace": None}, {"display_name": "n" * 81}, {"description": "n" * 501},
    {"visibility": "shared"}, {"protected": "yes"}, {"owner": "o" * 256}, {"colour": "red"}, {"properties": []},
    {"properties": {"p": {}}},
    {"properties": {"p": {**P, "type": "text"}}}, {"properties": {"p": {"type": "string"}}}, {"properties": {"": P}},
    {"properties": {"n" * 81: P}}, {"properties": {"p": {**P, "minLength": -1}}}, {"properties": {"p": {**P, "x": 1}}},
    {"properties": {"p": {**P, "required": ["a", "a"]}}}, *PATTERNS, {"objects": [{}]}, {"objects": [{"name": ""}]},
    {"objects": [{"name": "o", "properties": {"p": {}}}]}, {"objects": [{"name": "o", "properties": {"": P}}]},
    {"objects": [{"name": ".."}]}, {"tags": [{"name": "."}]}, {"properties": {"..": P}},
    {"objects": {}}, {"tags": ["t"]}, {"tags": [{"name": ""}]}, {"tags": [{"name": "t" * 81}]},
    {"resource_type_associations": [{"prefix": "x"}]}, {"resource_type_associations": [{"name": "r", "x": "y"}]},
])
def test_s54_namespaces_that_cannot_be(api, admin, change):
    refused = admin("POST", NAMESPACES, {"namespace": "N", **change}, 400)
    (field,) = change
    assert ("properties.p.pattern" if change in PATTERNS else field) in refused.text
    assert api.registry.images.writes == []


@pytest.mark.parametrize(("path", "good", "bad"), [
    ("properties", {"name": "x", **P, "pattern": "^[a-z]+$"}, [
        {"name": "x"}, P, {"name": ".", **P}, {"name": "", **P}, {"name": "x", **P, "y": 1}, {},
    ]),
    ("objects", {"name": "x"}, [{}, {"name": ""}, {"name": "x", "properties": {"p": {"title": "t"}}}]),
    ("resource_types", {"name": "x"}, [{}, {"name": ""}, {"name": "x", "prefix": "p" * 81}, {"name": "x", "y": 1}]),
    ("tags", {"tags": []}, [{}, {"tags": ["x"]}, {"tags": [{"name": ""}]}, {"tags": [], "y": 1}, {"name": "x"}]),
])
def test_s54_content_that_cannot_be(admin, path, good, bad):
    admin("POST", NAMESPACES, {"namespace": "N"}, 201)
    for body in [*bad, []]:
        admin("POST", f"{N}/{path}", body, 400)
    admin("POST", f"{N}/{path}", {**good, "created_at": "2026-01-01T00:00:00Z"}, 403)
    admin("POST", f"{N}/{path}", good, 201)


def test_s59_many_elements_are_compared_in_one_walk(api, admin, monkeypatch):
    """The library's own way compares each with each when they are of several kinds."""
    monkeypatch.setattr("jsonschema._utils.equal", None)
    for required in (["a", *range(1_000)], ["a", "a"], ["a", "b"] * 1_000):
        refused = admin("POST", NAMESPACES, {"namespace": "N", "properties": {"p": {**P, "required": required}}}, 400)
        assert "properties.p.required" in refused.text
    assert len(admin("POST", NAMESPACES, {"namespace": "N", "n" * 100_000: 1}, 400).text) < 1_000
    place = {"properties": {"n" * 100_000: {**P, "type": 1}}}
    assert len(admin("POST", NAMESPACES, {"namespace": "N", **place}, 400).text) < 1_000
    assert api.registry.images.writes == []


def test_s59_who_may_not_write_has_no_pattern_compiled(api, monkeypatch):
    monkeypatch.setattr("glance_common.model.metadef.re.compile", None)
    document = {"namespace": "N", "properties": {"p": {**P, "pattern": "[\x01-\uffff]" * 200}}}
    assert api.call("POST", NAMESPACES, json=document, roles="member").status_code == 403


@pytest.mark.parametrize(("path", "queries"), [
    (NAMESPACES, ["limit=x", "limit=-1", "sort_key=colour", "sort_dir=up", "visibility=shared", "marker=%00"]),
    (f"{N}/objects", ["limit=x", "limit=0", "limit=-1", "sort_key=colour", "sort_dir=up", "visibility=community"]),
    (f"{N}/tags", ["limit=x", "limit=-1", "sort_key=colour", "sort_dir=up"]),
])
def test_s54_lists_that_cannot_be(admin, path, queries):
    admin("POST", NAMESPACES, {"namespace": "N"}, 201)
    for query in queries:
        refused = admin("GET", f"{path}?{query}", status=400)
        assert query.partition("=")[0] in refused.text
    admin("GET", f"{path}?marker=none", status=404 if path != f"{N}/tags" else 200)
    assert admin("GET", f"{path}?visibility=public", status=200)


def test_namespaces_are_paged_and_links_keep_the_question(api, admin):
    for name in ("A", "B", "C"):
        admin("POST", NAMESPACES, {"namespace": name}, 201)
    question = f"{NAMESPACES}?limit=2&sort_key=namespace&sort_dir=asc&visibility=private&resource_types=x%2Cy"
    page = admin("GET", question)
    assert page["first"] == question
    assert page["next"] == f"{question}&marker=B"
    asked = api.registry.metadefs.queries[-1]
    assert (asked.sort_key, asked.sort_dir, asked.visibility, asked.resource_types) == (
        "namespace", "asc", "private", ("x", "y")
    )
    last = admin("GET", page["next"])
    assert [each["namespace"] for each in last["namespaces"]] == ["C"]
    assert "next" not in last
    assert admin("GET", f"{NAMESPACES}?limit=0")["namespaces"] == []


def test_objects_are_paged_when_a_limit_is_given(admin):
    admin("POST", NAMESPACES, {"namespace": "N", "objects": [{"name": name} for name in "bdac"]}, 201)

    def names(query):
        return "".join(each["name"] for each in admin("GET", f"{N}/objects?{query}", status=200)["objects"])

    assert names("") == "bdac"
    assert names("sort_key=name&sort_dir=asc") == "abcd"
    assert names("sort_key=name") == "dcba"
    assert names("sort_dir=desc") == "cadb"
    assert (names("limit=2"), names("limit=2&marker=d"), names("limit=9")) == ("bd", "ac", "bdac")
    assert admin("GET", f"{N}/objects?limit=2")["next"] == f"{N}/objects?limit=2&marker=d"
    assert "next" not in admin("GET", f"{N}/objects?limit=2&marker=d")


def test_names_on_resources_have_the_prefix(admin):
    admin("POST", NAMESPACES, FULL, 201)
    shown = admin("GET", f"{N}?resource_type=OS::Glance::Image")
    assert (list(shown["properties"]), list(shown["objects"][0]["properties"])) == (["hw_p"], ["hw_q"])
    assert shown["objects"][0]["required"] == ["hw_q"]
    assert admin("GET", f"{N}?resource_type=none") == admin("GET", N)
    assert admin("GET", f"{N}/properties/hw_p?resource_type=OS::Glance::Image")["name"] == "p"
    for path in ("p?resource_type=OS::Glance::Image", "p?resource_type=none", "hw_p"):
        admin("GET", f"{N}/properties/{path}", status=404)


def test_names_of_content_may_hold_slashes(admin):
    admin("POST", NAMESPACES, {"namespace": "N"}, 201)
    admin("POST", f"{N}/objects", {"name": "I/O"}, 201)
    admin("POST", f"{N}/properties", {"name": "a/b", **P}, 201)
    admin("POST", f"{N}/tags/x%2Fy", status=201)
    assert admin("GET", admin("GET", f"{N}/objects/I%2FO")["self"])["name"] == "I/O"
    assert admin("GET", f"{N}/properties/a/b")["name"] == "a/b"
    assert admin("GET", f"{N}/tags/x/y")["name"] == "x/y"
    admin("POST", f"{N}/tags/{'x' * 81}", status=400)


def test_the_header_that_appends_tags_is_read_strictly(admin):
    admin("POST", NAMESPACES, {"namespace": "N", "tags": [{"name": "a"}]}, 201)
    body = {"tags": [{"name": "b"}]}
    admin("POST", f"{N}/tags", body, 400, headers={"X-Openstack-Append": "yes"})
    assert admin("POST", f"{N}/tags", body, 201, headers={"X-Openstack-Append": "True"}) == body
    assert admin("GET", f"{N}/tags") == {"tags": [{"name": "a"}, {"name": "b"}]}
    admin("POST", f"{N}/tags", {"tags": [{"name": "c"}]}, 201)
    assert admin("GET", f"{N}/tags") == {"tags": [{"name": "c"}]}


def test_s30_only_administrators_write(api, admin):
    admin("POST", NAMESPACES, FULL, 201)
    api.registry.images.writes.clear()
    writes = [
        ("POST", NAMESPACES, {"namespace": "M"}), ("PUT", N, {"namespace": "N"}), ("DELETE", N, None),
        ("POST", f"{N}/properties", {"name": "x", **P}), ("PUT", f"{N}/properties/p", {"name": "p", **P}),
        ("DELETE", f"{N}/properties/p", None), ("DELETE", f"{N}/properties", None),
        ("POST", f"{N}/objects", {"name": "x"}), ("PUT", f"{N}/objects/O", {"name": "O"}),
        ("DELETE", f"{N}/objects/O", None), ("DELETE", f"{N}/objects", None),
        ("POST", f"{N}/tags", {"tags": []}), ("POST", f"{N}/tags/x", None), ("PUT", f"{N}/tags/t", {"name": "x"}),
        ("DELETE", f"{N}/tags/t", None), ("DELETE", f"{N}/tags", None),
        ("POST", f"{N}/resource_types", {"name": "x"}), ("DELETE", f"{N}/resource_types/plain", None),
    ]
    for method, path, body in writes:
        assert api.call(method, path, json=body, roles="member,reader,manager").status_code == 403, (method, path)
    assert api.registry.images.writes == []
    reads = ("", "/properties", "/properties/p", "/objects", "/objects/O", "/tags", "/tags/t", "/resource_types")
    for path in reads:
        assert api.call("GET", N + path, project="other").status_code == 200
    assert api.call("GET", NAMESPACES, project=None).status_code == 403


def test_a_policy_that_lets_projects_write_lets_them_write_their_own_only(make_api, tmp_path):
    (tmp_path / "policy.yaml").write_text('metadef_admin: "role:member"\n')
    api = make_api(oslo_policy__policy_file=str(tmp_path / "policy.yaml"))
    assert api.call("POST", NAMESPACES, json=FULL).status_code == 201
    assert api.call("POST", NAMESPACES, json={"namespace": "M", "owner": "other"}).status_code == 403
    assert api.call("PUT", N, json={"namespace": "N", "owner": "other"}).status_code == 403
    for method, path, body in (("PUT", N, {"namespace": "N"}), ("DELETE", N, None), ("POST", f"{N}/tags/x", None)):
        assert api.call(method, path, json=body, project="other").status_code == 403
    assert api.call("POST", f"{N}/tags/x").status_code == 201


def test_what_a_policy_hides_is_not_shown_with_the_namespace(make_api, tmp_path):
    hidden = "\n".join(f'{rule}: "!"' for rule in (
        "get_metadef_objects", "get_metadef_properties", "get_metadef_tags", "get_metadef_resource_type"
    ))
    (tmp_path / "policy.yaml").write_text(hidden)
    api = make_api(oslo_policy__policy_file=str(tmp_path / "policy.yaml"))
    api.call("POST", NAMESPACES, json=FULL, roles="admin")
    shown = api.call("GET", N).json
    (listed,) = api.call("GET", NAMESPACES).json["namespaces"]
    changed = api.call("PUT", N, json={"namespace": "N", "visibility": "public"}, roles="admin").json
    for document in (shown, listed, changed):
        assert not document.keys() & {"objects", "properties", "tags", "resource_type_associations"}
    assert api.call("GET", f"{N}/objects").status_code == 403
    (tmp_path / "policy.yaml").write_text('get_metadef_namespace: "!"')
    strict = make_api(oslo_policy__policy_file=str(tmp_path / "policy.yaml"))
    strict.call("POST", NAMESPACES, json=FULL, roles="admin")
    assert strict.call("GET", f"{N}/objects", roles="admin").status_code == 404
    assert strict.call("GET", NAMESPACES, roles="admin").json["namespaces"] == []


def test_a_method_that_a_path_has_not(admin):
    allowed = {
        N: "DELETE, GET, PUT", NAMESPACES: "GET, POST", f"{N}/tags/t": "DELETE, GET, POST, PUT",
        f"{N}/resource_types/x": "DELETE", "/v2/metadefs/resource_types": "GET", f"{N}/objects": "DELETE, GET, POST",
    }
    for path, methods in allowed.items():
        refused = admin("PATCH", path, status=405)
        assert refused.headers["Allow"] == methods
    admin("GET", f"{N}/properties", {}, 400)
    admin("GET", "/v2/schemas/metadefs/new_tag", status=404)
    admin("GET", "/v2/schemas/metadefs/none", status=404)


def test_every_schema_is_one(api):
    for name, schema in fields.SERVED.items():
        served = api.call("GET", f"/v2/schemas/{name}").json
        assert served == schema
        Draft4Validator.check_schema(served)
    names = [schema["name"] for schema in fields.SERVED.values()]
    assert names == [
        "namespace", "namespaces", "object", "objects", "property", "properties", "tag", "tags",
        "resource_type_association", "resource_type_associations",
    ]


def test_everything_that_happens_is_told(admin, told):
    admin("POST", NAMESPACES, FULL, 201)
    assert [event for event, _ in told] == [
        "metadef_namespace.create", "metadef_resource_type.create", "metadef_resource_type.create",
        "metadef_property.create", "metadef_object.create", "metadef_object.create", "metadef_tag.create",
    ]
    (prop,) = told[4][1]["properties"]
    assert (prop["name"], prop["title"], prop["pattern"]) == ("q", "P", None)
    told.clear()
    calls = [
        ("PUT", N, {"namespace": "M"}, "metadef_namespace.update", {"namespace_old": "N", "namespace": "M"}),
        ("PUT", f"{NAMESPACES}/M", {"namespace": "N"}, "metadef_namespace.update", {"namespace_old": "M"}),
        ("PUT", f"{N}/properties/p", {"name": "x", **P}, "metadef_property.update", {"name_old": "p", "name": "x"}),
        ("DELETE", f"{N}/properties/x", None, "metadef_property.delete", {"type": "string", "deleted": True}),
        ("DELETE", f"{N}/properties", None, "metadef_namespace.delete_properties", {"namespace": "N"}),
        ("PUT", f"{N}/objects/O", {"name": "x"}, "metadef_object.update", {"name_old": "O", "properties": []}),
        ("DELETE", f"{N}/objects/x", None, "metadef_object.delete", {"name": "x", "required": None}),
        ("DELETE", f"{N}/objects", None, "metadef_namespace.delete_objects", {"namespace": "N"}),
        ("PUT", f"{N}/tags/t", {"name": "x"}, "metadef_tag.update", {"name_old": "t"}),
        ("DELETE", f"{N}/tags/x", None, "metadef_tag.delete", {"name": "x"}),
        ("POST", f"{N}/tags", {"tags": [{"name": "y"}]}, "metadef_tag.create", {"name": "y", "deleted": False}),
        ("DELETE", f"{N}/tags", None, "metadef_namespace.delete_tags", {"namespace": "N"}),
        ("DELETE", f"{N}/resource_types/plain", None, "metadef_resource_type.delete", {"prefix": None}),
        ("DELETE", N, None, "metadef_namespace.delete", {"namespace": "N", "deleted": True, "owner": "own"}),
    ]
    for method, path, body, event, facts in calls:
        admin(method, path, body)
        assert [name for name, _ in told] == [event], (method, path)
        assert facts.items() <= told.pop()[1].items()
    told.clear()
    admin("DELETE", N, status=404)
    assert told == []


@pytest.mark.parametrize("path", STOCK, ids=lambda path: path.stem)
def test_mdf_11_each_stock_definition_can_be_created(admin, path):
    document = json.loads(path.read_text())
    admin("POST", NAMESPACES, document, 201)
    shown = admin("GET", f"{NAMESPACES}/{document['namespace']}")
    assert shown["visibility"] == "public"
    assert shown.get("properties", {}) == document.get("properties", {})
    assert [each["properties"] for each in shown.get("objects", [])] == [
        each["properties"] for each in document.get("objects", [])
    ]
    assert shown.get("properties") or shown.get("objects")


ORIGINAL = json.loads((Path(__file__).parents[1] / "recorded" / "original_metadefs.json").read_text())
"""Facts of the files that the original ships (33.0.0, and the one that only older releases have), without texts."""


def facts(properties):
    texts = ("title", "description")
    return {
        name: {key: value for key, value in each.items() if key not in texts} for name, each in properties.items()
    }


def test_mdf_11_the_stock_definitions_are_those_of_the_original():
    assert {path.stem for path in STOCK} == set(ORIGINAL)
    assert len(STOCK) == 33


@pytest.mark.parametrize("path", STOCK, ids=lambda path: path.stem)
def test_mdf_11_names_types_and_values_are_those_of_the_original(path):
    ours = json.loads(path.read_text())
    assert {
        "namespace": ours["namespace"],
        "protected": ours["protected"],
        "associations": ours.get("resource_type_associations", []),
        "properties": facts(ours.get("properties", {})),
        "objects": {each["name"]: facts(each["properties"]) for each in ours.get("objects", [])},
    } == ORIGINAL[path.stem]


@pytest.mark.parametrize("path", STOCK, ids=lambda path: path.stem)
def test_mdf_11_every_definition_is_explained(path):
    ours = json.loads(path.read_text())
    things = [ours, *ours.get("objects", [])]
    things += [each for thing in things for each in thing.get("properties", {}).values()]
    assert all(len(each["description"]) > 10 for each in things)
    assert all(each["title"] for each in things[1:] if "type" in each)
