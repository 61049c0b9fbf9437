"""Addresses at which an object can be read for some seconds without further credentials (temp URLs)."""

import hashlib
import hmac
import time
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from glance_common.stores.drivers.swift.place import SwiftObject

if TYPE_CHECKING:
    from glance_common.stores.drivers.swift.client import SwiftAccount


def temp_url(account: "SwiftAccount", found: SwiftObject, key: str, seconds: int) -> str:
    """Return a URL for reading, signed with ``key``. It is a credential. Raises SwiftFailed."""
    offered = account.info().get("tempurl")
    digests = offered.get("allowed_digests") if isinstance(offered, dict) else None
    # Ceph names no digests and knows only the older one.
    digest = hashlib.sha256 if isinstance(digests, list) and "sha256" in digests else hashlib.sha1
    parts = urlsplit(account.storage_url())
    path = f"{unquote(parts.path)}/{found.container}/{found.name}"
    ends_at = int(time.time()) + seconds
    signature = hmac.new(key.encode(), f"GET\n{ends_at}\n{path}".encode(), digest).hexdigest()
    return f"{parts.scheme}://{parts.netloc}{quote(path)}?temp_url_sig={signature}&temp_url_expires={ends_at}"
