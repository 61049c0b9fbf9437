"""A real Keystone for tests, in a virtual environment of its own, with users, projects and an image endpoint."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import requests
from deploy.local import processes

from tests.support import environments

REGION = "RegionOne"
_BOOT_SECONDS = 300

_CONFIGURATION = """\
[DEFAULT]
public_endpoint = {url}
max_token_size = 255

[database]
connection = sqlite:///{folder}/keystone.db?timeout=60
sqlite_synchronous = false

[token]
provider = fernet
expiration = {token_seconds}

[fernet_tokens]
key_repository = {folder}/fernet-keys

[credential]
key_repository = {folder}/credential-keys

[identity]
# the lowest cost that bcrypt takes: these are throw-away passwords
password_hash_rounds = 4

[cache]
enabled = true
backend = oslo_cache.dict

[oslo_policy]
enforce_scope = true
enforce_new_defaults = true
"""

# Keystone reads the command line itself and knows no option of the web server, so these stand in a file.
# One request at a time: on SQLite a second one now and then ends in "database is locked".
_WEB_SERVER = """\
wsgi_app = "keystone.wsgi.api:application"
bind = "{address}"
workers = 1
timeout = 120
control_socket_disable = True
"""


@dataclass(frozen=True, slots=True)
class User:
    """A user of the test cloud; the password is the name."""

    name: str
    project: str
    roles: tuple[str, ...]


ADMIN = User("admin", "admin", ("admin",))
GLANCE = User("glance", "service", ("service", "admin"))
NOVA = User("nova", "service", ("service",))
DEMO = User("demo", "demo", ("member", "reader"))
ALT_DEMO = User("alt_demo", "alt_demo", ("member", "reader"))
DEMO_READER = User("demo_reader", "demo", ("reader",))


class Keystone:
    """One Identity service with all its files in ``folder``; its tokens live for ``token_seconds``."""

    def __init__(self, folder: Path, token_seconds: int = 86400) -> None:
        self.folder = folder
        self._token_seconds = token_seconds
        self.port = processes.free_port()
        self.url = f"http://{processes.LOOPBACK}:{self.port}/v3"
        self.project_ids: dict[str, str] = {}
        self.user_ids: dict[str, str] = {}
        self._log = folder / "keystone.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._admin = requests.Session()
        self._admin.trust_env = False

    def start(self) -> None:
        """Start the service; the first time make its database, users, projects and catalog."""
        programs = environments.environment(environments.KEYSTONE) / "bin"
        fresh = not (self.folder / "keystone.db").exists()
        if fresh:
            self._bootstrap(programs)
        (self.folder / "gunicorn.conf.py").write_text(_WEB_SERVER.format(address=f"{processes.LOOPBACK}:{self.port}"))
        with self._log.open("ab") as log:
            self._process = processes.spawn(
                [programs / "gunicorn"], output=log, env=self._environment(), cwd=self.folder
            )
        processes.wait_until(
            self._answers, what="Keystone", process=self._process, log=self._log, seconds=_BOOT_SECONDS
        )
        self._log_in()
        if fresh:
            self._seed()

    def stop(self) -> None:
        """Stop the service; its data stays."""
        if self._process is not None:
            processes.stop(self._process)
            self._process = None

    def restart(self) -> None:
        """Stop and start again on the same port with the same data."""
        self.stop()
        self.start()

    def set_image_endpoint(self, url: str, region: str = REGION) -> None:
        """Make ``url`` the image service's address in the catalog."""
        self.set_endpoint("image", "glance", url, region)

    def set_endpoint(self, kind: str, name: str, url: str, region: str = REGION) -> None:
        """Make ``url`` the address of the service of this kind in the catalog, in a region that is made if need be."""
        service = self._ensure("service", type=kind, name=name)
        if region not in {each["id"] for each in self._call("GET", "/regions")["regions"]}:
            self._call("PUT", f"/regions/{region}", {"region": {}})
        for interface in ("public", "internal", "admin"):
            endpoint = {"service_id": service, "interface": interface, "region_id": region}
            known = self._find("endpoint", **endpoint)
            if known is None:
                self._call("POST", "/endpoints", {"endpoint": {**endpoint, "url": url}})
            else:
                self._call("PATCH", f"/endpoints/{known}", {"endpoint": {"url": url}})

    def remove_endpoints(self, **which: str) -> None:
        """Take the endpoints with these attributes out of the catalog."""
        for endpoint in self._call("GET", "/endpoints", query=which)["endpoints"]:
            self._call("DELETE", f"/endpoints/{endpoint['id']}")

    def set_registered_limits(self, **limits: int) -> None:
        """Register these limits for the image service's endpoint; its other limits are removed."""
        for known in self._call("GET", "/registered_limits")["registered_limits"]:
            self._call("DELETE", f"/registered_limits/{known['id']}")
        rows = [{**self._image_service(), "resource_name": name, "default_limit": n} for name, n in limits.items()]
        self._call("POST", "/registered_limits", {"registered_limits": rows})

    def set_project_limits(self, project: str, **limits: int) -> None:
        """Give one project limits of its own; those it had are removed."""
        identifier = self.project_ids[project]
        for known in self._call("GET", "/limits", query={"project_id": identifier})["limits"]:
            self._call("DELETE", f"/limits/{known['id']}")
        place = {**self._image_service(), "project_id": identifier}
        rows = [{**place, "resource_name": name, "resource_limit": number} for name, number in limits.items()]
        if rows:
            self._call("POST", "/limits", {"limits": rows})

    def _image_service(self) -> dict[str, str]:
        return {"service_id": self._ensure("service", type="image", name="glance"), "region_id": REGION}

    def token(self, user: User) -> str:
        """Return a new token of ``user`` for its project."""
        return self._token(user.name, user.project)

    def revoke(self, token: str) -> None:
        """Let a token be good no longer."""
        self._call("DELETE", "/auth/tokens", headers={"X-Subject-Token": token})

    def application_credential(self, user: User) -> tuple[str, str]:
        """Return id and secret of a new application credential of ``user`` for its project."""
        body = {"application_credential": {"name": uuid4().hex}}
        path = f"{self.url}/users/{self.user_ids[user.name]}/application_credentials"
        with requests.Session() as session:
            session.trust_env = False
            answer = session.post(path, json=body, headers={"X-Auth-Token": self.token(user)}, timeout=60)
        answer.raise_for_status()
        made = answer.json()["application_credential"]
        return made["id"], made["secret"]

    def client_environment(self, user: User) -> dict[str, str]:
        """Return the ``OS_*`` variables with which the command line clients log in as ``user``."""
        return {
            "OS_AUTH_URL": self.url,
            "OS_IDENTITY_API_VERSION": "3",
            "OS_USERNAME": user.name,
            "OS_PASSWORD": user.name,
            "OS_PROJECT_NAME": user.project,
            "OS_USER_DOMAIN_NAME": "Default",
            "OS_PROJECT_DOMAIN_NAME": "Default",
            "OS_REGION_NAME": REGION,
        }

    def middleware_options(self) -> dict[str, str]:
        """Return the group ``[keystone_authtoken]`` of a service that checks tokens here."""
        return {
            "www_authenticate_uri": self.url,
            "auth_url": self.url,
            "auth_type": "password",
            "username": GLANCE.name,
            "password": GLANCE.name,
            "project_name": GLANCE.project,
            "user_domain_name": "Default",
            "project_domain_name": "Default",
        }

    def _bootstrap(self, programs: Path) -> None:
        for name in ("fernet-keys", "credential-keys"):
            (self.folder / name).mkdir(mode=0o700, parents=True)
        base = self.url.removesuffix("/v3")
        (self.folder / "keystone.conf").write_text(
            _CONFIGURATION.format(url=base, folder=self.folder, token_seconds=self._token_seconds)
        )
        owner = [f"--keystone-user={os.geteuid()}", f"--keystone-group={os.getegid()}"]
        urls = [f"--bootstrap-{which}-url={self.url}" for which in ("public", "internal", "admin")]
        for arguments in (
            ["db_sync"],
            ["fernet_setup", *owner],
            ["credential_setup", *owner],
            ["bootstrap", "--bootstrap-password=admin", f"--bootstrap-region-id={REGION}", *urls],
        ):
            done = subprocess.run(
                [programs / "keystone-manage", *arguments],
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                raise processes.StartError(f"keystone-manage {arguments[0]}: {done.stdout}{done.stderr}")

    def _seed(self) -> None:
        roles = {name: self._ensure("role", name=name) for name in ("admin", "member", "reader", "service")}
        for user in (ADMIN, GLANCE, NOVA, DEMO, ALT_DEMO, DEMO_READER):
            project = self._ensure("project", name=user.project, domain_id="default")
            identifier = self._find("user", name=user.name) or self._make_user(user.name, project)
            for role in user.roles:
                self._call("PUT", f"/projects/{project}/users/{identifier}/roles/{roles[role]}")
            self.project_ids[user.project] = project
            self.user_ids[user.name] = identifier

    def _make_user(self, name: str, project: str) -> str:
        user = {"name": name, "password": name, "domain_id": "default", "default_project_id": project}
        return str(self._call("POST", "/users", {"user": user})["user"]["id"])

    def _ensure(self, kind: str, **attributes: str) -> str:
        known = self._find(kind, **attributes)
        return known or str(self._call("POST", f"/{kind}s", {kind: attributes})[kind]["id"])

    def _find(self, kind: str, **attributes: str) -> str | None:
        found = self._call("GET", f"/{kind}s", query=attributes)[f"{kind}s"]
        return str(found[0]["id"]) if found else None

    def _call(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        answer = self._admin.request(method, self.url + path, json=body, params=query, headers=headers, timeout=60)
        if not answer.ok:
            raise RuntimeError(f"Keystone: {method} {path}: {answer.status_code} {answer.text[:500]}")
        return dict(answer.json()) if answer.content else {}

    def _log_in(self) -> None:
        self._admin.headers["X-Auth-Token"] = self._token(ADMIN.name, ADMIN.project)

    def _token(self, name: str, project: str) -> str:
        domain = {"name": "Default"}
        auth = {
            "identity": {
                "methods": ["password"],
                "password": {"user": {"name": name, "password": name, "domain": domain}},
            },
            "scope": {"project": {"name": project, "domain": domain}},
        }
        with requests.Session() as session:
            session.trust_env = False
            answer = session.post(f"{self.url}/auth/tokens", json={"auth": auth}, timeout=60)
        answer.raise_for_status()
        return answer.headers["X-Subject-Token"]

    def _answers(self) -> bool:
        try:
            return self._admin.get(self.url, timeout=5).ok
        except (requests.ConnectionError, requests.Timeout):
            return False

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": "/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "HOME": str(self.folder),
            "OS_KEYSTONE_CONFIG_DIR": str(self.folder),
            "PYTHONWARNINGS": "ignore",
        }
