"""Our own service as it runs in production: 2 API workers, 2 registry workers, every option at its default."""

import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from deploy.local import configuration, processes

from glance_registry.db.schema import upgrade
from tests.support.daemons import PROGRAMS
from tests.support.waiting import accepts_connections

WORKERS = 2


class Program:
    """One of our daemons, with its files in ``folder``."""

    def __init__(self, folder: Path, name: str, options: configuration.Options) -> None:
        self.name = name
        self.port = processes.free_port()
        self.url = f"http://{processes.LOOPBACK}:{self.port}"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        own = {
            "bind_host": processes.LOOPBACK, "bind_port": self.port, "workers": WORKERS,
            "log_file": folder / "log", "metrics_bind": f"{processes.LOOPBACK}:{processes.free_port()}",
        }
        configuration.write(folder, name, configuration.merged({"DEFAULT": own}, options))

    @property
    def pid(self) -> int:
        """Process id of the master."""
        assert self._process is not None, f"{self.name} was not started"
        return self._process.pid

    def start(self) -> None:
        """Start, and return when it accepts connections. Raises StartError."""
        output = self._folder / "output.log"
        with output.open("ab") as file:
            self._process = processes.spawn(
                [PROGRAMS / self.name, "--config-dir", self._folder], output=file, env=environment(self._folder),
                cwd=self._folder, death_signal=signal.SIGKILL,
            )
        processes.wait_until(
            lambda: accepts_connections(self.port), what=self.name, process=self._process, log=output,
            seconds=60,
        )

    def stop(self) -> None:
        """End it, with all its workers."""
        if self._process is not None:
            processes.stop(self._process, seconds=60)


class Ours:
    """One registry and as many APIs as are wanted, over one file store in ``folder`` or other ``stores``."""

    def __init__(
        self, folder: Path, database_url: str, transport_url: str | None = None,
        stores: configuration.Options | None = None,
    ) -> None:
        """Without ``transport_url`` the delete queue is a folder."""
        self._folder = folder
        self.programs: list[Program] = []
        for name in ("images", "queue", "staging"):
            (folder / name).mkdir(parents=True)
        configuration.make_secret(folder / "secret")
        upgrade(database_url)
        secret = {"registry": {"context_secret_file": folder / "secret"}}
        self.registry = self._started(
            "glance-registry", "registry", configuration.merged(secret, {"database": {"connection": database_url}})
        )
        self.shared = configuration.merged(secret, {
            "DEFAULT": {
                "registry_host": processes.LOOPBACK, "registry_port": self.registry.port,
                "transport_url": transport_url or f"filesystem://{folder / 'queue'}",
            },
        }, stores or {
            "glance_store": {"stores": "file", "default_store": "file", "filesystem_store_datadir": folder / "images"},
        })
        configuration.write(folder / "scrubber", "glance-scrubber", self.shared)

    def api(self, name: str, options: Mapping[str, object]) -> Program:
        """Start one more API, with these options in ``[DEFAULT]``."""
        own = {"DEFAULT": {"node_staging_uri": (self._folder / "staging").as_uri(), **options}}
        return self._started("glance-api", name, configuration.merged(self.shared, own))

    def _started(self, program: str, name: str, options: configuration.Options) -> Program:
        started = Program(self._folder / name, program, options)
        started.start()
        self.programs.append(started)
        return started

    def scrub(self) -> None:
        """Remove the data of deleted images, in one pass that has ended when this returns."""
        folder = self._folder / "scrubber"
        with (folder / "output.log").open("ab") as output:
            subprocess.run(
                [PROGRAMS / "glance-scrubber", "--config-dir", folder], env=environment(folder), check=True,
                stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            )

    def stop(self) -> None:
        """End everything, the registry last."""
        while self.programs:
            self.programs.pop().stop()


def environment(home: Path) -> dict[str, str]:
    """Return the environment of our programs; a PYTHONPATH of ours holds for them, so that both run one code."""
    own = {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
    # Configuration in the home directory is read as well, and would be read twice.
    return {**own, "PATH": f"{PROGRAMS}:{os.defpath}", "HOME": str(home / "home"), "LANG": "C.UTF-8"}
