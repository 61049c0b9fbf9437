"""The catalogue of metadata definitions on a real registry (metadefs sections 4 to 9)."""

import json
from pathlib import Path

import pytest

NAMESPACES = "/v2/metadefs/namespaces"
N = f"{NAMESPACES}/N"
P = {"title": "P", "type": "string"}
IMAGE, FLAVOR = "OS::Glance::Image", "OS::Nova::Flavor"
STOCK = sorted((Path(__file__).parents[3] / "etc" / "glance" / "metadefs").glob("*.json"))
FULL = {
    "namespace": "N", "display_name": "All of it", "description": "d", "visibility": "public", "protected": False,
    "owner": "somebody",
    "resource_type_associations": [
        {"name": IMAGE, "prefix": "hw_"}, {"name": FLAVOR, "prefix": "hw:", "properties_target": "x"},
    ],
    "properties": {"p": {**P, "enum": ["a"], "default": {"any": [None, 1.5]}}},
    "objects": [{"name": "O", "description": "od", "required": ["q"], "properties": {"q": P}}],
    "tags": [{"name": "t"}],
}


@pytest.fixture
def admin(api):
    """Call as an administrator; with ``status`` the answer must have it. Returns the document, if there is one."""

    def call(method, path, body=None, status=200, **kwargs):
        response = api.call(method, path, json=body, roles="admin", **kwargs)
        assert response.status_code == status, response.text
        return response.json if response.mimetype == "application/json" else None

    return call


@pytest.fixture
def empty(admin):
    """A namespace without content."""
    return admin("POST", NAMESPACES, {"namespace": "N", "visibility": "public"}, 201)


def names(admin, query=""):
    return [each["namespace"] for each in admin("GET", f"{NAMESPACES}?{query}")["namespaces"]]


def test_mdf01_a_namespace_is_made_whole_or_not_at_all(admin):
    made = admin("POST", NAMESPACES, FULL, 201)
    assert admin("GET", N) == made
    for part in ("namespace", "display_name", "description", "visibility", "protected", "owner", "properties", "tags"):
        assert made[part] == FULL[part]
    (group,) = made["objects"]
    assert FULL["objects"][0].items() <= group.items()
    assert group["self"] == f"{N}/objects/O"
    assert [(each["name"], each["prefix"]) for each in made["resource_type_associations"]] == [
        (IMAGE, "hw_"), (FLAVOR, "hw:")
    ]
    admin("POST", NAMESPACES, {"namespace": "N"}, 409)
    for part in ({"tags": [{"name": "t"}, {"name": "t"}]}, {"objects": [{"name": "o"}, {"name": "o"}]},
                 {"resource_type_associations": [{"name": IMAGE}, {"name": IMAGE}]}):
        admin("POST", NAMESPACES, {"namespace": "M", "properties": {"p": P}, **part}, 409)
        admin("GET", f"{NAMESPACES}/M", status=404)
    changed = admin("PUT", N, {"namespace": "M", "display_name": "new"})
    assert (changed["namespace"], changed["visibility"], changed["owner"]) == ("M", "private", "own")
    assert "description" not in changed
    admin("GET", N, status=404)
    assert admin("GET", f"{NAMESPACES}/M")["properties"] == FULL["properties"]
    admin("POST", NAMESPACES, {"namespace": "N"}, 201)
    admin("PUT", N, {"namespace": "M"}, 409)
    admin("DELETE", f"{NAMESPACES}/M", status=204)
    for method in ("GET", "DELETE"):
        admin(method, f"{NAMESPACES}/M", status=404)
    admin("PUT", f"{NAMESPACES}/M", {"namespace": "M"}, 404)


def test_mdf01_namespaces_are_listed_page_by_page(admin):
    for name in ("B", "A", "C"):
        visibility = "public" if name == "C" else "private"
        associations = {"resource_type_associations": [{"name": name}, {"name": "all"}]}
        admin("POST", NAMESPACES, {"namespace": name, "visibility": visibility, **associations}, 201)
    assert names(admin) == ["C", "A", "B"]
    assert names(admin, "sort_key=namespace&sort_dir=asc") == ["A", "B", "C"]
    assert names(admin, "visibility=public") == ["C"]
    assert sorted(names(admin, "resource_types=A,B")) == ["A", "B"]
    assert names(admin, "resource_types=none") == []
    walked, path = [], f"{NAMESPACES}?limit=1&sort_key=visibility&resource_types=all"
    while path:
        page = admin("GET", path)
        walked += [each["namespace"] for each in page["namespaces"]]
        path = page.get("next")
    assert sorted(walked) == ["A", "B", "C"]
    assert walked[0] == "C"
    for unknown in ("none", "", "n" * 300):
        admin("GET", f"{NAMESPACES}?marker={unknown}", status=404)
        admin("GET", f"{NAMESPACES}/A/tags?limit=1&marker={unknown}", status=404)


