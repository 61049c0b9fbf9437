"""Keys and URLs of images in the accounts of projects (stores section 6).

A key is ``<id>/<container>/<URL of the account>``. The store's own container has an object of that name for each image,
written before its data: so what a killed upload left is found by the id alone.
"""

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote

from glance_common.stores.contract import BadLocation, is_key
from glance_common.stores.drivers.swift.place import SwiftObject

_ACCOUNT = re.compile(r"https?://[^/@\s?#]+(/[^/\s?#]+)*/[^/\s?#]+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class TenantObject:
    """Where the data of one image are: the URL of an account, a container, and the name of the object."""

    name: str
    container: str
    account: str

    @property
    def key(self) -> str:
        """The key that a row keeps."""
        return f"{self.name}/{self.container}/{self.account}"

    @property
    def place(self) -> SwiftObject:
        """The same within the account."""
        return SwiftObject("", self.container, self.name)

    @property
    def url(self) -> str:
        """The location URL."""
        return f"swift+{self.account}/{quote(self.container)}/{self.name}"


def container_of(base: str, name: str) -> str:
    """Return the container of an image."""
    return f"{base}_{name}"


def parse_key(key: str) -> TenantObject | None:
    """Return where the object of a key is; None for the id of an image, whose place only the store's container says.

    Raises BadLocation for other texts.
    """
    if is_key(key):
        return None
    parts = key.split("/", 2)
    found = TenantObject(*parts) if len(parts) == 3 else None
    if found is None or not is_key(found.name) or not _is_whole(found):
        raise BadLocation(f"{key[:80]!r} is not a key of this store: an image id, its container and its account")
    return found


def parse_url(url: str, base: str) -> TenantObject | None:
    """Return what a location URL names, None when it is not one of a store with this ``base`` of its containers."""
    scheme, _, rest = url.partition("://")
    parts = rest.rpartition("@")[2].rsplit("/", 2)
    secure = {"swift": "https", "swift+https": "https", "swift+http": "http"}.get(scheme.lower())
    if secure is None or len(parts) != 3:
        return None
    found = TenantObject(parts[2], unquote(parts[1]), f"{secure}://{parts[0]}")
    is_ours = is_key(found.name) and found.container == container_of(base, found.name) and _is_whole(found)
    return found if is_ours else None


def _is_whole(found: TenantObject) -> bool:
    return found.container.endswith(f"_{found.name}") and _ACCOUNT.fullmatch(found.account) is not None
