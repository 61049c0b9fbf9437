"""What the machine can do at best: hashing, and files sent by nginx."""

import hashlib
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from deploy.local import processes

from tests.benchmarks.endpoint import MIB

HASHES = (
    ("md5 and sha512, one core, in turn", (("md5", "sha512"),)),
    ("md5 and sha512, two threads", (("md5",), ("sha512",))),
    ("sha256, one core", (("sha256",),)),
)
"""What is hashed how: a thread for each inner tuple, which passes its algorithms in turn."""

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


def hash_speed(threads: Sequence[Sequence[str]], amount: int = 256) -> float:
    """Return the MB/s at which ``amount`` MiB, in pieces of one, pass all these algorithms."""
    piece = os.urandom(MIB)

    def work(algorithms: Sequence[str]) -> None:
        digests = [hashlib.new(name) for name in algorithms]
        for _ in range(amount):
            for digest in digests:
                digest.update(piece)

    began = time.monotonic()
    running = [threading.Thread(target=work, args=(algorithms,)) for algorithms in threads]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return amount * MIB / 1e6 / (time.monotonic() - began)


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
            lambda: processes.accepts_connections(self.port), what="nginx", process=self._process, log=log
        )

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            processes.stop(self._process)
