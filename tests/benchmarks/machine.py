"""What the machine can do at best: hashing, and files sent by nginx."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

from deploy.local import processes

from tests.benchmarks import hashing
from tests.support.waiting import accepts_connections

HASHES = (
    ("md5 + sha512, in turn", hashing.in_series, ("md5", "sha512")),
    ("md5 + sha512, in two threads", hashing.in_threads, ("md5", "sha512")),
    ("sha256", hashing.in_series, ("sha256",)),
)

PROGRAM = shutil.which("nginx", path=f"/usr/sbin:{os.defpath}")

_CONFIGURATION = """
daemon off; worker_processes 2; pid {folder}/nginx.pid; error_log {folder}/error.log; {user}
events {{}}
http {{
    access_log off; sendfile on; tcp_nopush on;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    server {{ listen {address}; root {files}; }}
}}
"""


def describe() -> str:
    """Return the name of the processor and of the kernel."""
    names = [line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
             if line.startswith("model name")]
    return f"{names[0] if names else os.uname().machine}, Linux {os.uname().release}"


def limit_processors(count: int) -> set[int]:
    """Keep this process, and all that it starts, on the first ``count`` of its processors; return them."""
    chosen = set(sorted(os.sched_getaffinity(0))[:count])
    os.sched_setaffinity(0, chosen)
    return chosen


class Nginx:
    """Sends the files of a folder with the kernel's sendfile, and does nothing else."""

    def __init__(self, folder: Path, files: Path) -> None:
        self.port = processes.free_port()
        self.url = f"http://{processes.LOOPBACK}:{self.port}"
        folder.mkdir()
        self._folder = folder
        # Workers of a nginx that root started would be another user, who may not read the files.
        user = "user root root;" if os.getuid() == 0 else ""
        address = f"{processes.LOOPBACK}:{self.port}"
        text = _CONFIGURATION.format(folder=folder, files=files, user=user, address=address)
        (folder / "nginx.conf").write_text(text)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Process id of the master."""
        assert self._process is not None, "nginx was not started"
        return self._process.pid

    def start(self) -> None:
        """Start, and return when it accepts connections. Raises StartError."""
        assert PROGRAM is not None, "nginx is installed"
        log = self._folder / "output.log"
        with log.open("ab") as output:
            self._process = processes.spawn(
                [PROGRAM, "-p", self._folder, "-c", self._folder / "nginx.conf"], output=output,
                env={"PATH": os.defpath}, cwd=self._folder, death_signal=signal.SIGKILL,
            )
        processes.wait_until(
            lambda: accepts_connections(self.port), what="nginx", process=self._process, log=log
        )

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            processes.stop(self._process)
