"""A real Barbican for tests, in a virtual environment of its own; a real Keystone says who is who."""

from __future__ import annotations

import os
import subprocess
from base64 import b64encode, urlsafe_b64encode
from pathlib import Path
from typing import Any

import requests
from deploy.local import configuration, processes

from tests.servers.keystone import Keystone
from tests.support import environments

_BOOT_SECONDS = 300

# Its own entry point takes the pipelines from /etc/barbican and from nowhere else.
_APPLICATION = """\
from paste.deploy import loadapp
application = loadapp("config:{pipelines}")
"""

# One request at a time, as SQLite likes it.
_WEB_SERVER = """\
wsgi_app = "application:application"
bind = "{address}"
workers = 1
timeout = 120
control_socket_disable = True
"""


class BarbicanService:
    """One Key Manager service with all its files in ``folder``."""

    def __init__(self, folder: Path, keystone: Keystone) -> None:
        self.folder = folder
        self.port = processes.free_port()
        self.url = f"http://{processes.LOOPBACK}:{self.port}"
        self._keystone = keystone
        self._log = folder / "barbican.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._session = requests.Session()
        self._session.trust_env = False

    def start(self) -> None:
        """Start it, the first time after making its tables. Raises StartError."""
        root = environments.environment(environments.BARBICAN)
        if not (self.folder / "barbican.conf").exists():
            self._configure(root / "etc/barbican/barbican-api-paste.ini")
            self._make_tables(root / "bin/barbican-manage")
        with self._log.open("ab") as log:
            self._process = processes.spawn(
                [root / "bin/gunicorn"], output=log, env=self._environment(), cwd=self.folder
            )
        processes.wait_until(
            self._answers, what="Barbican", process=self._process, log=self._log, seconds=_BOOT_SECONDS
        )

    def stop(self) -> None:
        """End it; its data stay."""
        if self._process is not None:
            processes.stop(self._process)
            self._process = None

    def add(
        self, payload: bytes, token: str, content_type: str = "application/octet-stream", kind: str = "certificate"
    ) -> str:
        """Store a secret in the name of ``token``, as its users do, and return its id."""
        text = content_type == "text/plain"
        secret = {
            "name": "of a test", "secret_type": kind, "payload_content_type": content_type,
            "payload": payload.decode() if text else b64encode(payload).decode(),
            **({} if text else {"payload_content_encoding": "base64"}),
        }
        return str(self._call("POST", "", token, secret).json()["secret_ref"]).rpartition("/")[2]

    def share(self, secret: str, token: str, user_id: str) -> None:
        """Let one more user read a secret."""
        self._call("PUT", f"/{secret}/acl", token, {"read": {"users": [user_id], "project-access": True}})

    def has(self, secret: str, token: str) -> bool:
        """Return whether the secret is there."""
        answer = self._session.get(f"{self.url}/v1/secrets/{secret}", headers={"X-Auth-Token": token}, timeout=60)
        assert answer.status_code in (200, 404), f"Barbican: {answer.status_code} {answer.text[:500]}"
        return answer.status_code == 200

    def _call(self, method: str, path: str, token: str, body: dict[str, Any]) -> requests.Response:
        answer = self._session.request(
            method, f"{self.url}/v1/secrets{path}", json=body, headers={"X-Auth-Token": token}, timeout=60
        )
        assert answer.ok, f"Barbican: {method} {path}: {answer.status_code} {answer.text[:500]}"
        return answer

    def _configure(self, pipelines: Path) -> None:
        configuration.write(self.folder, "barbican", {
            "DEFAULT": {"host_href": self.url},
            "database": {"connection": f"sqlite:///{self.folder}/barbican.db?timeout=60"},
            "simple_crypto_plugin": {"kek": urlsafe_b64encode(os.urandom(32)).decode()},
            "keystone_authtoken": self._keystone.middleware_options(),
            "oslo_policy": {"enforce_scope": True, "enforce_new_defaults": True},
        })  # fmt: skip
        (self.folder / "application.py").write_text(_APPLICATION.format(pipelines=pipelines))
        address = f"{processes.LOOPBACK}:{self.port}"
        (self.folder / "gunicorn.conf.py").write_text(_WEB_SERVER.format(address=address))

    def _make_tables(self, program: Path) -> None:
        done = subprocess.run(
            [program, "db", "upgrade"], env=self._environment(), cwd=self.folder,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise processes.StartError(f"barbican-manage db upgrade: {done.stdout}{done.stderr}")

    def _answers(self) -> bool:
        try:
            return self._session.get(self.url, timeout=5).status_code == 300
        except (requests.ConnectionError, requests.Timeout):
            return False

    def _environment(self) -> dict[str, str]:
        # It looks for its configuration in the home folder.
        return {"PATH": os.defpath, "LANG": "C.UTF-8", "HOME": str(self.folder), "PYTHONWARNINGS": "ignore"}
