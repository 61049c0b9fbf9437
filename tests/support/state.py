"""What a deployment holds at one moment: the rows, and the files of all its stores."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from tests.servers.web import WebServer
from tests.support.deployment import INCOMING, SENTINEL, Deployment, Row
from tests.support.ledger import Content

Place = tuple[str, str]
"""Store and key."""


@dataclass(frozen=True, slots=True)
class File:
    """What a store holds under one key."""

    content: Content
    md5: str


@dataclass(frozen=True, slots=True)
class State:
    """Rows and files; ``staged`` are the files of staging stores."""

    images: dict[str, Row]
    locations: list[Row]
    operations: list[Row]
    members: dict[str, dict[str, str]]
    """Member → status, by image."""
    files: dict[Place, File]
    staged: dict[Place, File]
    unfinished: list[str]
    foreign: dict[Place, File] = field(default_factory=dict)
    """What web servers hold for registered locations."""

    def file(self, place: Place) -> File | None:
        """Return what lies in a store, None without anything."""
        return self.files.get(place) or self.foreign.get(place)

    def visible(self, image: str) -> bool:
        """Return whether the image is there and not deleted."""
        return image in self.images and self.images[image]["status"] not in ("deleted", "pending_delete")

    def active(self, image: str) -> list[Row]:
        """Return the locations that hold the data of an image."""
        return [row for row in self.locations if str(row["image_id"]) == image and row["status"] == "active"]

    def quarantined(self, image: str) -> list[Row]:
        """Return the locations of an image that were found damaged."""
        return [row for row in self.locations if str(row["image_id"]) == image and row["status"] == "quarantined"]

    def staged_content(self, image: str) -> Content | None:
        """Return what is staged of an image, None without anything."""
        for row in self.locations:
            if str(row["image_id"]) == image and row["status"] == "staged":
                file = self.staged.get((row["store"], row["key"]))
                return None if file is None else file.content
        return None


def content_of(image: Row) -> Content | None:
    """Return the data that the row of an image speaks of."""
    return None if image["os_hash_value"] is None else Content(image["size"], image["os_hash_value"])


def look(deployment: Deployment) -> State:
    """Return what is there now."""
    members: dict[str, dict[str, str]] = {}
    for row in deployment.query("SELECT * FROM members"):
        members.setdefault(str(row["image_id"]), {})[row["member"]] = row["status"]
    directories = {**deployment.stores, **deployment.stagings}
    locations = deployment.query("SELECT * FROM locations")
    return State(
        images={str(row["id"]): row for row in deployment.query("SELECT * FROM images")},
        locations=locations,
        operations=deployment.query("SELECT * FROM operations ORDER BY created_at, id"),
        members=members,
        files={(store, path.name): _read(path) for store, path in _files(deployment.stores)},
        staged={(store, path.name): _read(path) for store, path in _files(deployment.stagings)},
        foreign=dict(_foreign(deployment.web, locations)) if deployment.web is not None else {},
        unfinished=[
            f"{store}: {path.name}" for store, directory in directories.items()
            for path in (directory / INCOMING).glob("*")
        ],
    )


def _files(directories: dict[str, Path]) -> Iterator[tuple[str, Path]]:
    for store, directory in directories.items():
        for path in directory.iterdir():
            if path.is_file() and path.name != SENTINEL:
                yield store, path


def _foreign(web: WebServer, locations: list[Row]) -> Iterator[tuple[Place, File]]:
    for row in locations:
        if row["external"] and (page := web.pages.get(urlsplit(row["key"]).path)) is not None:
            yield (row["store"], row["key"]), _file(page.body)


def _read(path: Path) -> File:
    return _file(path.read_bytes())


def _file(data: bytes) -> File:
    return File(Content.of(data), hashlib.md5(data, usedforsecurity=False).hexdigest())
