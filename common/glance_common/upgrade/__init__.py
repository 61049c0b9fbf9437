"""glance-status: what must hold before an upgrade, checked by each package."""
