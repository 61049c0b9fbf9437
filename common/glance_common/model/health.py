"""What the health checks of the daemons say to each other."""

PATH = "/healthcheck"
STOPPING = b"STOPPING\n"
"""The body of a 503 with which a daemon has a load balancer send requests elsewhere. Until it stops it works."""
