"""The sample files in etc/glance are what the generators make of today's option and rule tables."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = (
    "glance-api.conf", "glance-cache.conf", "glance-registry.conf", "glance-manage.conf", "glance-scrubber.conf",
    "policy.yaml",
)


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    out = tmp_path_factory.mktemp("samples")
    environment = {**os.environ, "PYTHON_BIN": str(Path(sys.executable).parent), "PYTHONWARNINGS": "ignore"}
    subprocess.run([ROOT / "deploy/generate-samples", out], check=True, env=environment, capture_output=True)
    return out


@pytest.mark.parametrize("name", SAMPLES)
def test_the_sample_is_up_to_date(generated, name):
    fresh, kept = (generated / name).read_text(), (ROOT / "etc/glance" / name).read_text()
    assert fresh == kept, "run ./deploy/generate-samples"
