"""A vCenter simulator on free loopback ports, with two datastores and a host that the vCenter can redirect to.

Debian's Go builds it once from ``vcsim_program/main.go`` (``tests/support/environments.py``).
"""

from __future__ import annotations

import hashlib
import shutil
import signal
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
from deploy.local import processes
from pyVmomi import vim
from pyVmomi.SoapAdapter import SoapStubAdapter

from tests.support.certificates import server_certificate
from tests.support.environments import vcsim

USER = "glance@vsphere.local"
PASSWORD = "p@ss <word> & more"
"""As awkward as passwords are; no text may hold it."""

DATACENTER = "DC0"
DATASTORES = ("LocalDS_0", "LocalDS_1")


class VCenterSimulator:
    """One simulator; its data are lost with ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.port, self.host_port = processes.free_port(), processes.free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.ca, _ = server_certificate(folder, "127.0.0.1")
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def thumbprint(self) -> str:
        """The SHA-256 of the certificate."""
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(self.ca.read_text())).hexdigest()

    def options(self, directory: str, *datastores: str) -> dict[str, Any]:
        """Return the options of a store in a directory of these datastores, the first one by default."""
        return {
            "vmware_server_host": self.address, "vmware_server_username": USER, "vmware_server_password": PASSWORD,
            "vmware_datastores": [f"{DATACENTER}:{name}" for name in datastores or DATASTORES[:1]],
            "vmware_store_image_dir": directory, "vmware_ca_file": self.ca, "vmware_task_poll_interval": 0.5,
        }

    def start(self) -> None:
        """Start it. Raises StartError."""
        ready, log = self._folder / "ready", self._folder / "log"
        ready.unlink(missing_ok=True)
        with log.open("ab") as output:
            self._process = processes.spawn(
                [
                    vcsim(), "-l", self.address, "-host", f"127.0.0.1:{self.host_port}", "-user", USER,
                    "-password", PASSWORD, "-certificate", self.ca, "-key", self.ca.with_suffix(".key"),
                    "-root", self._folder / "datastores", "-ready", ready,
                ],
                output=output, env={"PATH": "/usr/bin:/bin"}, cwd=self._folder, death_signal=signal.SIGKILL,
            )
        processes.wait_until(ready.exists, what="vcsim", process=self._process, log=log, seconds=300)

    def stop(self) -> None:
        """Kill it."""
        if self._process is not None:
            processes.kill_group(self._process)
            self._process = None

    def restart(self) -> None:
        """Kill it and start it again with its data; sessions are lost."""
        self.stop()
        kept = self._folder / "kept"
        (self._folder / "datastores").rename(kept)
        self.start()
        for name in DATASTORES:
            (old,) = kept.glob(f"govcsim-{DATACENTER}-{name}-*")
            shutil.copytree(old, self.datastore(name), dirs_exist_ok=True)
        shutil.rmtree(kept)

    def datastore(self, name: str) -> Path:
        """Return the folder with the files of a datastore."""
        (found,) = (self._folder / "datastores").glob(f"govcsim-{DATACENTER}-{name}-*")
        return found

    def control(self, **faults: object) -> list[str]:
        """Switch faults on, as ``main.go`` says; return what the host has seen since the last call."""
        # The environment may name other authorities.
        with requests.Session() as session:
            session.trust_env = False
            told = {name: str(value) for name, value in faults.items()}
            answer = session.get(f"https://{self.address}/control", params=told, verify=str(self.ca), timeout=60)
        answer.raise_for_status()
        return answer.text.splitlines()

    def end_session(self, cookie: str) -> None:
        """End a session from another one, as an administrator does."""
        context = ssl.create_default_context(cafile=str(self.ca))
        stub = SoapStubAdapter("127.0.0.1", self.port, version="vim.version.version10", sslContext=context)
        manager: Any = vim.ServiceInstance("ServiceInstance", stub).RetrieveContent().sessionManager
        manager.Login(USER, PASSWORD, None)
        try:
            manager.TerminateSession([cookie.partition("=")[2].strip('"')])
        finally:
            manager.Logout()
            stub.DropConnections()


@contextmanager
def running(folder: Path) -> Iterator[VCenterSimulator]:
    """Start a simulator for the block."""
    server = VCenterSimulator(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()
