"""The original service, release 33.0.0 from PyPI, in an environment of its own: 2 processes with 8 threads each.

No authentication, one file store, no cache: the plainest it can be. Its own documentation names both servers.
"""

import os
import signal
import subprocess
from pathlib import Path

from deploy.local import configuration, processes

from tests.support import environments
from tests.support.waiting import accepts_connections

NAME = "original"
PROCESSES, THREADS = 2, 8
SERVERS = ("gunicorn", "uwsgi")


class Original:
    """One of it, under one server, with its files in ``folder``."""

    def __init__(self, folder: Path, server: str, database_url: str) -> None:
        self.server = server
        self.port = processes.free_port()
        self.url = f"http://{processes.LOOPBACK}:{self.port}"
        self._folder = folder
        self._programs = environments.environment(NAME) / "bin"
        self._process: subprocess.Popen[bytes] | None = None
        self._configure(database_url)

    @property
    def pid(self) -> int:
        """Process id of the server's master."""
        assert self._process is not None, f"{self.server} was not started"
        return self._process.pid

    def start(self) -> None:
        """Make the tables, start, and return when it answers. Raises StartError, CalledProcessError."""
        configuration = str(self._folder / "glance-api.conf")
        manage = [str(self._programs / "glance-manage"), "--config-file", configuration, "db_sync"]
        with (self._folder / "output.log").open("ab") as output:
            subprocess.run(manage, check=True, stdout=output, stderr=output, env=self._environment())
            self._process = processes.spawn(
                self._command(), output=output, env=self._environment(), cwd=self._folder, death_signal=signal.SIGKILL
            )
        processes.wait_until(
            lambda: accepts_connections(self.port), what=f"the original under {self.server}",
            process=self._process, log=self._folder / "output.log", seconds=60,
        )

    def stop(self) -> None:
        """End it, with all its workers."""
        if self._process is not None:
            processes.stop(self._process, how=signal.SIGINT if self.server == "uwsgi" else signal.SIGTERM)

    def _command(self) -> list[str | Path]:
        address, module = f"{processes.LOOPBACK}:{self.port}", "glance.wsgi.api:application"
        if self.server == "gunicorn":
            return [
                self._programs / "gunicorn", "--bind", address, "--worker-class", "gthread",
                "--workers", str(PROCESSES), "--threads", str(THREADS),
                "--keep-alive", "60", "--timeout", "600", module,
            ]
        return [
            self._programs / "uwsgi", "--http-socket", address, "--module", module, "--master", "--lazy-apps",
            "--need-app", "--enable-threads", "--thunder-lock", "--processes", str(PROCESSES),
            "--threads", str(THREADS), "--http-chunked-input", "--http-auto-chunked", "--buffer-size", "65535",
            "--socket-timeout", "60", "--listen", "100", "--disable-logging",
            # Without it a client keeps a connection that this server closes after each answer.
            "--add-header", "Connection: close",
        ]

    def _configure(self, database_url: str) -> None:
        folder = self._folder
        for name in ("images", "staging", "tasks", "lock"):
            (folder / name).mkdir(parents=True)
        (folder / "policy.yaml").write_text('"context_is_admin": "@"\n')
        configuration.write(folder, "glance-api", {
            "DEFAULT": {
                "bind_host": processes.LOOPBACK, "bind_port": self.port, "workers": PROCESSES,
                "log_file": folder / "glance-api.log", "worker_self_reference_url": self.url,
                "enabled_backends": "fast:file", "enabled_import_methods": "[glance-direct]",
                "hashing_algorithm": "sha512",
            },
            "database": {"connection": database_url, "max_pool_size": 16, "max_overflow": 32},
            "glance_store": {"default_backend": "fast"},
            "fast": {"filesystem_store_datadir": folder / "images"},
            "os_glance_staging_store": {"filesystem_store_datadir": folder / "staging"},
            "os_glance_tasks_store": {"filesystem_store_datadir": folder / "tasks"},
            "paste_deploy": {"config_file": self._programs.parent / "etc/glance/glance-api-paste.ini", "flavor": ""},
            "oslo_concurrency": {"lock_path": folder / "lock"},
            # Without Keystone nobody has a role; its default rules then refuse every write.
            "oslo_policy": {"policy_file": folder / "policy.yaml"},
            "wsgi": {"python_interpreter": self._programs / "python"},
        })

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": f"{self._programs}:{os.defpath}", "HOME": str(self._folder), "LANG": "C.UTF-8",
            "OS_GLANCE_CONFIG_DIR": str(self._folder), "PYTHONWARNINGS": "ignore",
        }
