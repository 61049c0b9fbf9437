"""Every command of today's clients about metadata definitions, each at least once, against a deployment with Keystone.

What there is to run is read from the clients' own help, so a new command fails here until it is tried.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.e2e.people import People, keystone_options
from tests.servers.keystone import Keystone
from tests.support.clients import Clients, Recorder
from tests.support.daemons import Services

pytestmark = pytest.mark.timeout(1800)

STOCK = Path(__file__).parents[2] / "etc" / "glance" / "metadefs"
IMAGE = "OS::Glance::Image"
TEXT = {"title": "Colour", "type": "string", "description": "of the case", "enum": ["red", "blue"]}


@pytest.fixture(scope="module")
def services(deploy: Callable[..., Services], keystone: Keystone) -> Services:
    """The default deployment with Keystone."""
    return deploy(api=keystone_options(keystone))


@pytest.fixture(scope="module")
def users(services: Services, people: Callable[[Services], People]) -> People:
    """The users of the deployment."""
    return people(services)


def test_every_openstack_metadef_command(users: People, clients: Clients):
    openstack = Recorder(clients.openstack, users.admin_env)
    space, group = "OS::Test::OpenStack", "Case of it"

    created = openstack.json("image metadef namespace create", space, "--display-name", "Test", "--public")
    assert (created["namespace"], created["display_name"], created["visibility"]) == (space, "Test", "public")
    openstack("image metadef namespace set", space, "--description", "d", "--tag", "one", "--tag", "two", "--public")
    shown = openstack.json("image metadef namespace show", space)
    assert (shown["description"], shown["visibility"]) == ("d", "public")
    assert space in [each["namespace"] for each in openstack.json("image metadef namespace list")]
    tags = f"/v2/metadefs/namespaces/{space}/tags"
    assert sorted(each["name"] for each in users.demo.call("GET", tags).json()["tags"]) == ["one", "two"]
    openstack("image metadef namespace unset", space, "--tag", "one")
    openstack("image metadef namespace unset", space, "--all-tags")
    assert users.demo.call("GET", tags).json() == {"tags": []}

    made = openstack.json(
        "image metadef property create", "--name", "colour", "--title", "Colour", "--type", "string",
        "--schema", json.dumps(TEXT), space,
    )
    assert (made["name"], made["enum"]) == ("colour", TEXT["enum"])
    openstack("image metadef property set", "--title", "Paint", space, "colour")
    changed = openstack.json("image metadef property show", space, "colour")
    assert (changed["title"], changed["enum"], changed["description"]) == ("Paint", TEXT["enum"], "of the case")
    assert [each["name"] for each in openstack.json("image metadef property list", space)] == ["colour"]
    openstack("image metadef property delete", space, "colour")

    openstack("image metadef object create", "--namespace", space, group)
    assert [each["name"] for each in openstack.json("image metadef object list", space)] == [group]
    openstack("image metadef object update", space, group, "--name", "Case")
    body = {"name": "Case", "properties": {"colour": TEXT}}
    assert users.admin.call("PUT", f"/v2/metadefs/namespaces/{space}/objects/Case", json=body).status_code == 200
    assert openstack.json("image metadef object show", space, "Case")["name"] == "Case"
    shown = openstack.json("image metadef object property show", space, "Case", "colour")
    assert (shown["name"], shown["title"]) == ("colour", "Colour")
    openstack("image metadef object delete", space, "Case")

    openstack("image metadef resource type association create", space, IMAGE, "--properties-target", "image")
    linked = openstack.json("image metadef resource type association list", space)
    assert IMAGE in json.dumps(linked)
    openstack("image metadef resource type association delete", space, IMAGE)
    assert IMAGE in json.dumps(openstack.json("image metadef resource type list"))
    openstack("image metadef namespace delete", space)

    help_text = clients.openstack("--help", env=users.admin_env).check().output
    known = {name.strip() for name in re.findall(r"^  (image metadef (?:[a-z]+ ?)+?)  ", help_text, re.MULTILINE)}
    assert len(known) > 15, help_text
    assert known - openstack.seen == set()


def test_every_glance_metadef_command(users: People, clients: Clients):
    glance = Recorder(clients.glance, users.admin_env)
    space, group = "OS::Test::Glance", "Case of it"

    glance("md-namespace-create", space, "--display-name", "Test", "--visibility", "public", "--protected", "False")
    glance("md-namespace-update", space, "--description", "new words", "--protected", "False")
    assert space in glance("md-namespace-list", "--visibility", "public", "--page-size", "1").output

    glance("md-property-create", "--name", "colour", "--title", "Colour", "--type", "string",
           "--schema", json.dumps(TEXT), space)
    glance("md-property-update", space, "colour", "--title", "Paint")
    assert "Paint" in glance("md-property-show", space, "colour").output
    assert "colour" in glance("md-property-list", space).output

    schema = json.dumps({"description": "words", "required": ["colour"], "properties": {"colour": TEXT}})
    glance("md-object-create", "--name", group, "--schema", schema, space)
    glance("md-object-update", space, group, "--name", "Case")
    assert "words" in glance("md-object-show", space, "Case").output
    assert "Case" in glance("md-object-list", space).output
    assert "of the case" in glance("md-object-property-show", space, "Case", "colour").output

    glance("md-tag-create", "--name", "one", space)
    glance("md-tag-update", "--name", "two", space, "one")
    assert "two" in glance("md-tag-show", space, "two").output
    # Without --append, with which this client fails before its request.
    glance("md-tag-create-multiple", "--names", "three,four", "--delim", ",", space)
    listed = glance("md-tag-list", space).output
    assert [name in listed for name in ("two", "three", "four")] == [False, True, True]
    glance("md-tag-delete", space, "four")

    glance("md-resource-type-associate", "--name", IMAGE, "--prefix", "case_", space)
    assert "case_" in glance("md-namespace-resource-type-list", space).output
    assert "case_colour" in glance("md-namespace-show", "--resource-type", IMAGE, space).output
    glance("md-namespace-update", space, "--display-name", "With content", "--protected", "False")
    assert "colour" in glance("md-namespace-show", space).output
    glance("md-resource-type-deassociate", space, IMAGE)
    assert IMAGE in glance("md-resource-type-list").output

    glance("md-property-delete", space, "colour")
    glance("md-object-delete", space, "Case")
    for kind in ("objects", "properties", "tags"):
        glance(f"md-namespace-{kind}-delete", space)
    glance("md-namespace-delete", space)
    glance("md-namespace-import", "--file", STOCK / "software-webservers.json")
    refused = clients.glance("md-namespace-delete", "OS::Software::WebServers", env=users.admin_env)
    assert refused.code != 0
    assert "protected" in refused.output + refused.errors

    help_text = clients.glance("help", env=users.admin_env).check().output
    known = set(re.findall(r"^    (md-[a-z-]+)\b", help_text, re.MULTILINE))
    assert len(known) > 25, help_text
    assert known - glance.seen == set()


SDK_STORY = """
import inspect, json
import openstack
from openstack.image.v2 import _proxy

