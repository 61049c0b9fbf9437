"""The cinder driver on real device paths: LVM and iSCSI in a user-mode Linux. Takes a quarter of an hour."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest
from tests.servers import user_mode_linux

SECONDS = 5400
"""A bound for a machine that stands still now and then."""


@pytest.mark.timeout(SECONDS + 120)
@pytest.mark.skipif(not os.environ.get("GLANCE_TEST_LONG"), reason="takes a quarter of an hour: ./deploy/test --long")
def test_the_core_of_the_suite_on_devices(tmp_path: Path):
    path = f"{Path(sys.executable).parent}:/usr/sbin:/sbin:{os.defpath}"
    environment = {"PATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    for name in ("GLANCE_TEST_CACHE", "PYTHONPATH"):
        if name in os.environ:
            environment[name] = os.environ[name]
    code, output = user_mode_linux.run(tmp_path, [
        sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "tests/conformance/cinder_devices.py",
    ], environment, SECONDS)
    assert code == 0, output[-20_000:]
    assert re.search(r"^=+ \d+ passed in ", output, re.MULTILINE), output
