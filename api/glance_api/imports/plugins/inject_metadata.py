"""The plugin that gives imported images properties of the operator's choice."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import ClassVar

from glance_api.imports.contract import ImageFacts, ImportChanges, Work


class InjectMetadata:
    """``inject_image_metadata``; fulfils ``contract.Plugin``."""

    name: ClassVar[str] = "inject_image_metadata"

    def __init__(self, properties: Mapping[str, str], ignored_roles: Collection[str]) -> None:
        """``ignored_roles``: callers who have one of them, in any case, import their images unchanged."""
        self._properties = dict(properties)
        self._ignored = {role.lower() for role in ignored_roles}

    def apply(self, image: ImageFacts, path: Path, work: Work) -> ImportChanges:  # noqa: ARG002 - part of the protocol
        """Return the properties, in place of what the user gave the same names."""
        if self._ignored.intersection(image.roles):
            return ImportChanges()
        return ImportChanges(properties=self._properties)
