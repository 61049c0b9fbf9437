"""The one reader of import requests, and of the form in which operations keep them."""

from typing import Any

import pytest

from glance_api.imports.request import ImportInput, ImportRequest
from glance_api.v2 import imports
from glance_common.model.errors import BadRequest

METHODS = ("web-download", "glance-download")
REMOTE = {"name": "glance-download", "glance_region": "north", "glance_image_id": "1"}


def parse(document: dict[str, Any], *, multi_store: bool = True, header: str | None = None) -> ImportRequest:
    return imports.parse(document, methods=METHODS, multi_store=multi_store, header=header)


def test_a_request_is_read_once():
    method = {"name": "web-download", "uri": "http://example.org/"}
    request = parse({"method": method, "stores": ["b", "a", "b"], "all_stores_must_succeed": False}, header="c")
    assert request == ImportRequest(
        {"method": method, "stores": ["b", "a"], "all_stores_must_succeed": False}, "web-download",
        uri="http://example.org/", stores=("b", "a"), header_store="c", all_stores_must_succeed=False,
    )


def test_what_is_not_given_has_the_value_of_the_api():
    request = parse({"method": REMOTE})
    assert (request.glance_region, request.glance_image_id, request.glance_service_interface) == (
        "north", "1", "public",
    )
    assert (request.uri, request.stores, request.all_stores, request.all_stores_must_succeed) == ("", (), False, True)
    assert request.document == {"method": REMOTE}


def test_s59_unknown_members_are_not_kept():
    assert parse({"method": {**REMOTE, "junk": "x"}, "junk": "x"}).document == {"method": REMOTE}


def test_one_store_has_no_choice_of_stores():
    document = {"method": REMOTE, "stores": ["a"], "all_stores": True, "all_stores_must_succeed": True}
    request = parse(document, multi_store=False, header="b")
    assert (request.stores, request.header_store, request.all_stores) == ((), None, False)
    assert request.document == {"method": REMOTE, "all_stores": True, "all_stores_must_succeed": True}
    with pytest.raises(BadRequest, match="all_stores_must_succeed"):
        parse({"method": REMOTE, "all_stores_must_succeed": False}, multi_store=False)


def test_an_operation_keeps_the_whole_import():
    request = parse({"method": REMOTE, "stores": ["a"], "all_stores_must_succeed": False})
    kept = ImportInput("image", request, ("a", "b"), None, "bare").to_document()
    assert kept == {
        "image_id": "image", "import_req": request.document, "backend": ["a", "b"], "disk_format": None,
        "container_format": "bare",
    }
    assert ImportInput.from_document(kept) == ImportInput("image", request, ("a", "b"), None, "bare")
