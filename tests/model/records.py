"""What the model and the machine speak about: callers, images, and answers."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Document = dict[str, Any]
Operation = Mapping[str, Any]
"""One operation of a PATCH: ``op``, ``path`` and, except for a remove, ``value``."""

OCTETS = "application/octet-stream"
V21 = "application/openstack-images-v2.1-json-patch"
V20 = "application/openstack-images-v2.0-json-patch"
MEMBER_STATUSES = ("pending", "accepted", "rejected")


@dataclass(frozen=True)
class Actor:
    """A caller: its project and its roles."""

    name: str
    project: str
    roles: tuple[str, ...]

    @property
    def is_admin(self) -> bool:
        """Whether the caller is an administrator (configuration section 10)."""
        return "admin" in self.roles

    @property
    def may_write(self) -> bool:
        """Whether the caller has the role that writes to the own project (configuration section 10)."""
        return self.is_admin or "member" in self.roles


@dataclass(frozen=True)
class Limits:
    """Options of the API that bound what a caller may keep; sizes are bytes (configuration section 1.1)."""

    properties: int
    tags: int
    members: int
    image_size: int
    project_size: int
    page: int
    largest_page: int


@dataclass
class Image:
    """One image. ``number`` tells the order of creation; ``data`` is None until an upload succeeds."""

    id: str
    number: int
    owner: str | None
    name: str | None = None
    visibility: str = "shared"
    protected: bool = False
    os_hidden: bool = False
    disk_format: str | None = None
    container_format: str | None = None
    min_ram: int = 0
    min_disk: int = 0
    tags: set[str] = field(default_factory=set)
    properties: dict[str, str] = field(default_factory=dict)
    members: dict[str, str] = field(default_factory=dict)
    status: str = "queued"
    data: bytes | None = None

    def document(self) -> Document:
        """Return the image as the API shows it, without times (API section 3)."""
        return {
            **self.properties,
            "id": self.id, "name": self.name, "status": self.status, "visibility": self.visibility,
            "protected": self.protected, "os_hidden": self.os_hidden, "owner": self.owner,
            "disk_format": self.disk_format, "container_format": self.container_format,
            "min_ram": self.min_ram, "min_disk": self.min_disk, "tags": sorted(self.tags), **self._facts(),
            "self": f"/v2/images/{self.id}", "file": f"/v2/images/{self.id}/file", "schema": "/v2/schemas/image",
        }

    def _facts(self) -> Document:
        """Return what the service finds out about the data (API sections 10.1 and 10.2)."""
        if self.data is None:
            names = ("checksum", "os_hash_algo", "os_hash_value", "size", "virtual_size")
            return dict.fromkeys(names)
        return {
            "checksum": hashlib.md5(self.data).hexdigest(),
            "os_hash_algo": "sha512", "os_hash_value": hashlib.sha512(self.data).hexdigest(),
            # Data without a header that the service knows count as a raw disk, which is as large as its data.
            "size": len(self.data), "virtual_size": len(self.data),
        }


@dataclass(frozen=True)
class Expected:
    """The answer to a call that works; what is None is not compared."""

    status: int
    document: Any = None
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


class Refused(Exception):
    """The call is refused with one of ``statuses``: a request with several faults may be refused for any of them."""

    def __init__(self, *statuses: int) -> None:
        super().__init__(*statuses)
        self.statuses = frozenset(statuses)
