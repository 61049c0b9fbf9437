"""The services do what the model says, in random lives of images with several actors.

``GLANCE_MODEL_SEED`` chooses the lives and ``GLANCE_MODEL_STEPS`` how long they are together.
"""

from __future__ import annotations

import os
from collections import Counter

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test
from tests.model.client import Client
from tests.model.machine import Lives
from tests.model.values import LIMITS
from tests.support.daemons import Services

LONG = bool(os.environ.get("GLANCE_TEST_LONG"))
SEED = int(os.environ.get("GLANCE_MODEL_SEED", 1))
STEPS = int(os.environ.get("GLANCE_MODEL_STEPS", 100_000 if LONG else 1_500))
LIFE = 50
"""Steps of one life."""


def test_the_services_do_what_the_model_says(services: Services) -> None:
    tried: Counter[tuple[str, int]] = Counter()
    client = Client(services.api.port)
    machine = type("Lives", (Lives,), {"client": client, "limits": LIMITS, "tried": tried})
    run_state_machine_as_test(
        seed(SEED)(machine),
        settings=settings(
            max_examples=max(1, STEPS // LIFE), stateful_step_count=LIFE, deadline=None, database=None,
            suppress_health_check=list(HealthCheck), phases=[Phase.generate], report_multiple_bugs=False,
        ),
    )
    client.close()
    for (name, status), count in sorted(tried.items()):
        print(f"{name:20} {status} {count:6}")