def test_mdf02_the_life_of_properties(admin, empty):
    path = f"{N}/properties"
    assert admin("POST", path, {"name": "p", **P}, 201) == {"name": "p", **P}
    admin("POST", path, {"name": "p", **P}, 409)
    admin("POST", path, {"name": "q", **P}, 201)
    assert admin("GET", path) == {"properties": {"p": P, "q": P}}
    assert admin("GET", f"{path}/p") == {"name": "p", **P}
    admin("PUT", f"{path}/p", {"name": "q", **P}, 409)
    renamed = {"name": "r", "title": "R", "type": "integer", "minimum": -1, "maximum": 2.5}
    assert admin("PUT", f"{path}/p", renamed) == renamed
    admin("PUT", f"{path}/p", {"name": "s", **P}, 404)
    admin("DELETE", f"{path}/r", status=204)
    admin("DELETE", f"{path}/r", status=404)
    admin("DELETE", path, status=204)
    assert admin("GET", path) == {"properties": {}}
    admin("GET", f"{NAMESPACES}/M/properties", status=404)


@pytest.mark.parametrize("pattern", ["[a-", "(", "a{99999999999999999999}", "(" * 2_000, "(?a)(?u)a"])
def test_s54_a_pattern_is_a_regular_expression(api, admin, empty, pattern):
    definition = {**P, "pattern": pattern}
    for path, document, place in (
        (NAMESPACES, {"namespace": "M", "properties": {"p": definition}}, "properties.p.pattern"),
        (f"{N}/properties", {"name": "p", **definition}, "pattern"),
        (f"{N}/objects", {"name": "o", "properties": {"p": definition}}, "properties.p.pattern"),
    ):
        refused = api.call("POST", path, json=document, roles="admin")
        assert refused.status_code == 400
        assert place in refused.text
    assert admin("GET", N) == empty
    for content in ({"properties": {"p": definition}}, {"objects": [{"name": "o", "properties": {"p": definition}}]}):
        admin("PUT", N, {"namespace": "N", **content}, 400)
        assert api.call("PUT", N, json={"namespace": "N", **content}).status_code in (403, 404), "policy comes first"


def test_mdf03_the_life_of_objects(admin, empty):
    path = f"{N}/objects"
    made = admin("POST", path, {"name": "O", "required": [], "properties": {"q": P}}, 201)
    assert made["required"] == []
    admin("POST", path, {"name": "O"}, 409)
    admin("POST", path, {"name": "a/b"}, 201)
    assert [each["name"] for each in admin("GET", path)["objects"]] == ["O", "a/b"]
    assert [each["name"] for each in admin("GET", f"{path}?limit=1&sort_key=name")["objects"]] == ["a/b"]
    admin("PUT", f"{path}/O", {"name": "a/b"}, 409)
    changed = admin("PUT", f"{path}/O", {"name": "X", "description": "d"})
    assert (changed["self"], changed["properties"], "required" in changed) == (f"{path}/X", {}, False)
    assert admin("GET", f"{path}/a%2Fb")["name"] == "a/b"
    admin("GET", f"{path}/O", status=404)
    admin("DELETE", f"{path}/X", status=204)
    admin("DELETE", f"{path}/X", status=404)
    admin("DELETE", path, status=204)
    assert admin("GET", path) == {"objects": [], "schema": "/v2/schemas/metadefs/objects"}


def test_mdf04_mdf05_the_life_of_tags(admin, empty):
    path = f"{N}/tags"

    def listed(query=""):
        return [each["name"] for each in admin("GET", f"{path}?{query}")["tags"]]

    assert admin("POST", f"{path}/one", status=201)["name"] == "one"
    admin("POST", f"{path}/one", status=409)
    assert admin("GET", f"{path}/one").keys() == {"name", "created_at", "updated_at"}
    body = {"tags": [{"name": "b"}, {"name": "a"}]}
    assert admin("POST", path, body, 201) == body
    admin("POST", path, {"tags": [{"name": "x"}, {"name": "x"}]}, 409)
    append = {"X-Openstack-Append": "True"}
    admin("POST", path, {"tags": [{"name": "y"}, {"name": "a"}]}, 409, headers=append)
    assert sorted(listed()) == ["a", "b"]
    admin("POST", path, {"tags": [{"name": "c"}]}, 201, headers=append)
    assert listed("sort_key=name&sort_dir=asc") == ["a", "b", "c"]
    assert listed("sort_key=name&sort_dir=asc&limit=1&marker=a") == ["b"]
    assert listed("limit=0") == []
    admin("GET", f"{path}?marker=none", status=404)
    admin("PUT", f"{path}/a", {"name": "b"}, 409)
    assert admin("PUT", f"{path}/a", {"name": "d"})["name"] == "d"
    admin("PUT", f"{path}/a", {"name": "e"}, 404)
    admin("DELETE", f"{path}/d", status=204)
    admin("DELETE", f"{path}/d", status=404)
    admin("DELETE", path, status=204)
    assert listed() == []


