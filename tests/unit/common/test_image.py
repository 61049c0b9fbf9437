"""Images out of the registry's answers."""

from typing import Any

from glance_common.model.image import Image

DOCUMENT: dict[str, Any] = {
    "id": "i", "name": None, "status": "active", "visibility": "shared", "owner": "o", "disk_format": "raw",
    "container_format": "bare", "size": 1, "virtual_size": None, "min_disk": 2, "min_ram": 3, "protected": False,
    "os_hidden": True, "checksum": None, "os_hash_algo": None, "os_hash_value": None, "created_at": "then",
    "updated_at": "now", "row_version": 4, "properties": {"a": "b"}, "tags": ["t"], "deleted_at": None, "member": "m",
}
LOCATIONS = [{"id": "l", "store": "s", "key": "k", "metadata": {}}]


def image(document: dict[str, Any]) -> Image:
    return Image.from_document(dict(document))


def test_an_image_of_a_page_is_the_image_of_its_document() -> None:
    rows = [list(document.values()) for document in (DOCUMENT, {**DOCUMENT, "id": "j"})]
    assert Image.from_rows(list(DOCUMENT), rows) == [image(DOCUMENT), image({**DOCUMENT, "id": "j"})]


def test_the_names_tell_which_value_is_which_and_unknown_ones_are_ignored() -> None:
    document = {"of_a_newer_registry": 1, **dict(reversed(DOCUMENT.items())), "locations": LOCATIONS}
    [found] = Image.from_rows(list(document), [list(document.values())])
    assert found == image({**DOCUMENT, "locations": LOCATIONS})
    assert [location.key for location in found.locations] == ["k"]


def test_a_page_without_images_is_empty() -> None:
    assert Image.from_rows(list(DOCUMENT), []) == []
