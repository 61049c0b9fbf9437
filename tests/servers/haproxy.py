"""A real HAProxy with the configuration of ``deploy/haproxy``, its example addresses replaced."""

from __future__ import annotations

import signal
import socket
import subprocess
from pathlib import Path

from deploy.local import processes

from tests.servers.nginx import replaced

PROGRAM = Path("/usr/sbin/haproxy")
SAMPLE = Path(__file__).resolve().parents[2] / "deploy" / "haproxy" / "glance.cfg"


class Haproxy:
    """HAProxy in front of one API."""

    def __init__(self, folder: Path, api_port: int) -> None:
        assert PROGRAM.exists(), f"{PROGRAM} is missing: apt-get install haproxy"
        self.port = processes.free_port()
        self.url = f"http://{processes.LOOPBACK}:{self.port}"
        self._folder = folder
        (folder / "glance.cfg").write_text(replaced(SAMPLE.read_text(), {
            "    bind :9292\n": f"    bind {processes.LOOPBACK}:{self.port}\n",
            "    log /dev/log local0\n    maxconn 20000\n": "    maxconn 1000\n",
            "    server api1 192.0.2.11:9292 check\n    server api2 192.0.2.12:9292 check\n":
                f"    server api1 {processes.LOOPBACK}:{api_port} check\n",
        }))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start HAProxy and wait until it takes connections."""
        with (self._folder / "output.log").open("ab") as output:
            self._process = processes.spawn(
                [PROGRAM, "-db", "-f", self._folder / "glance.cfg"],
                output=output, env={"PATH": "/usr/sbin:/usr/bin:/bin"}, cwd=self._folder, death_signal=signal.SIGKILL,
            )
        processes.wait_until(
            self._answers, what="haproxy", process=self._process, log=self._folder / "output.log", seconds=30
        )

    def _answers(self) -> bool:
        try:
            socket.create_connection((processes.LOOPBACK, self.port), timeout=5).close()
        except OSError:
            return False
        return True

    def stop(self) -> None:
        """End HAProxy."""
        if self._process is not None:
            processes.stop(self._process, seconds=30)
