"""The services do what the model says, in random lives of images with several actors.

``GLANCE_MODEL_SEED`` chooses the lives, ``GLANCE_MODEL_STEPS`` says how long they are together. A failure shows the
steps of the life that failed; docs/contributor/testing.md says how to repeat it.
"""

from __future__ import annotations

import os
import sys
from collections import Counter

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test
from tests.model.machine import Lives
from tests.support.daemons import Services
from tests.support.waiting import wait_for

LONG = bool(os.environ.get("GLANCE_TEST_LONG"))
SEED = int(os.environ.get("GLANCE_MODEL_SEED", 1))
STEPS = int(os.environ.get("GLANCE_MODEL_STEPS", 100_000 if LONG else 1_000))
SHORTEN = bool(os.environ.get("GLANCE_MODEL_SHORTEN"))
_WORKING = {
    "create": 201, "patch": 200, "delete": 204, "show": 200, "list": 200, "add tag": 204, "remove tag": 204,
    "add member": 200, "answer member": 200, "remove member": 204, "list members": 200, "show member": 200,
    "upload": 204, "download": 200, "deactivate": 204, "reactivate": 204, "v1 HEAD": 200, "v1 GET": 200,
}
"""What each call answers when it works: a long run in which one never does proves nothing about it."""

_ENOUGH = 10_000
"""Steps in which each call works at least once, whatever the seed."""

LIFE = 100 if STEPS >= _ENOUGH else 50
"""Steps of one life."""


@pytest.mark.timeout(600 + STEPS)
def test_the_services_do_what_the_model_says(services: Services, lives: type[Lives]) -> None:
    sys.stdout.write(f"GLANCE_MODEL_SEED={SEED} GLANCE_MODEL_STEPS={STEPS}\n")
    try:
        run_state_machine_as_test(
            seed(SEED)(lives),
            settings=settings(
                max_examples=max(1, STEPS // LIFE), stateful_step_count=LIFE, deadline=None, database=None,
                # The services take their time, and lives are long on purpose.
                suppress_health_check=list(HealthCheck), report_multiple_bugs=False,
                # To make a failed life shorter takes minutes.
                phases=[Phase.generate, Phase.shrink] if SHORTEN else [Phase.generate],
            ),
        )
    finally:
        _show(lives.tried)
    missing = {name for name, status in _WORKING.items() if not lives.tried[name, status]}
    assert not missing or STEPS < _ENOUGH, f"these never worked in {STEPS} steps: {missing}"
    # All lives have ended with the removal of their images.
    wait_for(lambda: not services.files(), "an empty store")


def _show(tried: Counter[tuple[str, int]]) -> None:
    for (name, status), count in sorted(tried.items()):
        sys.stdout.write(f"{name:20} {status} {count:8}\n")
