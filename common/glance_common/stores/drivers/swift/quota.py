"""How much room the quotas of a container and its account leave."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from glance_common.stores.drivers.swift.errors import SwiftFailed

if TYPE_CHECKING:
    from glance_common.stores.drivers.swift.client import SwiftAccount


def free_bytes(account: "SwiftAccount", container: str | None) -> int | None:
    """Return the bytes that can still be written, None when no quota says so. Raises SwiftFailed."""
    left = []
    if container is not None:
        left.append(_left(account.head_container(container), "container"))
    try:
        left.append(_left(account.head_account(), "account"))
    except SwiftFailed as failed:
        # Who may write to a container need not be allowed to look at the account.
        if failed.status != 403:
            raise
    return min((each for each in left if each is not None), default=None)


def _left(headers: Mapping[str, str], kind: str) -> int | None:
    quota, used = (headers.get(f"x-{kind}-{name}", "") for name in ("meta-quota-bytes", "bytes-used"))
    return max(int(quota) - int(used), 0) if quota.isdecimal() and used.isdecimal() else None
