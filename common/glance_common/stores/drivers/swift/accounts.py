"""The accounts of a store, one a login."""

from glance_common.stores.drivers.swift.client import SwiftAccount
from glance_common.stores.drivers.swift.options import SwiftOptions
from glance_common.stores.drivers.swift.tokens import SwiftTokens
from glance_common.stores.drivers.swift.wire import SwiftWire


def open_accounts(options: SwiftOptions) -> dict[str, SwiftAccount]:
    """Return reference → account. No server is asked."""
    wire = SwiftWire(options.transport)
    return {
        reference: SwiftAccount(
            SwiftTokens(login, options.endpoint, wire, options.expire_soon), wire, f"swift://{login.server}"
        )
        for reference, login in options.logins.items()
    }
