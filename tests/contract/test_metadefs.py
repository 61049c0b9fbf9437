"""The catalogue of metadata definitions through the client (metadefs sections 3 to 9)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from tests.support.registry_rows import ADMIN, ANONYMOUS, OWNER, STRANGER
from tests.support.wsgi_adapter import LOST, WsgiAdapter

from glance_common.model import errors
from glance_common.model.context import RequestContext
from glance_common.model.metadef import Association, Namespace, NamespaceQuery, TagQuery
from glance_common.registry_client import RegistryClient
from glance_common.registry_client.metadefs import MetadefsClient

NOBODY = RequestContext("req-nobody")
CPU = {"type": "integer", "title": "vCPUs", "minimum": 1, "default": 2, "operators": ["<or>", "<in>"]}
ARCH = {"title": "Architecture", "type": "string", "enum": ["x86_64", "ä\U0001f600"], "readonly": False}
WHOLE: dict[str, Any] = {
    "namespace": "OS::Compute::Libvirt", "display_name": "libvirt", "description": "of the hypervisor",
    "visibility": "public", "protected": False, "owner": "own",
    "resource_type_associations": [
        {"name": "OS::Nova::Flavor", "prefix": "hw:"},
        {"name": "OS::Glance::Image", "prefix": "hw_", "properties_target": "image"},
        {"name": "OS::Nova::Server"},
    ],
    "properties": {"serial_port_count": CPU, "arch": ARCH},
    "objects": [
        {"name": "limits", "description": "CPU limits", "required": ["shares"], "properties": {"shares": CPU}},
        {"name": "bare"},
    ],
    "tags": [{"name": "b"}, {"name": "a"}],
}


def attempt() -> str:
    return str(uuid4())


@pytest.fixture
def metadefs(client: RegistryClient) -> MetadefsClient:
    return client.metadefs


def make(metadefs: MetadefsClient, namespace: str = "ns", **fields: Any) -> Namespace:
    document = {"namespace": namespace, "owner": "own", "visibility": "public", **fields}
    return metadefs.create_namespace(ADMIN, attempt(), document)


def named(things: Any) -> list[str]:
    return [each.name for each in things]


def listed(metadefs: MetadefsClient, caller: RequestContext = ADMIN, **query: Any) -> list[str]:
    found = metadefs.list_namespaces(caller, NamespaceQuery(**{"limit": 25, **query}))
    return [each.namespace for each in found.namespaces]


def test_mdf01_a_namespace_is_made_and_shown_with_its_content(metadefs: MetadefsClient) -> None:
    made = metadefs.create_namespace(OWNER, attempt(), WHOLE)
    shown = metadefs.get_namespace(STRANGER, WHOLE["namespace"])
    assert shown == made
    assert (made.display_name, made.description, made.visibility, made.protected, made.owner) == (
        "libvirt", "of the hypervisor", "public", False, "own",
    )
    assert made.created_at == made.updated_at
    assert [(each.name, each.prefix, each.properties_target) for each in made.associations] == [
        ("OS::Nova::Flavor", "hw:", None), ("OS::Glance::Image", "hw_", "image"), ("OS::Nova::Server", None, None),
    ]
    assert [(each.name, each.definition) for each in made.properties] == [("serial_port_count", CPU), ("arch", ARCH)]
    assert list(made.properties[0].definition) == list(CPU)
    limits, bare = made.objects
    assert (limits.description, limits.required, limits.properties) == ("CPU limits", ("shares",), {"shares": CPU})
    assert (bare.description, bare.required, bare.properties) == (None, None, {})
    assert named(made.tags) == ["b", "a"]
    base = metadefs.get_namespace(ADMIN, WHOLE["namespace"], content=False)
    assert base.associations == made.associations
    assert (base.properties, base.objects, base.tags) == ((), (), ())


def test_mdf01_defaults_and_a_full_replacement_of_the_base_fields(metadefs: MetadefsClient) -> None:
    made = metadefs.create_namespace(ADMIN, attempt(), {"namespace": "ns", "tags": [{"name": "kept"}]})
    assert (made.display_name, made.description, made.visibility, made.protected, made.owner) == (
        None, None, "private", False, None,
    )
    wanted = {"namespace": "new", "display_name": "New", "visibility": "public", "protected": True, "owner": "own"}
    changed = metadefs.update_namespace(ADMIN, "ns", attempt(), wanted)
    assert (changed.namespace, changed.display_name, changed.protected) == ("new", "New", True)
    assert changed.created_at == made.created_at
    changed = metadefs.update_namespace(ADMIN, "new", attempt(), {"namespace": "new"})
    assert (changed.display_name, changed.visibility, changed.protected) == (None, "private", False)
    assert named(metadefs.get_namespace(ADMIN, "new").tags) == ["kept"]
    with pytest.raises(errors.NotFound):
        metadefs.get_namespace(ADMIN, "ns")


def test_names_are_unique_and_a_failed_creation_leaves_nothing(metadefs: MetadefsClient) -> None:
    make(metadefs, "one")
    make(metadefs, "two")
    with pytest.raises(errors.Duplicate, match="one"):
        make(metadefs, "one")
    with pytest.raises(errors.Duplicate, match="two"):
        metadefs.update_namespace(ADMIN, "one", attempt(), {"namespace": "two"})
    with pytest.raises(errors.Duplicate, match="tag t"):
        make(metadefs, "three", properties={"p": CPU}, tags=[{"name": "t"}, {"name": "t"}])
    with pytest.raises(errors.Duplicate, match="object o"):
        make(metadefs, "three", objects=[{"name": "o"}, {"name": "o"}])
    with pytest.raises(errors.Duplicate, match="resource type association r"):
        make(metadefs, "three", resource_type_associations=[{"name": "r"}, {"name": "r"}])
    assert listed(metadefs) == ["two", "one"]
    assert metadefs.list_resource_types(ADMIN) == []


def test_a_deleted_namespace_takes_its_content_along_and_leaves_resource_types(metadefs: MetadefsClient) -> None:
    metadefs.create_namespace(ADMIN, attempt(), WHOLE)
    metadefs.delete_namespace(ADMIN, WHOLE["namespace"], attempt())
    with pytest.raises(errors.NotFound):
        metadefs.delete_namespace(ADMIN, WHOLE["namespace"], attempt())
    assert named(metadefs.list_resource_types(STRANGER)) == [
        "OS::Glance::Image", "OS::Nova::Flavor", "OS::Nova::Server",
    ]
    made = make(metadefs, WHOLE["namespace"])
    assert (made.properties, made.objects, made.tags, made.associations) == ((), (), (), ())


def test_mdf02_properties(metadefs: MetadefsClient) -> None:
    make(metadefs)
    made = metadefs.create_property(ADMIN, "ns", attempt(), "cpu", CPU)
    assert (made.name, made.definition) == ("cpu", CPU)
    metadefs.create_property(ADMIN, "ns", attempt(), "a/b", ARCH)
    assert metadefs.list_properties(STRANGER, "ns") == [made, metadefs.get_property(STRANGER, "ns", "a/b")]
    for call in (
        lambda: metadefs.create_property(ADMIN, "ns", attempt(), "cpu", ARCH),
        lambda: metadefs.update_property(ADMIN, "ns", "a/b", attempt(), "cpu", ARCH),
    ):
        with pytest.raises(errors.Duplicate, match="property cpu"):
            call()
    with pytest.raises(errors.NotFound, match="property none"):
        metadefs.update_property(ADMIN, "ns", "none", attempt(), "cpu", ARCH)
    changed = metadefs.update_property(ADMIN, "ns", "cpu", attempt(), "cores", ARCH)
    assert (changed.name, changed.definition, changed.created_at) == ("cores", ARCH, made.created_at)
    metadefs.delete_property(ADMIN, "ns", "a/b", attempt())
    assert named(metadefs.list_properties(ADMIN, "ns")) == ["cores"]
    metadefs.delete_properties(ADMIN, "ns", attempt())
    assert metadefs.list_properties(ADMIN, "ns") == []


def test_mdf03_objects(metadefs: MetadefsClient) -> None:
    make(metadefs)
    document = {"name": "o", "description": "d", "required": ["p"], "properties": {"p": CPU, "a": ARCH}}
    made = metadefs.create_object(ADMIN, "ns", attempt(), document)
    assert (made.description, made.required, list(made.properties)) == ("d", ("p",), ["p", "a"])
    metadefs.create_object(ADMIN, "ns", attempt(), {"name": "other", "required": []})
    assert metadefs.get_object(STRANGER, "ns", "other").required == ()
    with pytest.raises(errors.Duplicate, match="object o "):
        metadefs.create_object(ADMIN, "ns", attempt(), {"name": "o"})
    with pytest.raises(errors.Duplicate, match="object other"):
        metadefs.update_object(ADMIN, "ns", "o", attempt(), {"name": "other"})
    with pytest.raises(errors.NotFound, match="object none"):
        metadefs.update_object(ADMIN, "ns", "none", attempt(), {"name": "other"})
    changed = metadefs.update_object(ADMIN, "ns", "o", attempt(), {"name": "o"})
    assert (changed.description, changed.required, changed.properties) == (None, None, {})
    assert named(metadefs.list_objects(ADMIN, "ns")) == ["o", "other"]
    metadefs.delete_object(ADMIN, "ns", "o", attempt())
    metadefs.delete_objects(ADMIN, "ns", attempt())
    assert metadefs.list_objects(ADMIN, "ns") == []


def test_mdf04_mdf05_tags_one_by_one_and_many_at_once(metadefs: MetadefsClient) -> None:
    make(metadefs)
    assert metadefs.create_tag(ADMIN, "ns", attempt(), "x").name == "x"
    with pytest.raises(errors.Duplicate):
        metadefs.create_tag(ADMIN, "ns", attempt(), "x")
    assert named(metadefs.create_tags(ADMIN, "ns", attempt(), ["c", "a", "b"])) == ["c", "a", "b"]
    for names, append in ((["d", "d"], False), (["d", "d"], True), (["d", "a"], True)):
        with pytest.raises(errors.Duplicate, match=r"tag [da] "):
            metadefs.create_tags(ADMIN, "ns", attempt(), names, append=append)
    assert named(metadefs.create_tags(ADMIN, "ns", attempt(), ["e"], append=True)) == ["e"]
    assert metadefs.rename_tag(ADMIN, "ns", "c", attempt(), "z").name == "z"
    with pytest.raises(errors.Duplicate):
        metadefs.rename_tag(ADMIN, "ns", "z", attempt(), "a")
    with pytest.raises(errors.NotFound, match="tag none"):
        metadefs.rename_tag(ADMIN, "ns", "none", attempt(), "a")
    query = TagQuery(sort_key="name", sort_dir="asc")
    assert named(metadefs.list_tags(STRANGER, "ns", query)) == ["a", "b", "e", "z"]
    metadefs.delete_tag(ADMIN, "ns", "a", attempt())
    with pytest.raises(errors.NotFound):
        metadefs.get_tag(ADMIN, "ns", "a")
    metadefs.delete_tags(ADMIN, "ns", attempt())
    assert metadefs.list_tags(ADMIN, "ns", TagQuery()) == []
    assert metadefs.create_tags(ADMIN, "ns", attempt(), []) == []


def test_mdf06_associations_and_resource_types(metadefs: MetadefsClient) -> None:
    make(metadefs)
    document = {"name": "OS::Nova::Server", "prefix": "p_", "properties_target": "metadata"}
    made = metadefs.create_association(ADMIN, "ns", attempt(), document)
    assert (made.name, made.prefix, made.properties_target) == tuple(document.values())
    with pytest.raises(errors.Duplicate):
        metadefs.create_association(ADMIN, "ns", attempt(), {"name": "OS::Nova::Server"})
    assert metadefs.list_associations(STRANGER, "ns") == [made]
    metadefs.delete_association(ADMIN, "ns", "OS::Nova::Server", attempt())
    assert metadefs.list_associations(ADMIN, "ns") == []
    assert named(metadefs.list_resource_types(ADMIN)) == ["OS::Nova::Server"]


def test_mdf07_properties_as_a_resource_type_knows_them(metadefs: MetadefsClient) -> None:
    whole = metadefs.create_namespace(ADMIN, attempt(), WHOLE)
    seen = whole.prefixed("OS::Glance::Image")
    assert named(seen.properties) == ["hw_serial_port_count", "hw_arch"]
    assert (list(seen.objects[0].properties), seen.objects[0].required) == (["hw_shares"], ("hw_shares",))
    assert seen.objects[1] == whole.objects[1]
    assert whole.prefixed("OS::Nova::Server") == whole.prefixed("unknown") == whole

    def get(name: str, resource_type: str) -> str:
        return metadefs.get_property(STRANGER, whole.namespace, name, resource_type=resource_type).name

    assert get("hw_arch", "OS::Glance::Image") == get("hw:arch", "OS::Nova::Flavor") == "arch"
    assert get("arch", "OS::Nova::Server") == "arch"
    for name, resource_type in (
        ("arch", "OS::Glance::Image"), ("hw_arch", "OS::Nova::Flavor"), ("hw_", "OS::Glance::Image"),
        ("hw_hw_arch", "OS::Glance::Image"), ("arch", "unknown"),
    ):
        with pytest.raises(errors.NotFound):
            get(name, resource_type)


@pytest.mark.parametrize("caller", [ADMIN, OWNER, STRANGER, ANONYMOUS, NOBODY], ids=lambda caller: caller.request_id)
def test_mdf08_who_sees_which_namespaces(metadefs: MetadefsClient, caller: RequestContext) -> None:
    kinds = {(visibility, owner) for visibility in ("public", "private") for owner in ("own", "stranger", None)}
    for visibility, owner in sorted(kinds, key=str):
        make(metadefs, f"{visibility} {owner}", visibility=visibility, owner=owner, tags=[{"name": "t"}])
    expected = {
        f"{visibility} {owner}" for visibility, owner in kinds
        if caller.is_admin or visibility == "public" or (owner is not None and owner == caller.project_id)
    }
    assert set(listed(metadefs, caller)) == expected
    for namespace in (f"{visibility} {owner}" for visibility, owner in kinds):
        if namespace in expected:
            assert metadefs.get_namespace(caller, namespace).namespace == namespace
            assert metadefs.get_tag(caller, namespace, "t").name == "t"
        else:
            assert_absent(metadefs, caller, namespace)
            with pytest.raises(errors.NotFound):
                listed(metadefs, caller, marker=namespace)


def test_s43_an_absent_namespace_is_absent_for_every_call(metadefs: MetadefsClient) -> None:
    make(metadefs, "hidden", visibility="private", tags=[{"name": "t"}])
    for namespace in ("hidden", "nowhere", "", "a/tags", ".", ".."):
        assert_absent(metadefs, STRANGER, namespace)
    assert named(metadefs.get_namespace(ADMIN, "hidden").tags) == ["t"]


def assert_absent(metadefs: MetadefsClient, caller: RequestContext, namespace: str) -> None:
    reads: list[Callable[[], Any]] = [
        lambda: metadefs.get_namespace(caller, namespace),
        lambda: metadefs.get_namespace(caller, namespace, content=False),
        lambda: metadefs.list_properties(caller, namespace),
        lambda: metadefs.list_objects(caller, namespace),
        lambda: metadefs.list_tags(caller, namespace, TagQuery()),
        lambda: metadefs.list_associations(caller, namespace),
        lambda: metadefs.get_tag(caller, namespace, "t"),
        lambda: metadefs.get_property(caller, namespace, "p", resource_type="r"),
    ]
    writes: list[Callable[[], Any]] = [
        lambda: metadefs.update_namespace(caller, namespace, attempt(), {"namespace": "x"}),
        lambda: metadefs.delete_namespace(caller, namespace, attempt()),
        lambda: metadefs.create_property(caller, namespace, attempt(), "p", CPU),
        lambda: metadefs.update_object(caller, namespace, "o", attempt(), {"name": "o"}),
        lambda: metadefs.create_tags(caller, namespace, attempt(), ["t"]),
        lambda: metadefs.delete_tag(caller, namespace, "t", attempt()),
        lambda: metadefs.delete_tags(caller, namespace, attempt()),
        lambda: metadefs.create_association(caller, namespace, attempt(), {"name": "r"}),
    ]
    for call in reads if caller.read_only else [*reads, *writes]:
        with pytest.raises(errors.NotFound):
            call()


def test_mdf08_a_protected_namespace_loses_nothing_and_may_be_added_to(metadefs: MetadefsClient) -> None:
    name = WHOLE["namespace"]
    before = metadefs.create_namespace(ADMIN, attempt(), {**WHOLE, "protected": True})
    for call in (
        lambda: metadefs.delete_namespace(ADMIN, name, attempt()),
        lambda: metadefs.delete_property(ADMIN, name, "arch", attempt()),
        lambda: metadefs.delete_properties(ADMIN, name, attempt()),
        lambda: metadefs.delete_object(ADMIN, name, "bare", attempt()),
        lambda: metadefs.delete_objects(ADMIN, name, attempt()),
        lambda: metadefs.delete_tag(ADMIN, name, "a", attempt()),
        lambda: metadefs.delete_tags(ADMIN, name, attempt()),
        lambda: metadefs.create_tags(ADMIN, name, attempt(), ["new"]),
        lambda: metadefs.delete_association(ADMIN, name, "OS::Nova::Server", attempt()),
    ):
        with pytest.raises(errors.Forbidden, match="protected"):
            call()
    assert metadefs.get_namespace(ADMIN, name) == before
    metadefs.create_tags(ADMIN, name, attempt(), ["new"], append=True)
    metadefs.update_property(ADMIN, name, "arch", attempt(), "arch", CPU)
    metadefs.update_namespace(ADMIN, name, attempt(), {"namespace": name})
    metadefs.delete_namespace(ADMIN, name, attempt())


@pytest.mark.parametrize("sort_key", ["created_at", "namespace", "display_name", "owner", "visibility", "protected"])
@pytest.mark.parametrize("sort_dir", ["asc", "desc"])
def test_pages_hold_every_namespace_once(metadefs: MetadefsClient, sort_key: str, sort_dir: str) -> None:
    for number, (display, owner) in enumerate((("b", "own"), (None, "own"), ("a", None), ("a", "z"), (None, None))):
        make(metadefs, f"n{number}", display_name=display, owner=owner, visibility=("public", "private")[number % 2],
             protected=number > 2)
    order: dict[str, Any] = {"sort_key": sort_key, "sort_dir": sort_dir}
    whole = metadefs.list_namespaces(ADMIN, NamespaceQuery(limit=25, **order)).namespaces
    keys = [getattr(each, sort_key) or "" if sort_key != "protected" else each.protected for each in whole]
    assert keys == sorted(keys, reverse=sort_dir == "desc")
    marker: str | None = None
    paged: list[str] = []
    while page := listed(metadefs, limit=2, marker=marker, **order):
        paged += page
        marker = page[-1]
    assert paged == [each.namespace for each in whole]
    assert len(paged) == 5


def test_filters_of_namespaces(metadefs: MetadefsClient) -> None:
    make(metadefs, "image", resource_type_associations=[{"name": "I"}, {"name": "V"}])
    make(metadefs, "flavor", resource_type_associations=[{"name": "F"}])
    make(metadefs, "secret", visibility="private", resource_type_associations=[{"name": "I"}])
    assert listed(metadefs) == ["secret", "flavor", "image"]
    assert listed(metadefs, resource_types=("I", "V")) == ["secret", "image"]
    assert listed(metadefs, resource_types=("I", "F"), visibility="public") == ["flavor", "image"]
    assert listed(metadefs, resource_types=("nothing",)) == []
    assert listed(metadefs, STRANGER, visibility="private") == []
    assert listed(metadefs, OWNER, visibility="private") == ["secret"]
    assert listed(metadefs, limit=0) == []
    [found] = metadefs.list_namespaces(ADMIN, NamespaceQuery(limit=1, resource_types=("V",))).namespaces
    assert named(found.associations) == ["I", "V"]


def test_pages_of_tags(metadefs: MetadefsClient) -> None:
    make(metadefs, tags=[{"name": name} for name in ("m", "a", "z")])

    def tags(**query: Any) -> list[str]:
        return named(metadefs.list_tags(ADMIN, "ns", TagQuery(**query)))

    assert tags() == ["z", "a", "m"]
    assert tags(sort_key="name", sort_dir="asc", limit=2) == ["a", "m"]
    assert tags(sort_key="name", sort_dir="asc", limit=2, marker="m") == ["z"]
    assert tags(marker="z", limit=1) == ["a"]
    assert tags(limit=0) == []
    with pytest.raises(errors.NotFound):
        tags(marker="unknown")


@pytest.mark.parametrize("wrong", [
    {"sort_key": "id"}, {"sort_key": "owner; drop"}, {"sort_dir": "up"}, {"visibility": "shared"}, {"limit": -1},
    {"limit": "x"}, {"marker": 5}, {"resource_types": "I"},
])
def test_s54_wrong_queries_name_the_field(metadefs: MetadefsClient, wrong: dict[str, Any]) -> None:
    with pytest.raises(errors.BadRequest, match=next(iter(wrong))):
        listed(metadefs, **wrong)
    if "visibility" not in wrong and "resource_types" not in wrong:
        make(metadefs)
        with pytest.raises(errors.BadRequest, match=next(iter(wrong))):
            metadefs.list_tags(ADMIN, "ns", TagQuery(**wrong))


@pytest.mark.parametrize(("fields", "place"), [
    ({"namespace": ""}, "namespace"), ({"namespace": "a/b"}, "namespace"), ({"namespace": "x" * 81}, "namespace"),
    ({"namespace": "a\0"}, "NUL"), ({"unknown": 1}, "unknown"), ({"visibility": "shared"}, "visibility"),
    ({"protected": "yes"}, "protected"), ({"description": "x" * 501}, "description"), ({"tags": ["t"]}, r"tags\[0\]"),
    ({"properties": {"p": {"title": "t"}}}, "properties.p.*type"),
    ({"properties": {"p": {"title": "t", "type": "text"}}}, "properties.p.type"),
    ({"properties": {"p": {"title": "t", "type": "string", "maxLength": -1}}}, "properties.p.maxLength"),
    ({"properties": {"x" * 81: CPU}}, "properties"), ({"properties": []}, "properties"),
    ({"objects": [{"name": "o", "properties": {"p": {}}}]}, r"objects\[0\].properties.p"),
    ({"resource_type_associations": [{"prefix": "p"}]}, r"resource_type_associations\[0\].*name"),
])
def test_s54_s59_wrong_documents_are_refused_with_the_place(
    metadefs: MetadefsClient, fields: dict[str, Any], place: str
) -> None:
    with pytest.raises(errors.BadRequest, match=place) as caught:
        make(metadefs, **fields)
    assert len(caught.value.message) < 600
    assert listed(metadefs) == []


def test_a_wrong_value_of_any_length_makes_a_short_message(metadefs: MetadefsClient) -> None:
    with pytest.raises(errors.BadRequest) as caught:
        make(metadefs, objects=[{"name": "o", "description": ["x" * 10_000]}])
    assert len(caught.value.message) < 600


WRITES: dict[str, Callable[[MetadefsClient, str], Any]] = {
    "create": lambda m, a: m.create_namespace(ADMIN, a, {"namespace": "made", "tags": [{"name": "t"}]}),
    "update": lambda m, a: m.update_namespace(ADMIN, "ns", a, {"namespace": "renamed"}),
    "delete": lambda m, a: m.delete_namespace(ADMIN, "ns", a),
    "property": lambda m, a: m.create_property(ADMIN, "ns", a, "q", CPU),
    "rename": lambda m, a: m.update_property(ADMIN, "ns", "p", a, "r", CPU),
    "object": lambda m, a: m.create_object(ADMIN, "ns", a, {"name": "o"}),
    "tags": lambda m, a: m.create_tags(ADMIN, "ns", a, ["u", "v"], append=True),
    "remove": lambda m, a: m.delete_property(ADMIN, "ns", "p", a),
    "association": lambda m, a: m.create_association(ADMIN, "ns", a, {"name": "R"}),
}


@pytest.mark.parametrize("write", WRITES)
def test_a_write_whose_answer_was_lost_is_answered_again(
    metadefs: MetadefsClient, adapter: WsgiAdapter, write: str
) -> None:
    make(metadefs, properties={"p": CPU}, tags=[{"name": "t"}])
    same = attempt()
    adapter.faults = [LOST]
    first = WRITES[write](metadefs, same)
    assert WRITES[write](metadefs, same) == first
    if write != "update":
        with pytest.raises((errors.Duplicate, errors.NotFound)):
            WRITES[write](metadefs, attempt())


def test_associations_come_as_values(metadefs: MetadefsClient) -> None:
    made = make(metadefs, resource_type_associations=[{"name": "R"}])
    assert made.associations == (Association("R", None, None, made.created_at, made.created_at),)
