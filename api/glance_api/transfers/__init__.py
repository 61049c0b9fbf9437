"""The limits and helpers of transfers: permits, leases, accelerated downloads."""
