"""What every test may use."""

from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.support.fixtures"]

# A machine that stands still for a second says nothing about the code.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")