cloud = openstack.connect()
called = set()


class Recorded:
    def __getattr__(self, name):
        called.add(name)
        return getattr(cloud.image, name)


image = Recorded()
space = image.create_metadef_namespace(namespace="OS::Test::SDK", visibility="public")
assert image.get_metadef_namespace(space).visibility == "public"
assert "OS::Test::SDK" in [each.namespace for each in image.metadef_namespaces(limit=1)]
assert image.update_metadef_namespace(space, display_name="x").display_name == "x"
for tag in ("a", "b", "c"):
    image.add_tag_to_metadef_namespace(space, tag)
image.remove_tag_from_metadef_namespace(space, "a")
image.remove_tags_from_metadef_namespace(space)
made = image.create_metadef_property(space, name="p", title="P", type="string", enum=["a"])
assert image.get_metadef_property("p", space).enum == ["a"]
assert image.update_metadef_property("p", space, name="p", title="Q", type="string").title == "Q"
assert [each.name for each in image.metadef_properties(space)] == ["p"]
image.delete_metadef_property("p", space)
image.delete_all_metadef_properties(space)
group = image.create_metadef_object(space, name="o", properties={"p": {"title": "P", "type": "string"}})
assert image.get_metadef_object("o", space).properties["p"]["title"] == "P"
image.create_metadef_object(space, name="o2")
assert [each.name for each in image.metadef_objects(space)] == ["o", "o2"]
assert image.update_metadef_object("o", space, name="o3").name == "o3"
image.delete_metadef_object("o3", space)
image.delete_all_metadef_objects(space)
image.create_metadef_resource_type_association(space, name="OS::Glance::Image", prefix="x_")
assert [each.prefix for each in image.metadef_resource_type_associations(space)] == ["x_"]
image.delete_metadef_resource_type_association("OS::Glance::Image", space)
assert "OS::Glance::Image" in [each.name for each in image.metadef_resource_types()]
kinds = "namespace namespaces resource_type resource_types object objects property properties tag tags"
for kind in kinds.split():
    assert getattr(image, f"get_metadef_{kind}_schema")().properties
image.delete_metadef_namespace(space)
known = [name for name, each in inspect.getmembers(_proxy.Proxy, inspect.isfunction)
         if "metadef" in name and not name.startswith("_")]
print(json.dumps({"called": sorted(called), "known": known}))
"""


def test_every_openstacksdk_metadef_method(users: People, clients: Clients):
    story = json.loads(clients.sdk(SDK_STORY, env=users.admin_env).check().output)
    assert len(story["known"]) > 30
    assert sorted(set(story["known"]) - set(story["called"])) == []
