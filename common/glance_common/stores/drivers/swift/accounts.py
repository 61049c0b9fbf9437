"""The accounts of a store, one a login."""

import logging

from glance_common.stores.drivers.swift.client import SwiftAccount
from glance_common.stores.drivers.swift.options import SwiftOptions
from glance_common.stores.drivers.swift.tokens import SwiftTokens
from glance_common.stores.drivers.swift.wire import SwiftWire

LOG = logging.getLogger(__name__)


def open_accounts(options: SwiftOptions) -> dict[str, SwiftAccount]:
    """Return reference → account. No server is asked."""
    wire = SwiftWire(options.transport)
    if not options.transport.verify:
        LOG.warning("swift_store_auth_insecure: certificates of Swift and Keystone are not checked")
    return {
        reference: SwiftAccount(
            SwiftTokens(login, options.endpoint, wire, options.expire_soon), wire, f"swift://{login.server}"
        )
        for reference, login in options.logins.items()
    }
