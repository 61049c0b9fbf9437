"""What every test may use, and what hypothesis leaves unmeasured: how long an example takes is the machine's doing."""

from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.support.fixtures"]

settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")
