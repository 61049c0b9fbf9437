"""The test Keystone knows the users, and hands out the image service's address."""

import pytest
import requests
from tests.servers.keystone import ADMIN, ALT_DEMO, DEMO, DEMO_READER, GLANCE


@pytest.mark.parametrize("user", [ADMIN, ALT_DEMO, DEMO, DEMO_READER, GLANCE], ids=lambda user: user.name)
def test_a_token_holds_project_and_roles(keystone, user):
    token = keystone.token(user)
    headers = {"X-Auth-Token": keystone.token(ADMIN), "X-Subject-Token": token}
    shown = requests.get(f"{keystone.url}/auth/tokens", headers=headers, timeout=30).json()["token"]
    assert shown["project"]["id"] == keystone.project_ids[user.project]
    assert shown["user"]["id"] == keystone.user_ids[user.name]
    assert set(user.roles) <= {role["name"] for role in shown["roles"]}


def test_the_catalog_holds_the_last_address(keystone):
    for url in ("http://127.0.0.1:1", "http://127.0.0.1:2"):
        keystone.set_image_endpoint(url)
    headers = {"X-Auth-Token": keystone.token(DEMO)}
    catalog = requests.get(f"{keystone.url}/auth/catalog", headers=headers, timeout=30).json()["catalog"]
    image = next(service for service in catalog if service["type"] == "image")
    assert {(e["interface"], e["url"]) for e in image["endpoints"]} == {
        (interface, "http://127.0.0.1:2") for interface in ("public", "internal", "admin")
    }


def test_the_command_line_client_logs_in(keystone, clients):
    token = clients.openstack("token", "issue", "-f", "json", env=keystone.client_environment(DEMO)).json()
    assert token["project_id"] == keystone.project_ids["demo"]
