"""Service catalogs, which come in a header and in two forms."""

import json

import pytest

from glance_common.model.errors import BadRequest
from glance_common.model.service_catalog import find_endpoint

BY_INTERFACE = [{"type": "key-manager", "endpoints": [{"region": "one", "publicURL": "http://one"}]}]
ONE_EACH = [{"type": "key-manager", "endpoints": [
    {"region_id": "one", "interface": "admin", "url": "http://admin"},
    {"region_id": "one", "interface": "public", "url": "http://one"},
]}]


@pytest.mark.parametrize("catalog", [BY_INTERFACE, ONE_EACH])
def test_an_endpoint_is_found_in_both_forms(catalog):
    assert find_endpoint(json.dumps(catalog), "key-manager", "public", "one") == "http://one"
    assert find_endpoint(json.dumps(catalog), "key-manager", "public", None) == "http://one"
    assert find_endpoint(json.dumps(catalog), "key-manager", "public", "two") is None
    assert find_endpoint(json.dumps(catalog), "image", "public", "one") is None


@pytest.mark.parametrize(
    "catalog", [None, "", "{}", "[1]", '[{"type": "image"}]', '[{"type": "image", "endpoints": [1]}]']
)
def test_what_names_nothing_is_no_error(catalog):
    assert find_endpoint(catalog, "image", "public", None) is None


def test_a_broken_catalog_is_the_clients_error():
    with pytest.raises(BadRequest, match="X-Service-Catalog is not JSON"):
        find_endpoint("{", "image", "public", None)
