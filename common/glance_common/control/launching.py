"""How glance-control starts a server: limits, a session of its own, where its output goes, and whether it stays up."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from glance_common.control import pid_file
from glance_common.control.pid_file import PidFile
from glance_common.control.servers import ControlError, ControlledServer

MOST_FILES = 32768
MOST_DATA = 2 * 1024**3
BOUNCE_SECONDS = 1.0
"""A server that ends sooner after its start is not started again."""

_ASKED_FOR = (0, -signal.SIGTERM, -signal.SIGINT)
"""How a server ends that was told to."""


@dataclass(frozen=True, slots=True)
class LaunchOptions:
    """``config``: file or directory of the configuration; ``await_child``: seconds to wait for an early death."""

    config: Path | None = None
    await_child: float | None = None
    captures: bool = False
    respawns: bool = False

    def arguments(self) -> tuple[str, ...]:
        """Return what the command line of a server says about its configuration."""
        if self.config is None:
            return ()
        return ("--config-dir" if self.config.is_dir() else "--config-file", str(self.config.absolute()))


class Launch:
    """One server, to be started in the place of its pid file."""

    def __init__(self, server: ControlledServer, file: PidFile, options: LaunchOptions) -> None:
        self.server = server
        self._file = file
        self._options = options
        self._command = [str(_program(server.program)), *server.arguments, *options.arguments()]
        self._lock = -1
        self._output = subprocess.DEVNULL
        self._process: subprocess.Popen[bytes] | None = None
        self._logger: subprocess.Popen[bytes] | None = None
        self._begun = 0.0
        self._stops = threading.Event()

    def start(self, scope: ExitStack) -> None:
        """Start it; ``scope`` ends what belongs to it in this process. Raises ControlError."""
        self._lock = scope.enter_context(self._file.taken())
        if self._options.captures:
            self._output = self._pipe_to_syslog(scope)
        _say(f"Starting {' '.join(self._command)}")
        self._spawn()

    def _spawn(self) -> None:
        self._begun = time.monotonic()
        try:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=self._output, stderr=self._output,
                start_new_session=True, pass_fds=(self._lock,),
            )
        except OSError as error:
            self._drop_file()
            raise ControlError(f"{self._command[0]} cannot be started: {error.strerror}.") from None
        pid_file.write(self._lock, self._process.pid)

    def _pipe_to_syslog(self, scope: ExitStack) -> int:
        """Return the descriptor of a pipe whose other end ``logger`` reads. Raises ControlError."""
        program = shutil.which("logger")
        if program is None:
            raise ControlError("--capture-output needs the program logger.")
        reader, writer = os.pipe()
        scope.callback(os.close, writer)
        with os.fdopen(reader, "rb") as source:
            # A session of its own: it reads for as long as the server writes, also after the end of glance-control.
            self._logger = subprocess.Popen(
                [program, "-t", self.server.program], stdin=source, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL, start_new_session=True,
            )
        return writer

    def early_code(self) -> int:
        """Wait as long as ``--await-child`` says; return 0 when the server lives, or else its exit code."""
        assert self._process is not None
        try:
            code = self._process.wait(self._options.await_child)
        except subprocess.TimeoutExpired:
            return 0
        self._drop_file()
        _complain(f"{self.server.program} ended early with exit code {_shell_code(code)}.")
        return _shell_code(code) or 1

    def watch(self) -> int:
        """Start the server again whenever it dies unexpectedly; return 0 when it ended because it was told to."""
        while True:
            assert self._process is not None
            code = self._process.wait()
            if code in _ASKED_FOR or self._stops.is_set():
                self._drop_file()
                return 0
            what = f"{self.server.program} ended with exit code {_shell_code(code)}"
            if time.monotonic() - self._begun < BOUNCE_SECONDS:
                self._drop_file()
                _complain(f"{what} within a second of its start and is not started again.")
                return 1
            _complain(f"{what} and is started again.")
            self._spawn()
            if self._stops.is_set():
                self.end()  # the signal came between the two

    def end(self) -> None:
        """Tell the server to end, for good."""
        self._stops.set()
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.terminate()

    def leave(self) -> None:
        """Let the server, and what reads its output, live on when this process ends."""
        for process in (self._process, self._logger):
            if process is not None and process.poll() is None:
                process.returncode = 0  # or else its destructor warns of a process that runs

    def _drop_file(self) -> None:
        # Removed while it is locked: a start that comes next makes a new one.
        with suppress(FileNotFoundError):
            self._file.path.unlink()


def run_all(launches: Sequence[Launch], options: LaunchOptions) -> int:
    """Start the servers and do what the options ask for; return 0, or the code of one that did not come up."""
    _raise_limits()
    with ExitStack() as scope:
        code = 0
        started = []
        for launch in launches:
            try:
                launch.start(scope)
            except ControlError as error:
                _complain(str(error))
                code = 1
            else:
                started.append(launch)
        if options.respawns:
            return _watch_all(started) or code
        for launch in started:
            if options.await_child is not None:
                code = launch.early_code() or code
            launch.leave()
    return code


def _watch_all(launches: Sequence[Launch]) -> int:
    if not launches:
        return 1
    with ThreadPoolExecutor(len(launches), thread_name_prefix="watch") as pool:

        def on_signal(_number: int, _frame: FrameType | None) -> None:
            for launch in launches:
                launch.end()

        before = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            return max(pool.map(Launch.watch, launches))
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _program(name: str) -> Path:
    """Return the program of a server, which stands beside this interpreter or in the path. Raises ControlError."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise ControlError(f"there is no program {name} beside {sys.executable} or in PATH.")
    return Path(found)


def _raise_limits() -> None:
    """Raise what servers inherit: open files and memory, as far as this user may. Higher limits stay."""
    for kind, wanted in ((resource.RLIMIT_NOFILE, MOST_FILES), (resource.RLIMIT_DATA, MOST_DATA)):
        soft, hard = resource.getrlimit(kind)
        if soft == resource.RLIM_INFINITY or soft >= wanted:
            continue
        higher = hard if hard == resource.RLIM_INFINITY else max(hard, wanted)
        try:
            resource.setrlimit(kind, (wanted, higher))
        except (OSError, ValueError):
            resource.setrlimit(kind, (hard, hard))


def _shell_code(code: int) -> int:
    """Return an exit code as shells show it: 128 + the number of a signal."""
    return code if code >= 0 else 128 - code


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - the tool's answer to its caller


def _complain(text: str) -> None:
    print(f"ERROR: {text}", file=sys.stderr, flush=True)  # noqa: T201 - the tool's answer to its caller
