"""A real Cinder for tests, in a virtual environment of its own: its volumes are in a pool of a Ceph cluster.

API, scheduler and volume service are one process. A real Keystone says who is who. ``lvm_cinder.py`` has another one,
with volumes of LVM.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import requests
from deploy.local import configuration, processes

from tests.servers.ceph import Ceph, link_modules
from tests.servers.keystone import ADMIN, Keystone, User
from tests.support import environments
from tests.support.waiting import wait_for

_PROGRAM = Path(__file__).with_name("cinder_program.py")
_KEYRINGS = Path("/etc/ceph")
_MODULES = "modules"
"""Folder of Python modules that the environment lacks."""

_BOOT_SECONDS = 300
_OLD_SECONDS = 24 * 3600

SERVICE_TYPE = "volumev3"
"""What the catalog calls it."""


class CinderServer:
    """One Block Storage service with all its files in ``folder``. A subclass says where volumes are."""

    backend: str
    """The name of the backend, which is a section of the configuration."""

    def __init__(self, folder: Path, keystone: Keystone, images: str | None = None) -> None:
        """``images`` is the URL of the image service; by default the one that the catalog names."""
        self.folder = folder
        self.port = processes.free_port()
        self.url = f"http://{processes.LOOPBACK}:{self.port}"
        self._keystone = keystone
        self._images = images
        self._log = folder / "cinder.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._session = requests.Session()
        self._session.trust_env = False
        self._tokens: dict[User, str] = {}

    def _prepare(self) -> None:
        """Make what the volumes are in."""
        raise NotImplementedError

    def _backend_options(self) -> Mapping[str, object]:
        """Return the section of the backend."""
        raise NotImplementedError

    def start(self) -> None:
        """Start it, the first time after making its tables; the catalog names it. Raises StartError."""
        root = environments.environment(environments.CINDER)
        if not (self.folder / "cinder.conf").exists():
            self._prepare()
            self._configure(root / "etc/cinder")
            self._run(root / "bin/cinder-manage", "db", "sync")
            self._keystone.set_endpoint(SERVICE_TYPE, "cinderv3", f"{self.url}/v3/$(project_id)s")
        with self._log.open("ab") as log:
            self._process = processes.spawn(
                # -P: beside the program lies this file, which has the name of a package of Cinder.
                [root / "bin/python", "-P", _PROGRAM, *self._options()], output=log, env=self._environment(),
                cwd=self.folder,
            )
        processes.wait_until(
            self._has_room, what="Cinder", process=self._process, log=self._log, seconds=_BOOT_SECONDS
        )

    def stop(self) -> None:
        """End it; its volumes stay."""
        if self._process is not None:
            processes.stop(self._process)
            self._process = None

    def kill(self) -> None:
        """Kill it with -9; its volumes stay."""
        if self._process is not None:
            processes.kill_group(self._process)
            self._process = None

    def call(self, method: str, path: str, body: Any = None, *, user: User = ADMIN) -> dict[str, Any]:
        """Return the answer to a call of a user in its project. Asserts success."""
        answer = self._send(method, path, body, user)
        assert answer.ok, f"Cinder: {method} {path}: {answer.status_code} {answer.text[:500]}"
        return dict(answer.json()) if answer.content else {}

    def make_type(self, *, multiattach: bool = True, encrypted: bool = False, **specs: str) -> str:
        """Make a type of volumes and return its name; quotas of its own have no limits."""
        name = f"images-{uuid4().hex[:8]}"
        specs = {"volume_backend_name": self.backend, **specs}
        if multiattach and not encrypted:  # Cinder has no volumes that are both
            specs["multiattach"] = "<is> True"
        made = self.call("POST", "/types", {"volume_type": {"name": name, "extra_specs": specs}})["volume_type"]["id"]
        if encrypted:
            how = {"provider": "luks", "control_location": "front-end", "cipher": "aes-xts-plain64", "key_size": 256}
            self.call("POST", f"/types/{made}/encryption", {"encryption": how})
        return name

    def set_quota(self, project: str, **limits: int) -> None:
        """Set quotas of a project, for example ``volumes_<type>``."""
        self.call("PUT", f"/os-quota-sets/{self._keystone.project_ids[project]}", {"quota_set": limits})

    def volumes(self, volume_type: str | None = None) -> list[dict[str, Any]]:
        """Return the volumes of all projects, of all types or of one, with all that Cinder says of them."""
        found = self.call("GET", "/volumes/detail?all_tenants=1")["volumes"]
        return [each for each in found if volume_type in (None, each["volume_type"])]

    def volume(self, identifier: str) -> dict[str, Any] | None:
        """Return what Cinder says of a volume, None when there is none."""
        answer = self._send("GET", f"/volumes/{identifier}")
        return None if answer.status_code == 404 else dict(answer.json()["volume"])

    def act(self, volume: str, name: str, **values: Any) -> dict[str, Any]:
        """Do an action of a volume, for example ``os-reset_status``."""
        return self.call("POST", f"/volumes/{volume}/action", {name: values})

    def make_volume(self, user: User = ADMIN, **values: Any) -> str:
        """Make a volume of a GiB in the project of a user, wait until it is available, and return its id."""
        body = {"volume": {"size": 1, **values}}
        made = str(self.call("POST", "/volumes", body, user=user)["volume"]["id"])
        wait_for(lambda: self.state(made) == "available", f"the volume {made}", seconds=120)
        return made

    def state(self, volume: str) -> str | None:
        """Return the status of a volume, None when there is none. Asserts that it is no error."""
        found = self.volume(volume)
        status = None if found is None else str(found["status"])
        assert not (status or "").startswith("error"), f"{volume}: {status}; see {self._log}"
        return status

    def _send(self, method: str, path: str, body: Any = None, user: User = ADMIN) -> requests.Response:
        if user not in self._tokens:
            self._tokens[user] = self._keystone.token(user)
        # One of the newest microversions: it shows and takes most.
        headers = {"X-Auth-Token": self._tokens[user], "OpenStack-API-Version": "volume 3.70"}
        url = f"{self.url}/v3/{self._keystone.project_ids[user.project]}{path}"
        return self._session.request(method, url, json=body, headers=headers, timeout=120)

    def _configure(self, samples: Path) -> None:
        state = self.folder / "state"
        (state / "lock").mkdir(parents=True)
        account = self._keystone.middleware_options()
        configuration.write(self.folder, "cinder", {
            "DEFAULT": {
                "host": "cinder", "my_ip": processes.LOOPBACK, "state_path": state, "transport_url": "fake://",
                "auth_strategy": "keystone", "api_paste_config": samples / "api-paste.ini",
                "resource_query_filters_file": samples / "resource_filters.json",
                "osapi_volume_listen": processes.LOOPBACK, "osapi_volume_listen_port": self.port,
                "osapi_volume_workers": 1, "enabled_backends": self.backend, "glance_api_servers": self._images,
                "periodic_interval": 10, "report_interval": 5, "service_down_time": 120,
                "backend_stats_polling_interval": 10, "quota_volumes": -1, "quota_gigabytes": -1, "quota_snapshots": -1,
                "osapi_max_limit": 1000,
            },
            self.backend: {"volume_backend_name": self.backend, **self._backend_options()},
            "database": {"connection": f"sqlite:///{self.folder}/cinder.db?timeout=60"},
            "key_manager": {
                "backend": "cinder.keymgr.conf_key_mgr.ConfKeyManager", "fixed_key": uuid4().hex + uuid4().hex,
            },
            "oslo_concurrency": {"lock_path": state / "lock"},
            "coordination": {"backend_url": f"file://{state}"},
            "keystone_authtoken": account,
            # With an account of a service it learns from the image service where data are, and may clone them.
            "glance": account, "service_user": {"send_service_user_token": True, **account},
        })  # fmt: skip

    def _options(self) -> list[str]:
        return ["--config-file", str(self.folder / "cinder.conf")]

    def _run(self, program: Path, *command: str) -> None:
        done = subprocess.run(
            [program, *self._options(), *command], env=self._environment(), cwd=self.folder,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise processes.StartError(f"{program.name} {' '.join(command)}: {done.stdout}{done.stderr}")

    def _has_room(self) -> bool:
        """Say whether the volume service has told the scheduler of itself, so that volumes can be made."""
        try:
            answer = self._send("GET", "/scheduler-stats/get_pools")
        except (requests.ConnectionError, requests.Timeout):
            return False
        return answer.ok and f"@{self.backend}#" in answer.text

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": f"/usr/sbin:/sbin:{os.defpath}", "LANG": "C.UTF-8", "HOME": str(self.folder),
            "PYTHONPATH": str(self.folder / _MODULES), "PYTHONWARNINGS": "ignore",
        }  # fmt: skip


class Cinder(CinderServer):
    """A service with the volumes in a pool of Ceph. All its files are in ``folder``, but for the key of its user.

    os-brick, here and in the services that attach volumes, looks for that key in /etc/ceph alone.
    """

    backend = "rbd"

    def __init__(self, folder: Path, ceph: Ceph, keystone: Keystone, images: str | None = None) -> None:
        super().__init__(folder, keystone, images)
        self.pool = f"volumes-{uuid4().hex[:8]}"
        self.user = f"cinder-{self.pool}"
        self._keyring = _KEYRINGS / f"ceph.client.{self.user}.keyring"
        self._ceph = ceph

    def remove_key(self) -> None:
        """Remove the file in /etc/ceph: nothing can attach volumes any more."""
        self._keyring.unlink(missing_ok=True)

    @contextmanager
    def without_key(self) -> Iterator[None]:
        """Keep the key away from what attaches volumes in the block."""
        away = self._keyring.with_suffix(".away")
        self._keyring.rename(away)
        try:
            yield
        finally:
            away.rename(self._keyring)

    def _prepare(self) -> None:
        self._ceph.command("ceph", "osd", "pool", "create", self.pool, "4")
        self._ceph.command("ceph", "osd", "pool", "application", "enable", self.pool, "rbd")
        # It clones images that are in other pools.
        key = self._ceph.command(
            "ceph", "auth", "get-or-create", f"client.{self.user}", "mon", "profile rbd",
            "osd", f"profile rbd pool={self.pool}, profile rbd-read-only",
        )
        _KEYRINGS.mkdir(exist_ok=True)
        for old in _KEYRINGS.glob("ceph.client.cinder-volumes-*"):
            # Of runs that were killed.
            if time.time() - old.stat().st_mtime > _OLD_SECONDS:
                old.unlink(missing_ok=True)
        own, mon = self.folder / "keyring", self._ceph.monitor_port
        for path in (self._keyring, own):
            path.touch(mode=0o600)
            path.write_text(key)
        (self.folder / "ceph.conf").write_text(
            f"[global]\nfsid = {self._ceph.fsid}\nmon_host = v2:127.0.0.1:{mon}\nkeyring = {own}\n"
        )
        link_modules(self.folder / _MODULES)

    def _backend_options(self) -> Mapping[str, object]:
        return {
            "volume_driver": "cinder.volume.drivers.rbd.RBDDriver", "rbd_pool": self.pool, "rbd_user": self.user,
            "rbd_ceph_conf": self.folder / "ceph.conf", "rados_connect_timeout": 30,
            "max_over_subscription_ratio": 1000.0, "reserved_percentage": 0, "report_discard_supported": True,
        }
