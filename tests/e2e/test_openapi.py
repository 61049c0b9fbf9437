"""The running service against its own OpenAPI document: requests made of the document, good and bad ones."""

import os
import subprocess
from pathlib import Path

import pytest
from tests.e2e.calls import Caller

SUPPORT = Path(__file__).parents[1] / "support"
SECONDS = 45
SEED = os.environ.get("GLANCE_OPENAPI_SEED", "1")
"""The same requests in every run, as far as the time limit allows; other numbers look for new ones by hand."""
EXCLUDED = (
    # No caller needs a token in this deployment.
    "ignored_auth",
    "missing_required_header",
    # Rules that a schema cannot express, such as the quoting of filters, refuse requests that fit their schema.
    "positive_data_acceptance",
)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_answer_contradicts_the_document(deploy, schemathesis, tmp_path):
    """No 5xx, no status, header, media type or body that the document does not promise, nothing bad accepted."""
    services = deploy()
    caller = Caller(services.api.url)
    # The first ones cannot be deleted; the others wait for data.
    images = [caller.uploaded(b"data" * number, name=f"active {number}", protected=True) for number in range(1, 5)]
    images += [caller.create(name=f"queued {number}")["id"] for number in range(20)]
    command = [
        schemathesis, "--config-file", SUPPORT / "schemathesis.toml", "run", f"{services.api.url}/v2/openapi.json",
        "--no-color", "--max-time", str(SECONDS),
        "--max-examples", "40", "--exclude-checks", ",".join(EXCLUDED), "--suppress-health-check", "all",
        "--generation-database", "none", "--generation-allow-x00", "false", "--continue-on-failure",
        "--request-timeout", "120", "--seed", SEED,
    ]  # fmt: skip
    environment = {
        **{name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")},
        "GLANCE_IMAGES": " ".join(images),
        "PYTHONPATH": str(SUPPORT),
        "SCHEMATHESIS_HOOKS": "schemathesis_hooks",
    }
    run = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=SECONDS * 12, check=False
    )
    assert run.returncode == 0, run.stdout[-20_000:] + run.stderr
    assert "Traceback" not in services.api.log.read_text()
