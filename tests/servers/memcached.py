"""A memcached of our own: Debian's program, on a free loopback port."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
from pathlib import Path

from deploy.local import processes

from tests.servers.freezing import Freezable

PACKAGE = "memcached"


class Memcached(Freezable):
    """One server, whose output goes to a file in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.port = processes.free_port()
        self.address = f"{processes.LOOPBACK}:{self.port}"
        self._log = folder / "memcached.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Whether it was started and not stopped."""
        return self._process is not None

    def start(self) -> None:
        """Start it empty, on the same port each time. Raises StartError."""
        program = shutil.which("memcached")
        if program is None:
            raise processes.StartError(f"memcached is not installed: apt-get install {PACKAGE}")
        user = pwd.getpwuid(os.geteuid()).pw_name
        with self._log.open("ab") as log:
            self._process = processes.spawn(
                [program, "-l", processes.LOOPBACK, "-p", str(self.port), "-U", "0", "-u", user, "-m", "16"], output=log
            )
        processes.wait_until(self._answers, what=PACKAGE, process=self._process, log=self._log, seconds=180)

    def stop(self) -> None:
        """End it; what it kept is gone."""
        if self._process is not None:
            self.thaw()
            processes.stop(self._process)
            self._process = None

    def counters(self) -> dict[str, int]:
        """Return its statistics that are whole numbers."""
        words = [line.split() for line in self._ask("stats").splitlines()]
        return {word[1]: int(word[2]) for word in words if word[0] == "STAT" and word[2].isdigit()}

    def content(self) -> dict[str, str]:
        """Return everything that it keeps: key → value, with a replacement character for what is no text."""
        lines = self._ask("lru_crawler metadump all").splitlines()
        keys = [line.split()[0].removeprefix("key=") for line in lines if line.startswith("key=")]
        return {key: self._ask(f"get {key}") for key in keys}

    def forget(self) -> None:
        """Let it forget everything that it keeps."""
        self._ask("flush_all", end=b"OK\r\n")

    def _ask(self, command: str, end: bytes = b"END\r\n") -> str:
        with socket.create_connection((processes.LOOPBACK, self.port), 10) as connection:
            connection.sendall(f"{command}\r\n".encode())
            answer = b""
            while not answer.endswith(end) and (piece := connection.recv(65536)):
                answer += piece
        return answer.decode(errors="replace")

    def _answers(self) -> bool:
        try:
            return "pid" in self.counters()
        except OSError:
            return False
