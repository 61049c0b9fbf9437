"""What a process imports at its start: nothing for a store, a broker or a login that its configuration does not use."""

import subprocess
import sys

import pytest

STORE_CLIENTS = {
    "boto3", "botocore", "swiftclient", "pymongo", "cinderclient", "os_brick", "pyVmomi", "rados", "rbd",
}
UNUSED = STORE_CLIENTS | {"keystonemiddleware", "keystoneauth1", "osprofiler", "redis", "alembic", "pygments"}
BROKER = {"kombu", "amqp"}

FORBIDDEN = {
    "glance_api.cli": UNUSED | {"sqlalchemy", "psycopg2", "cryptography.x509"},
    "glance_registry.cli": UNUSED | BROKER | {"requests", "jsonschema", "cryptography", "oslo_policy", "webob"},
    "glance_registry.manage.main": UNUSED | BROKER | {"requests", "jsonschema", "cryptography", "oslo_policy", "webob"},
    "glance_scrubber.main": UNUSED | {"flask", "sqlalchemy", "psycopg2", "oslo_policy", "jsonschema", "webob"},
}

LOADED_API = """
from pathlib import Path
from glance_api import cli
folder = Path({folder!r})
(folder / "secret").write_text("s" * 32)
(folder / "secret").chmod(0o600)
(folder / "images").mkdir()
(folder / "api.conf").write_text(
    f"[DEFAULT]\\nbind_host = 127.0.0.1\\ntransport_url = filesystem://{{folder}}\\nnode_staging_uri = file://{{folder}}\\n"
    f"[registry]\\ncontext_secret_file = {{folder}}/secret\\n"
    f"[glance_store]\\nstores = file\\nfilesystem_store_datadir = {{folder}}/images\\n"
)
assert cli.main(["--config-file", f"{{folder}}/api.conf", "--check-config"]) == 0
"""


def modules_after(statements: str) -> set[str]:
    """Return the names of all modules that a fresh interpreter holds after it ran ``statements``."""
    program = f"{statements}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("program", sorted(FORBIDDEN))
def test_a_program_imports_only_what_it_uses(program: str) -> None:
    assert modules_after(f"import {program}") & FORBIDDEN[program] == set()


def test_an_api_with_a_file_store_loads_no_client_of_another_store_and_no_login(tmp_path) -> None:
    loaded = modules_after(LOADED_API.format(folder=str(tmp_path)))
    assert "glance_common.stores.drivers.file.driver" in loaded
    assert loaded & (UNUSED | {"cryptography.x509"}) == set()
