"""Our own daemons as real processes: the installed programs, a configuration folder each, free loopback ports."""

from __future__ import annotations

import http.client
import os
import signal
import ssl
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from deploy.local import configuration, processes
from deploy.local.configuration import Options
from deploy.local.readiness import ReadySocket

from glance_common.server import monitor_process
from tests.support.files import files_below

PROGRAMS = Path(sys.executable).parent
_NONE: Options = MappingProxyType({})

# More than the 30 s that a daemon gives its transfers and the 10 s that it takes to abort them.
_STOP_SECONDS = 60


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _catches(pid: int, number: signal.Signals) -> bool:
    """Return whether a process has a handler of its own for a signal."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return False
    caught = int(next(line for line in lines if line.startswith("SigCgt:")).split()[1], 16)
    return bool(caught >> (number - 1) & 1)


def python_path(code: Path | None = None) -> dict[str, str]:
    """Return the environment variable for a program of ours that runs ``code``, None for that of the tests."""
    places = [str(code)] if code is not None else []
    places += [os.environ["PYTHONPATH"]] if "PYTHONPATH" in os.environ else []
    return {"PYTHONPATH": os.pathsep.join(places)} if places else {}


class Daemon:
    """One process (with its workers) of one of our programs."""

    def __init__(self, program: str, folder: Path, options: Options, arguments: Sequence[str] = ()) -> None:
        self.program = program
        self.folder = folder
        self.failpoints = folder / "failpoints"
        self.log = folder / f"{program}.log"
        self.output = folder / "output.log"
        self.metrics_port = processes.free_port()
        self.code: Path | None = None
        """Packages of another release that the daemon runs; None for those that are installed."""
        self.variables: Mapping[str, str] = {}
        """More variables of its environment, for its next start."""
        self._arguments = [*arguments, "--config-dir", str(folder / "etc")]
        self._process: subprocess.Popen[bytes] | None = None
        self._word: ReadySocket | None = None
        self.options: Options = _NONE
        self.configure(options)

    def configure(self, options: Options) -> None:
        """Write the configuration anew; the daemon reads it when it starts and on hang_up()."""
        own = {"log_file": self.log, "metrics_bind": f"{processes.LOOPBACK}:{self.metrics_port}"}
        self.options = configuration.merged({"DEFAULT": own}, options)
        configuration.write(self.folder / "etc", self.program, self.options)
        self.failpoints.mkdir(exist_ok=True)

    @property
    def pid(self) -> int:
        """Process id of the daemon: of the master where there are workers."""
        assert self._process is not None, f"{self.program} was not started"
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the daemon was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def workers(self) -> list[int]:
        """Return the process ids of the workers, without the monitor beside them."""
        return [pid for pid in processes.children_of(self.pid) if pid not in self.monitors()]

    def monitors(self) -> list[int]:
        """Return the process ids of the children that watch: one, for a moment none or, after a reload, two."""
        return [pid for pid in processes.children_of(self.pid) if _name(pid) == monitor_process.NAME]

    def start(self) -> None:
        """Start the process without waiting for it; see wait_ready()."""
        assert not self.running, f"{self.program} runs already"
        self._end_listening()
        self._word = ReadySocket()
        with self.output.open("ab") as output:
            self._process = processes.spawn(
                [PROGRAMS / self.program, *self._arguments],
                output=output,
                env={**self.environment(), **self._word.environment},
                cwd=self.folder,
                death_signal=signal.SIGKILL,
            )

    def wait_ready(self, seconds: float = 180) -> None:
        """Return when the daemon works; raise StartError with its last words when it ends or takes too long."""
        log = self.log if self.log.exists() and self.log.stat().st_size else self.output
        processes.wait_until(self.ready, what=self.program, process=self._process, log=log, seconds=seconds)

    def ready(self) -> bool:
        """Return whether the daemon has said that it works."""
        return self._word is not None and self._word.heard()

    def stop(self) -> int:
        """TERM, wait for the end, and return the exit code; 0 when it was never started."""
        self._end_listening()
        return processes.stop(self._process, seconds=_STOP_SECONDS) if self._process is not None else 0

    def interrupt(self) -> int:
        """INT, as Ctrl-C does, wait for the end, and return the exit code: no balancer is waited for."""
        assert self._process is not None
        self._end_listening()
        return processes.stop(self._process, how=signal.SIGINT, seconds=_STOP_SECONDS)

    def kill(self) -> None:
        """Kill -9 the process and all its workers at once; none of them is left afterwards."""
        assert self._process is not None
        self._end_listening()
        processes.kill_group(self._process)

    def kill_master(self) -> None:
        """Kill -9 the master only; its workers are left alone."""
        assert self._process is not None
        self._end_listening()
        self._process.kill()
        self._process.wait()

    def wait_dead(self, seconds: float = 60) -> int:
        """Wait until the process has ended by itself (a failpoint, a refused configuration); return its exit code.

        Workers may outlive it for a moment.
        """
        assert self._process is not None
        return self._process.wait(seconds)

    def ask_to_stop(self) -> None:
        """Send the first TERM of a daemon without workers and return when it was heard, not when the daemon ends."""
        os.kill(self.pid, signal.SIGTERM)
        # Its handler puts the usual one back: the second TERM ends it.
        processes.wait_until(lambda: not _catches(self.pid, signal.SIGTERM), what="the answer to TERM")

    def restart(self) -> None:
        """Stop cleanly when running, start, and wait until the daemon works."""
        self.stop()
        self.start()
        self.wait_ready()

    def hang_up(self) -> None:
        """HUP: the daemon reads its configuration again; new workers replace the old ones."""
        # Take the messages of earlier reloads: the daemon waits while too many are unread.
        self.ready()
        os.kill(self.pid, signal.SIGHUP)

    def freeze(self) -> None:
        """SIGSTOP the process and its workers; all of them stand still afterwards."""
        assert self._process is not None
        processes.signal_group(self._process, signal.SIGSTOP)
        members = processes.members_of(self.pid)
        processes.wait_until(
            lambda: all(processes.state_of(pid) in (None, "T", "Z") for pid in members), what=f"a frozen {self.program}"
        )

    def thaw(self) -> None:
        """SIGCONT the process and its workers."""
        assert self._process is not None
        processes.signal_group(self._process, signal.SIGCONT)

    def arm(self, failpoint: str, action: str) -> None:
        """Let the next process of this daemon that passes ``failpoint`` do ``action``, once."""
        complete = self.failpoints / f".{failpoint}"
        complete.write_text(action)
        complete.rename(self.failpoints / failpoint)

    def fired(self, failpoint: str) -> bool:
        """Return whether an armed failpoint was passed."""
        return bool(self._traces(failpoint))

    def release(self, failpoint: str) -> None:
        """Let the process go on that an armed ``wait`` holds."""
        for trace in self._traces(failpoint):
            trace.unlink()

    def wait_fired(self, failpoint: str, seconds: float = 60) -> int:
        """Wait until a process has passed an armed failpoint and has stopped or died when it was told so; return it."""
        what = f"failpoint {failpoint} of {self.program}"
        processes.wait_until(lambda: self.fired(failpoint), what=what, seconds=seconds)
        (trace,) = self._traces(failpoint)
        pid, action = int(trace.name.split(".")[-2]), trace.read_text().strip()
        # The trace comes first.
        ends = {"stop": ("T",), "kill": (None, "Z", "X"), "killall": (None, "Z", "X")}.get(action)
        if ends is not None:
            processes.wait_until(lambda: processes.state_of(pid) in ends, what=f"{what}: {action}", seconds=seconds)
        if action == "killall":
            self.wait_dead(seconds)
        return pid

    def _traces(self, failpoint: str) -> list[Path]:
        return list(self.failpoints.glob(f"{failpoint}.*.fired"))

    def said(self) -> str:
        """Return everything this daemon has written: log and outputs."""
        texts = [path.read_text(errors="replace") for path in (self.log, self.output) if path.exists()]
        return "".join(texts)

    def _end_listening(self) -> None:
        if self._word is not None:
            self._word.close()
            self._word = None

    def environment(self) -> dict[str, str]:
        """Return the environment of the process; a PYTHONPATH of the tests holds for it, so that both run one code."""
        own = {
            **python_path(self.code),
            "PATH": f"{PROGRAMS}:/usr/bin:/bin",
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            "GLANCE_FAILPOINTS_DIR": str(self.failpoints),
        }
        return {**own, **self.variables}


class WebDaemon(Daemon):
    """A daemon that listens on a port of its own, kept over restarts."""

    def __init__(self, program: str, folder: Path, options: Options, health: tuple[str, int]) -> None:
        self.port = processes.free_port()
        self._health_path, self._health_status = health
        super().__init__(program, folder, options)

    def configure(self, options: Options) -> None:
        """Write the configuration anew, with the port of this daemon."""
        own = {"DEFAULT": {"bind_host": processes.LOOPBACK, "bind_port": self.port, "workers": 2, "threads": 8}}
        super().configure(configuration.merged(own, options))

    @property
    def tls(self) -> bool:
        """Whether the daemon serves TLS."""
        return bool(self.options["DEFAULT"].get("cert_file"))

    @property
    def url(self) -> str:
        """Where the daemon listens, without a slash at the end."""
        return f"{'https' if self.tls else 'http'}://{processes.LOOPBACK}:{self.port}"

    def ready(self) -> bool:
        """Return whether all workers of the daemon serve, and its health address answers as it should."""
        return super().ready() and self.status() == self._health_status

    def status(self) -> int | None:
        """Return the HTTP status of the health address, or None when there is no answer."""
        connection = self._connection()
        try:
            connection.request("GET", self._health_path)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        if not self.tls:
            return http.client.HTTPConnection(processes.LOOPBACK, self.port, timeout=10)
        # Only whether it answers is asked here, so any certificate will do, and its own is shown where one is wanted.
        context = ssl._create_unverified_context()
        if self.options["DEFAULT"].get("ca_file"):
            own = self.options["DEFAULT"]
            context.load_cert_chain(str(own["cert_file"]), str(own["key_file"]))
        return http.client.HTTPSConnection(processes.LOOPBACK, self.port, timeout=10, context=context)


AnyDaemon = TypeVar("AnyDaemon", bound=Daemon)


class Services:
    """One registry, one API and one scrubber over one database, one delete queue and one file store in ``folder``.

    ``shared`` holds options of all programs; ``api``, ``registry`` and ``scrubber`` those of one. More APIs and
    scrubbers may join later.
    """

    def __init__(
        self,
        folder: Path,
        database_url: str,
        *,
        transport_url: str | None = None,
        shared: Options = _NONE,
        api: Options = _NONE,
        registry: Options = _NONE,
        scrubber: Options = _NONE,
    ) -> None:
        self.folder = folder
        self.images = folder / "images"
        self.queue = folder / "queue"
        self.staging = folder / "staging"
        for path in (self.images, self.queue, self.staging):
            path.mkdir(parents=True, exist_ok=True)
        secret = folder / "registry-secret"
        configuration.make_secret(secret)
        self._api_options, self._scrubber_options = api, scrubber
        self._daemons: list[Daemon] = []
        self.variables: dict[str, str] = {}
        """More variables of the environment of all daemons, for their next start."""

        everyone = configuration.merged({"registry": {"context_secret_file": secret}}, shared)
        self._registry_options = configuration.merged(everyone, {"database": {"connection": database_url}}, registry)
        self.registry = self.new_registry("registry")
        common = {
            "registry_host": processes.LOOPBACK,
            "registry_port": self.registry.port,
            "transport_url": transport_url or f"filesystem://{self.queue}",
        }
        stores: Mapping[str, object] = {
            "stores": "file",
            "default_store": "file",
            "filesystem_store_datadir": self.images,
        }
        own_stores = "enabled_backends" not in shared.get("DEFAULT", {})
        self._base = configuration.merged({"DEFAULT": common}, {"glance_store": stores} if own_stores else {}, everyone)
        self.api = self.new_api("api")
        self.scrubber = self.new_scrubber("scrubber")

    def new_registry(self, name: str) -> WebDaemon:
        """Return one more glance-registry, not started yet, with its files in a folder ``name``."""
        return self._keep(
            WebDaemon("glance-registry", self.folder / name, self._registry_options, ("/healthcheck", 200))
        )

    def new_api(self, name: str, options: Options = _NONE) -> WebDaemon:
        """Return one more glance-api, not started yet, with its files in a folder ``name``."""
        own = {"DEFAULT": {"node_staging_uri": self.staging.as_uri()}}
        merged = configuration.merged(self._base, own, self._api_options, options)
        return self._keep(WebDaemon("glance-api", self.folder / name, merged, ("/", 300)))

    def new_scrubber(self, name: str, options: Options = _NONE) -> Daemon:
        """Return one more glance-scrubber daemon, not started yet, with its files in a folder ``name``."""
        merged = configuration.merged(self._base, self._scrubber_options, options)
        return self._keep(Daemon("glance-scrubber", self.folder / name, merged, ["--daemon"]))

    def start(self, *daemons: Daemon) -> None:
        """Start these daemons, or the first three, and wait until all of them work."""
        wanted = daemons or (self.registry, self.api, self.scrubber)
        for daemon in wanted:
            daemon.start()
        for daemon in wanted:
            daemon.wait_ready()

    def stop(self) -> None:
        """Stop everything that still runs: the others at once, then the registries that they may need for it."""
        registries = [daemon for daemon in self._daemons if daemon.program == "glance-registry"]
        others = [daemon for daemon in self._daemons if daemon.program != "glance-registry"]
        with ThreadPoolExecutor(max(1, len(self._daemons)), thread_name_prefix="stop") as pool:
            for group in (others, registries):
                list(pool.map(Daemon.stop, group))  # a list, so that errors are raised

    def scrub_once(self, *arguments: str, seconds: float = 300) -> subprocess.CompletedProcess[str]:
        """Run one pass of glance-scrubber, as cron does, with the scrubber's configuration; return its output."""
        return subprocess.run(
            [PROGRAMS / "glance-scrubber", *arguments, "--config-dir", self.scrubber.folder / "etc"],
            env=self.scrubber.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def _keep(self, daemon: AnyDaemon) -> AnyDaemon:
        daemon.variables = self.variables
        self._daemons.append(daemon)
        return daemon

    def files(self) -> list[str]:
        """Return the names of all image files in the store, without what belongs to the store itself."""
        return sorted(path.name for path in files_below(self.images) if not path.name.startswith("."))
