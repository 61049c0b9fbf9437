"""glance-control: start, stop and watch the daemons of a host without systemd, or ask systemd where it runs them."""
