"""Tempest, the suite that proves a service compatible, with the Keystone of the tests; it makes users of its own."""

import configparser
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.servers.keystone import ADMIN, REGION, Keystone
from tests.support import environments


def run(folder: Path, keystone: Keystone, image: Mapping[str, str], *tests: str) -> str:
    """Run modules or classes of Tempest with these options in ``[image]``; return what it printed.

    Raises AssertionError with the end of that when a test fails.
    """
    conf = _configuration(folder, keystone, image)
    programs = environments.environment(environments.TEMPEST) / "bin"
    done = subprocess.run(
        [programs / "python", "-W", "ignore", "-m", "testtools.run", *tests], capture_output=True, text=True,
        stdin=subprocess.DEVNULL, cwd=folder, timeout=600, check=False, env={
            "PATH": f"{programs}:/usr/bin:/bin", "HOME": str(folder), "LANG": "C.UTF-8",
            "TEMPEST_CONFIG_DIR": str(conf.parent), "TEMPEST_CONFIG": conf.name,
        },
    )
    told = done.stdout + done.stderr
    assert done.returncode == 0, told[-6000:]
    return told


def _configuration(folder: Path, keystone: Keystone, image: Mapping[str, str]) -> Path:
    made = configparser.ConfigParser(interpolation=None)
    others = ("nova", "neutron", "cinder", "swift", "horizon")
    made.read_dict({
        "DEFAULT": {"log_file": str(folder / "tempest.log")},
        "oslo_concurrency": {"lock_path": str(folder / "locks")},
        "auth": {
            "use_dynamic_credentials": "true", "tempest_roles": "member", "admin_username": ADMIN.name,
            "admin_password": ADMIN.name, "admin_project_name": ADMIN.project, "admin_domain_name": "Default",
        },
        "identity": {"uri_v3": keystone.url, "auth_version": "v3", "region": REGION, "v3_endpoint_type": "public"},
        "image": {"region": REGION, **image},
        "service_available": {"glance": "true", **dict.fromkeys(others, "false")},
    })
    path = folder / "tempest.conf"
    with path.open("w") as file:
        made.write(file)
    return path
