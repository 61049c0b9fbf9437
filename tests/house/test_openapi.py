"""Every route of v2 says what it takes and answers, and the OpenAPI document made of that is sound."""

import json
import re
from types import SimpleNamespace

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from tests.unit.api.conftest import make_conf

from glance_api import policy
from glance_api.app import create_app
from glance_api.http.collaborators import HttpServices
from glance_api.policy.enforcer import Enforcer
from glance_api.settings import Settings
from glance_api.v2 import openapi


@pytest.fixture(scope="module")
def app():
    conf = make_conf()
    services = SimpleNamespace(settings=Settings.from_conf(conf), policy=Enforcer(conf), cache=None)
    return create_app(services, HttpServices(permits=None, readers=None, manages_cache=True), lambda inner: inner)


@pytest.fixture(scope="module")
def document(app):
    response = app.test_client().get("/v2/openapi.json")
    assert response.status_code == 200
    return response.json


def test_every_route_is_declared(app):
    assert openapi.undeclared(app) == [], "see glance_api/v2/operations.py"


def test_the_document_holds_every_route(app, document):
    described = {(path, method) for path, methods in document["paths"].items() for method in methods} - {
        (path, "parameters") for path in document["paths"]
    }
    routes = {
        (re.sub("<(?:rest:|uuid:)?([^>]+)>", r"{\1}", rule.rule), method.lower())
        for rule in app.url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
        if rule.rule.startswith("/v2/")
    }
    assert described == routes
    assert len(routes) > 20


def test_policy_rules_guard_calls_that_exist(document):
    named = {
        (operation["path"], operation["method"].lower())
        for rule in policy.RULES
        for operation in getattr(rule, "operations", ())
        if operation["path"].startswith("/v2/")
    }
    assert {call for call in named if call[1] not in document["paths"].get(call[0], ())} == set()


def test_the_document_is_valid(document):
    OpenAPIV31SpecValidator(document).validate()


def test_no_reference_leads_nowhere(document):
    references = set(re.findall(r'"\$ref": "([^"]*)"', json.dumps(document)))
    assert len(references) > 20
    for reference in references:
        assert reference.startswith("#/components/")
        place = document
        for key in reference.split("/")[1:]:
            assert key in place, reference
            place = place[key]
