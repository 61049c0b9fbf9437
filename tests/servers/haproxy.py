"""A real HAProxy with the configurations of ``deploy/haproxy``, their example addresses replaced."""

from __future__ import annotations

import csv
import signal
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

from deploy.local import processes

from tests.servers.nginx import replaced

PROGRAM = Path("/usr/sbin/haproxy")
SAMPLES = Path(__file__).resolve().parents[2] / "deploy" / "haproxy"


class Haproxy:
    """HAProxy in front of APIs and, when their ports are given, of registries."""

    def __init__(self, folder: Path, *api_ports: int, registry_ports: Sequence[int] = ()) -> None:
        assert PROGRAM.exists(), f"{PROGRAM} is missing: apt-get install haproxy"
        self.port, self.registry_port = processes.free_port(), processes.free_port()
        self.url = f"http://{processes.LOOPBACK}:{self.port}"
        self._folder = folder
        self._log = folder / "output.log"
        (folder / "glance.cfg").write_text(replaced((SAMPLES / "glance.cfg").read_text(), {
            "    bind :9292\n": f"    bind {processes.LOOPBACK}:{self.port}\n",
            "    log /dev/log local0\n    maxconn 20000\n":
                f"    maxconn 1000\n    stats socket {folder}/admin.sock mode 600 level admin\n",
            "    server api1 192.0.2.11:9292 check\n    server api2 192.0.2.12:9292 check\n":
                _servers("api", api_ports),
        }))
        self._files = [folder / "glance.cfg"]
        if registry_ports:
            (folder / "registry.cfg").write_text(replaced((SAMPLES / "registry.cfg").read_text(), {
                "    bind 127.0.0.1:9191\n": f"    bind {processes.LOOPBACK}:{self.registry_port}\n",
                "    server registry1 192.0.2.21:9191 check\n    server registry2 192.0.2.22:9191 check\n":
                    _servers("registry", registry_ports),
            }))
            self._files.append(folder / "registry.cfg")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The id of the running process."""
        assert self._process is not None, "HAProxy was not started"
        return self._process.pid

    def start(self) -> None:
        """Start HAProxy and wait until it takes connections."""
        files = [part for file in self._files for part in ("-f", file)]
        with self._log.open("ab") as output:
            self._process = processes.spawn(
                [PROGRAM, "-db", *files],
                output=output, env={"PATH": "/usr/sbin:/usr/bin:/bin"}, cwd=self._folder, death_signal=signal.SIGKILL,
            )
        processes.wait_until(self._answers, what="haproxy", process=self._process, log=self._log, seconds=120)

    def states(self) -> dict[str, str]:
        """Return what HAProxy thinks of each server: ``UP``, ``DOWN``, or ``UP 1/2`` while that changes."""
        lines = [line.removeprefix("# ") for line in self.tell("show stat").splitlines() if line.strip()]
        rows = csv.DictReader(lines)
        return {row["svname"]: row["status"] for row in rows if row["svname"] not in ("FRONTEND", "BACKEND")}

    def tell(self, command: str) -> str:
        """Give HAProxy a command of its runtime API and return the answer. Raises OSError."""
        with socket.socket(socket.AF_UNIX) as admin:
            admin.settimeout(10)
            admin.connect(str(self._folder / "admin.sock"))
            admin.sendall(command.encode() + b"\n")
            with admin.makefile("r") as answer:
                return answer.read()

    def _answers(self) -> bool:
        try:
            socket.create_connection((processes.LOOPBACK, self.port), timeout=5).close()
        except OSError:
            return False
        return True

    def kill(self) -> None:
        """Kill -9."""
        assert self._process is not None
        processes.kill_group(self._process)
        self._process = None

    def stop(self) -> None:
        """End HAProxy."""
        if self._process is not None:
            processes.stop(self._process, seconds=30)
            self._process = None


def _servers(name: str, ports: Sequence[int]) -> str:
    lines = [f"    server {name}{number} {processes.LOOPBACK}:{port} check\n" for number, port in enumerate(ports, 1)]
    return "".join(lines)
