"""Removing an object with its segments, and what writers left that were killed (stores section 6)."""

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import unquote

from glance_common.stores.contract import StoreUnavailable
from glance_common.stores.drivers.swift.place import SwiftObject

if TYPE_CHECKING:
    from glance_common.stores.drivers.swift.client import SwiftAccount

LOG = logging.getLogger(__name__)

_ROUNDS = 5
"""Rounds of listing and deleting segments: some under way may come in after the first one."""


def remove_object(account: "SwiftAccount", found: SwiftObject, headers: Mapping[str, str]) -> None:
    """Remove an object, and the segments that its manifest names; ``headers`` are those of the manifest."""
    if "x-object-manifest" in headers:
        _remove_dynamic_segments(account, found, unquote(headers["x-object-manifest"]))
    # The second name is Ceph's, which tells it that way of the manifest itself.
    static = any(headers.get(f"x-{name}", "") for name in ("static-large-object", "object-meta-static-large-object"))
    account.delete(found.container, found.name, with_segments=static)


def remove_segments(account: "SwiftAccount", container: str, prefix: str) -> None:
    """Remove all objects whose names begin with ``prefix``, which belong to one key. Raises StoreUnavailable."""
    gone: set[str] = set()
    for _ in range(_ROUNDS):
        # A list may be old: what was deleted a moment ago can be in it.
        names = [str(entry["name"]) for entry in account.pages(container, prefix) if entry["name"] not in gone]
        if not names:
            return
        for name in names:
            account.delete(container, name)
            gone.add(name)
    raise StoreUnavailable(f"{container}: segments {prefix} come back after they were deleted")


def _remove_dynamic_segments(account: "SwiftAccount", found: SwiftObject, manifest: str) -> None:
    """Remove the segments of a manifest that names a prefix; they go first, since only the manifest tells where.

    Only segments that are named after the object: a manifest can be changed to name what belongs to others.
    """
    container, _, prefix = manifest.partition("/")
    if prefix.startswith((f"{found.name}-", f"{found.name}/")):
        remove_segments(account, container, prefix)
    else:
        LOG.warning("the segments of %s stay, since they are not named after it", found.name)
