"""A change of an image that the registry merges with what others write at the same time."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from glance_common.model import property_names


@dataclass(frozen=True, slots=True)
class ImageMerge:
    """A change of an image that holds whatever else others change at the same time.

    ``fields`` are columns and their new values, never the owner or the properties. Properties are set and removed one
    by one; ``present`` are those of them that the image had when it was read, and it had none of the others. ``seen``
    are columns that must still have these values. A property can be added as long as the image then has at most
    ``most_properties`` (negative = any number).
    """

    fields: dict[str, Any]
    seen: dict[str, Any]
    set_properties: dict[str, str | None]
    remove_properties: list[str]
    present: list[str]
    most_properties: int

    def applied(self, properties: Mapping[str, str | None]) -> dict[str, str | None]:
        """Return what becomes of ``properties``: without reserved ones, which are there by mistake."""
        removed = set(self.remove_properties)
        kept = {
            name: value for name, value in properties.items()
            if name not in removed and (name in property_names.OWN or not property_names.is_reserved(name))
        }
        return {**kept, **self.set_properties}
