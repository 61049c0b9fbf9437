"""Changes of an image that others may write to at the same time, through the client."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from tests.support.registry_rows import ANONYMOUS, OWNER, STRANGER, insert_image

from glance_common.model import errors
from glance_common.model.image import Image
from glance_common.model.image_merge import ImageMerge
from glance_common.registry_client import RegistryClient

SEEN = ("owner", "status", "visibility", "protected", "os_hidden", "disk_format", "container_format")


def new() -> str:
    return str(uuid4())


def merge(image: Image, removed: tuple[str, ...] = (), most: int = -1, **properties: str | None) -> ImageMerge:
    """Return a change of properties of the image as it was read."""
    return merge_all(image, properties, removed, most)


def merge_all(
    image: Image, properties: dict[str, str | None], removed: tuple[str, ...] = (), most: int = -1
) -> ImageMerge:
    """As ``merge``; the properties have any names."""
    return ImageMerge(
        fields={},
        seen={name: getattr(image, name) for name in SEEN},
        set_properties=properties,
        remove_properties=list(removed),
        present=[name for name in (*properties, *removed) if name in image.properties],
        most_properties=most,
    )


@pytest.fixture
def image(client: RegistryClient, engine: sa.Engine) -> Image:
    return client.images.get(OWNER, insert_image(engine, properties={"a": "1", "b": "2", "os_glance_stage_host": "h"}))


def test_changes_of_the_same_row_all_stay(client: RegistryClient, image: Image) -> None:
    first = client.images.merge(OWNER, image.id, new(), merge(image, c="3"))
    tagged = client.images.add_tag(OWNER, image.id, "t", new())
    fields = {"name": "n", "min_ram": 7}
    changes = merge(image, ("a",), b="later", d=None)
    last = client.images.merge(OWNER, image.id, new(), ImageMerge(**{**_values(changes), "fields": fields}))
    assert (first.row_version, tagged.row_version, last.row_version) == (2, 3, 4)
    assert last.properties == {"b": "later", "c": "3", "d": None, "os_glance_stage_host": "h"}
    assert (last.name, last.min_ram, last.tags) == ("n", 7, ["t"])
    assert last == client.images.get(OWNER, image.id)


def _values(changes: ImageMerge) -> dict[str, Any]:
    return {name: getattr(changes, name) for name in ImageMerge.__dataclass_fields__}


@pytest.mark.parametrize(
    "meanwhile", [{"visibility": "public"}, {"protected": True}, {"os_hidden": True}, {"disk_format": "qcow2"}]
)
def test_what_the_checks_rest_on_must_be_as_it_was(
    client: RegistryClient, image: Image, meanwhile: dict[str, Any]
) -> None:
    other = client.images.update(OWNER, image.id, new(), 1, meanwhile)
    with pytest.raises(errors.VersionConflict):
        client.images.merge(OWNER, image.id, new(), merge(image, c="3"))
    assert client.images.get(OWNER, image.id) == other
    assert client.images.merge(OWNER, image.id, new(), merge(other, c="3")).properties["c"] == "3"


@pytest.mark.parametrize(("removed", "properties"), [(("a",), {}), ((), {"a": "3"}), ((), {"new": "3"})])
def test_a_property_that_came_or_went_is_told(
    client: RegistryClient, image: Image, removed: tuple[str, ...], properties: dict[str, str | None]
) -> None:
    client.images.merge(OWNER, image.id, new(), merge(image, ("a",), new="1"))
    with pytest.raises(errors.VersionConflict):
        client.images.merge(OWNER, image.id, new(), merge_all(image, properties, removed))


def test_the_quota_is_that_of_the_row_as_it_is(client: RegistryClient, image: Image) -> None:
    client.images.merge(OWNER, image.id, new(), merge(image, most=3, c="3"))
    with pytest.raises(errors.VersionConflict):
        client.images.merge(OWNER, image.id, new(), merge(image, most=3, d="4"))
    # Nothing new comes, or something goes for it.
    client.images.merge(OWNER, image.id, new(), merge(image, most=1, a="5"))
    assert "d" in client.images.merge(OWNER, image.id, new(), merge(image, ("a",), most=3, d="4")).properties


def test_the_bound_of_a_document_holds(client: RegistryClient, image: Image) -> None:
    with pytest.raises(errors.TooLarge):
        client.images.merge(OWNER, image.id, new(), merge_all(image, {f"p{n}": "x" * 60_000 for n in range(10)}))
    assert client.images.get(OWNER, image.id) == image


def test_a_repeated_merge_changes_nothing(client: RegistryClient, image: Image) -> None:
    attempt = new()
    first = client.images.merge(OWNER, image.id, attempt, merge(image, ("a",), c="3"))
    assert client.images.merge(OWNER, image.id, attempt, merge(image, ("a",), c="3")) == first


def test_s43_s47_strangers_and_reserved_names(client: RegistryClient, image: Image) -> None:
    with pytest.raises(errors.NotFound):
        client.images.merge(STRANGER, image.id, new(), merge(image, c="3"))
    with pytest.raises(errors.Forbidden):
        client.images.merge(ANONYMOUS, image.id, new(), merge(image, c="3"))
    for changes in (merge(image, os_glance_x="1"), merge(image, ("os_glance_stage_host",))):
        with pytest.raises(errors.Forbidden):
            client.images.merge(OWNER, image.id, new(), changes)
    for field in ("owner", "status", "size", "properties"):
        changes = ImageMerge(**{**_values(merge(image)), "fields": {field: "x"}})
        with pytest.raises(errors.BadRequest):
            client.images.merge(OWNER, image.id, new(), changes)
    assert client.images.get(OWNER, image.id) == image