def test_mdf06_resource_types_outlive_their_associations(admin, empty):
    path = f"{N}/resource_types"
    made = admin("POST", path, {"name": IMAGE, "prefix": "hw_", "properties_target": "image"}, 201)
    assert made.keys() == {"name", "prefix", "properties_target", "created_at", "updated_at"}
    admin("POST", path, {"name": IMAGE}, 409)
    assert admin("GET", path) == {"resource_type_associations": [made]}
    admin("DELETE", f"{path}/{IMAGE}", status=204)
    admin("DELETE", f"{path}/{IMAGE}", status=404)
    assert admin("GET", path) == {"resource_type_associations": []}
    (kind,) = admin("GET", "/v2/metadefs/resource_types")["resource_types"]
    assert kind.keys() == {"name", "created_at", "updated_at"}
    assert kind["name"] == IMAGE


def test_mdf07_names_as_resources_see_them(admin):
    admin("POST", NAMESPACES, FULL, 201)
    for kind, prefix in ((IMAGE, "hw_"), (FLAVOR, "hw:")):
        shown = admin("GET", f"{N}?resource_type={kind}")
        assert list(shown["properties"]) == [f"{prefix}p"]
        assert (list(shown["objects"][0]["properties"]), shown["objects"][0]["required"]) == (
            [f"{prefix}q"], [f"{prefix}q"]
        )
        assert admin("GET", f"{N}/properties/{prefix}p?resource_type={kind}")["name"] == "p"
    for path in (f"p?resource_type={IMAGE}", "hw_p?resource_type=none", "hw_p"):
        admin("GET", f"{N}/properties/{path}", status=404)


def test_mdf08_s43_who_sees_a_namespace(api, admin):
    for name, owner in (("own", "own"), ("other", "other"), ("all", "other")):
        visibility = "public" if name == "all" else "private"
        admin("POST", NAMESPACES, {**FULL, "namespace": name, "visibility": visibility, "owner": owner}, 201)
    assert names(admin) == ["all", "other", "own"]
    for project, seen in (("own", ["all", "own"]), ("other", ["all", "other"]), ("third", ["all"])):
        listed = api.call("GET", NAMESPACES, project=project).json["namespaces"]
        assert [each["namespace"] for each in listed] == seen
        for name in ("own", "other", "all"):
            for path in ("", "/properties", "/properties/p", "/objects/O", "/tags/t", "/resource_types"):
                response = api.call("GET", f"{NAMESPACES}/{name}{path}", project=project)
                assert response.status_code == (200 if name in seen else 404), (project, name, path)
                if name not in seen:
                    missing = api.call("GET", f"{NAMESPACES}/none{path}", project=project)
                    assert response.text.replace(name, "none") == missing.text
            status = api.call("DELETE", f"{NAMESPACES}/{name}", project=project).status_code
            assert status == (403 if name in seen else 404)
    assert api.call("GET", f"{NAMESPACES}?marker=other", project="own").status_code == 404


def test_mdf08_nothing_is_deleted_from_a_protected_namespace(admin):
    admin("POST", NAMESPACES, {**FULL, "protected": True}, 201)
    before = admin("GET", N)
    for path in ("", "/properties", "/properties/p", "/objects", "/objects/O", "/tags", "/tags/t",
                 f"/resource_types/{IMAGE}"):
        admin("DELETE", N + path, status=403)
    assert admin("GET", N) == before
    admin("POST", f"{N}/tags/more", status=201)
    admin("PUT", N, {"namespace": "N"})
    admin("DELETE", N, status=204)


def test_mdf11_the_stock_definitions_are_kept_as_they_are_written(admin):
    for path in STOCK:
        document = json.loads(path.read_text())
        shown = admin("POST", NAMESPACES, document, 201)
        assert shown.get("properties", {}) == document.get("properties", {}), path.name
        kept = [(each["name"], each["properties"]) for each in shown.get("objects", [])]
        assert kept == [(each["name"], each["properties"]) for each in document.get("objects", [])], path.name
    assert len(names(admin, "limit=1000")) == len(STOCK)
