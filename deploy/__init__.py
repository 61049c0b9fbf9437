"""What runs the service on one machine and tests it; not part of the distribution."""
