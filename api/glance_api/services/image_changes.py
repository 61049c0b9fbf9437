"""What an update writes to an image, and whether it holds whatever others write to the same image at the same time."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from glance_api.policy.enforcer import Enforcer
from glance_api.policy.images import VISIBILITY_RULES
from glance_api.policy.targets import IMAGE_ATTRIBUTES
from glance_api.services.locations.edit import Operation
from glance_common.model import property_names
from glance_common.model.image import Image
from glance_common.model.image_merge import ImageMerge

_SEEN = ("owner", "status", "visibility", "protected", "os_hidden", "disk_format", "container_format")
"""Fields that checks of an update rest on: a merge needs them as they were."""

_CONSTANT = ("id", "member", "created_at")
"""Fields that no update of an image changes."""


@dataclass(frozen=True, slots=True)
class ImageChanges:
    """What an update writes: base fields by name, the whole of the properties or tags when they change, and what is
    done to the locations, step by step.

    ``named`` are the properties that the request sets or removes, also when that changes nothing. With ``names_all``
    the request writes nothing but these, the tags and the base fields, each of which it names also when it stays.
    """

    fields: Mapping[str, Any] = field(default_factory=dict)
    properties: Mapping[str, str | None] | None = None
    tags: Collection[str] | None = None
    named: Collection[str] = ()
    locations: tuple[Operation, ...] = ()
    names_all: bool = False

    def document(self) -> dict[str, Any]:
        """Return the changes as the registry takes them: without reserved properties, which are there by mistake."""
        document = dict(self.fields)
        if self.properties is not None:
            document["properties"] = {
                name: value for name, value in self.properties.items()
                if name in property_names.OWN or not property_names.is_reserved(name)
            }
        if self.tags is not None:
            document["tags"] = list(self.tags)
        return document


Change = Callable[[Image], ImageChanges]
"""Says what is to differ in the image as it is now, or raises."""


def can_merge(policy: Enforcer, changes: ImageChanges) -> bool:
    """Tell whether the registry may merge the changes with what others write.

    Nothing that others may change meanwhile can then make another decision of the checks, but ``_SEEN``.
    """
    if not changes.names_all or "owner" in changes.fields:
        return False
    known = {name for name, of_image in IMAGE_ATTRIBUTES.items() if of_image in (*_SEEN, *_CONSTANT)}
    asked = [policy.attributes(rule) for rule in ("modify_image", *VISIBILITY_RULES.values())]
    return all(names is not None and known.issuperset(names) for names in asked)


def merge_of(image: Image, changes: ImageChanges, most_properties: int) -> ImageMerge:
    """Return what the registry writes over the image as it is then; ``image`` is as the checks saw it."""
    fields = dict(changes.fields)
    if changes.tags is not None:
        fields["tags"] = list(changes.tags)
    properties = image.properties if changes.properties is None else changes.properties
    return ImageMerge(
        fields=fields,
        seen={name: getattr(image, name) for name in _SEEN},
        set_properties={name: properties[name] for name in changes.named if name in properties},
        remove_properties=[name for name in changes.named if name not in properties],
        present=[name for name in changes.named if name in image.properties],
        most_properties=max(most_properties, -1),
    )
