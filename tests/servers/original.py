"""The original image service, release 33.0.0 from PyPI, in an environment of its own, under gunicorn."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from deploy.local import configuration, processes
from deploy.local.configuration import Options

from tests.support import environments
from tests.support.waiting import accepts_connections

_BOOT_SECONDS = 300
MODULE = "glance.wsgi.api:application"


class Original:
    """One of it with one file store and all its files in ``folder``; its tables are made in the database at its start.

    Without other ``options`` it authenticates no caller. ``environment`` names the environment that it is in.
    """

    workers, threads = 1, 8

    modules: Path | None = None
    """A folder of modules that the environment lacks."""

    commands: Path | None = None
    """A folder of programs that come before those of the same name."""

    def __init__(
        self, folder: Path, database_url: str, options: Options, environment: str = environments.ORIGINAL
    ) -> None:
        self.folder = folder
        self.images = folder / "images"
        self.port = processes.free_port()
        self.url = f"http://{processes.LOOPBACK}:{self.port}"
        self.programs = environments.environment(environment) / "bin"
        self._process: subprocess.Popen[bytes] | None = None
        for path in (self.images, *(folder / name for name in ("staging", "tasks", "lock"))):
            path.mkdir(parents=True)
        own = configuration.merged(self._options(), {"database": {"connection": database_url}}, options)
        configuration.write(folder, "glance-api", own)

    @property
    def pid(self) -> int:
        """Process id of the server's master."""
        assert self._process is not None, "the original was not started"
        return self._process.pid

    def start(self) -> None:
        """Make the tables once, start, and return when it listens. Raises StartError, CalledProcessError."""
        log = self.folder / "output.log"
        fresh = not log.exists()
        with log.open("ab") as output:
            if fresh:
                configured = str(self.folder / "glance-api.conf")
                manage = [str(self.programs / "glance-manage"), "--config-file", configured, "db_sync"]
                subprocess.run(manage, check=True, stdout=output, stderr=output, env=self._environment())
            self._process = processes.spawn(
                self.command(), output=output, env=self._environment(), cwd=self.folder, death_signal=signal.SIGKILL
            )
        processes.wait_until(
            lambda: accepts_connections(self.port), what="the original", process=self._process, log=log,
            seconds=_BOOT_SECONDS,
        )

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it, with all its workers."""
        if self._process is not None:
            processes.stop(self._process, how=how)

    def kill(self) -> None:
        """Kill -9 it and its workers."""
        if self._process is not None:
            processes.kill_group(self._process)

    def command(self) -> list[str | Path]:
        """Return the command line of its server."""
        return [
            self.programs / "gunicorn", "--bind", f"{processes.LOOPBACK}:{self.port}", "--worker-class", "gthread",
            "--workers", str(self.workers), "--threads", str(self.threads), "--keep-alive", "60",
            "--timeout", "600", MODULE,
        ]

    def _options(self) -> Options:
        folder = self.folder
        return {
            "DEFAULT": {
                "bind_host": processes.LOOPBACK, "bind_port": self.port, "workers": self.workers,
                "log_file": folder / "glance-api.log", "worker_self_reference_url": self.url,
                "enabled_backends": "fast:file", "enabled_import_methods": "[glance-direct]",
                "hashing_algorithm": "sha512",
            },
            "glance_store": {"default_backend": "fast"},
            "fast": {"filesystem_store_datadir": self.images},
            "os_glance_staging_store": {"filesystem_store_datadir": folder / "staging"},
            "os_glance_tasks_store": {"filesystem_store_datadir": folder / "tasks"},
            "paste_deploy": {"config_file": self.programs.parent / "etc/glance/glance-api-paste.ini", "flavor": ""},
            "oslo_concurrency": {"lock_path": folder / "lock"},
            "wsgi": {"python_interpreter": self.programs / "python"},
        }

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": os.pathsep.join([*([str(self.commands)] if self.commands else []), str(self.programs), os.defpath]),
            "HOME": str(self.folder), "LANG": "C.UTF-8",
            "OS_GLANCE_CONFIG_DIR": str(self.folder), "PYTHONWARNINGS": "ignore",
            "PYTHONPATH": str(self.modules or ""),
        }
