"""Which names of properties are reserved: one rule for every version of the API, for imports and for the registry."""

import pytest

from glance_api.v2 import fields
from glance_common.model import property_names
from glance_common.model.errors import BadRequest, Forbidden

RESERVED = [
    "os_glance", "os_glancefoo", "os_glance_x", "os_glance_import_task", "OS_Glance_X", "os-glance-x", "os_hash_x",
    "os_hash_value", "OS-Hash-Algo", "checksum", "direct_url", "locations", "location", "stores", "deleted",
    "deleted_at", "owner", "self",
]
FREE = ["os_hash", "os_hashes", "os_glanc", "x_os_glance", "hw_disk_bus", "Checksum", "OWNER", "member", "x" * 255, "ä"]


@pytest.mark.parametrize("name", RESERVED)
def test_s47_s68_names_that_no_caller_may_write(name):
    assert property_names.is_reserved(name)
    assert not property_names.is_allowed(name)
    with pytest.raises(Forbidden, match=name):
        property_names.check(name)


@pytest.mark.parametrize("name", FREE)
def test_names_that_are_free(name):
    assert property_names.is_allowed(name)
    property_names.check(name)


@pytest.mark.parametrize("name", ["", "x" * 256])
def test_s60_names_that_no_property_can_have(name):
    assert not property_names.is_allowed(name)
    with pytest.raises(BadRequest):
        property_names.check(name)


def test_every_field_of_a_document_is_reserved():
    assert fields.NAMES <= property_names.FIELDS
    assert all(property_names.is_reserved(name) for name in property_names.OWN)
