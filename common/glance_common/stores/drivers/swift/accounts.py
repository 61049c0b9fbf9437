"""The accounts of a store, one a login; needs the client libraries."""

import logging

from glance_common.stores.drivers.swift.client import SwiftAccount
from glance_common.stores.drivers.swift.options import SwiftOptions
from glance_common.stores.drivers.swift.tenant_accounts import TenantAccounts
from glance_common.stores.drivers.swift.tokens import SwiftTokens
from glance_common.stores.drivers.swift.wire import SwiftWire

LOG = logging.getLogger(__name__)


def open_accounts(options: SwiftOptions) -> tuple[dict[str, SwiftAccount], TenantAccounts]:
    """Return reference → account, and what opens the accounts of projects. No server is asked."""
    if not options.transport.verify:
        LOG.warning("swift_store_auth_insecure: certificates of Swift and Keystone are not checked")
    wire = SwiftWire(options.transport)
    tokens = {
        reference: SwiftTokens(login, options.endpoint, wire, options.expire_soon)
        for reference, login in options.logins.items()
    }
    accounts = {
        reference: SwiftAccount(of_login, wire, f"swift://{options.logins[reference].server}")
        for reference, of_login in tokens.items()
    }
    return accounts, TenantAccounts(options, wire, tokens[options.reference])
