"""A real nginx with the configuration of ``deploy/nginx``, its example addresses and folders replaced."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

import requests
from deploy.local import processes

PROGRAM = Path("/usr/sbin/nginx")
SAMPLES = Path(__file__).resolve().parents[2] / "deploy" / "nginx"

_MAIN = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log info;
{user}
events {{}}
http {{
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    log_format sent '$request_method $request_uri $uri $status $body_bytes_sent $glance_sendfile_type';
    access_log {folder}/access.log sent;
    include {folder}/glance.conf;
    server {{ listen {knock}; access_log off; return 204; }}
}}
"""


class Nginx:
    """nginx in front of one API; ``directories`` maps the internal prefixes to what nginx shows under them."""

    def __init__(self, folder: Path, api_port: int, directories: Mapping[str, Path]) -> None:
        assert PROGRAM.exists(), f"{PROGRAM} is missing: apt-get install nginx-light"
        self.port = processes.free_port()
        self.url = f"http://{processes.LOOPBACK}:{self.port}"
        self._knock = f"{processes.LOOPBACK}:{processes.free_port()}"
        self._folder = folder
        server = replaced((SAMPLES / "glance.conf").read_text(), {
            "    server 192.0.2.11:9292;\n    server 192.0.2.12:9292;": f"    server {processes.LOOPBACK}:{api_port};",
            "    listen 9292;": f"    listen {processes.LOOPBACK}:{self.port};",
            "    # include /etc/nginx/snippets/glance-downloads.conf;":
                f"    include {folder}/glance-downloads.conf;" if directories else "",
        })
        (folder / "glance.conf").write_text(server)
        (folder / "glance-downloads.conf").write_text(_downloads(directories))
        # Without it the workers of a nginx that root started could not read what the tests' services wrote.
        user = "user root root;" if os.getuid() == 0 else ""
        (folder / "nginx.conf").write_text(_MAIN.format(folder=folder, user=user, knock=self._knock))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start nginx and wait until it answers."""
        with (self._folder / "output.log").open("ab") as output:
            self._process = processes.spawn(
                [PROGRAM, "-p", self._folder, "-c", self._folder / "nginx.conf"],
                output=output, env={"PATH": "/usr/sbin:/usr/bin:/bin"}, cwd=self._folder, death_signal=signal.SIGKILL,
            )
        processes.wait_until(
            (self._folder / "nginx.pid").exists, what="nginx", process=self._process, log=self._folder / "error.log",
            seconds=120,
        )

    def stop(self) -> None:
        """End nginx."""
        if self._process is not None:
            processes.stop(self._process, seconds=30)

    def served(self) -> list[str]:
        """Return a line for each answer: method, asked URL, the URL it led to, status, bytes, how it was sent."""
        # A line is written after the answer was sent. The only worker does that before it answers anybody else.
        requests.get(f"http://{self._knock}/", timeout=30)
        return (self._folder / "access.log").read_text().splitlines()


def _downloads(directories: Mapping[str, Path]) -> str:
    """Return the sample with one internal location for each directory."""
    head, begin, rest = (SAMPLES / "glance-downloads.conf").read_text().partition("location /_glance/images/")
    location, end, tail = (begin + rest).partition("\n}\n")
    made = [
        replaced(location + end, {"/_glance/images/": f"{prefix}/", "/var/lib/glance/images": str(directory)})
        for prefix, directory in directories.items()
    ]
    return head + "".join(made) + tail


def replaced(text: str, values: Mapping[str, str]) -> str:
    """Return a sample with these parts replaced; each must be there."""
    for old, new in values.items():
        assert old in text, f"the sample has no {old!r} any more"
        text = text.replace(old, new)
    return text
