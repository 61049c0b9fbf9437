"""Start and stop child processes so that none outlives the process that started it."""

from __future__ import annotations

import errno
import fcntl
import os
import pwd
import random
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import IO

LOOPBACK = "127.0.0.1"

# The kernel's "your parent died" signal comes when the *thread* that forked ends. A child started by a short thread
# would die with it, so one thread that lives as long as the interpreter starts them all.
_forker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="forker")

_handed_out: set[int] = set()
_claims: int | None = None

# Not the generator that all code shares: two test runs that seed it alike would choose the same ports.
_chance = random.SystemRandom()


class StartError(Exception):
    """A child process did not come up; the text names it and shows the end of its log."""


class StopRequestedError(Exception):
    """The user asked for the end (Ctrl-C, TERM) while something was being started."""


def spawn(
    argv: Sequence[str | Path],
    *,
    output: int | IO[bytes],
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    account: pwd.struct_passwd | None = None,
    death_signal: signal.Signals = signal.SIGTERM,
) -> subprocess.Popen[bytes]:
    """Start ``argv`` in a session of its own, with empty standard input, both outputs to ``output``.

    ``account`` drops to that user (only root may). When this process ends, however it ends, the kernel sends
    ``death_signal`` to the child. Raises OSError when the command cannot be started.
    """
    command = ["setpriv", "--pdeathsig", death_signal.name.removeprefix("SIG"), "--", *map(str, argv)]
    identity = (account.pw_uid, account.pw_gid, ()) if account else (None, None, None)

    def fork() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=None if env is None else dict(env),
            cwd=cwd,
            start_new_session=True,
            user=identity[0],
            group=identity[1],
            extra_groups=identity[2],
        )

    return _forker.submit(fork).result()


def stop(process: subprocess.Popen[bytes], *, how: signal.Signals = signal.SIGTERM, seconds: float = 30) -> int:
    """Ask ``process`` to end, kill its whole group after ``seconds``, and return its exit code.

    Members of the group that outlived their leader are killed too. Safe to call for a process that has ended. Raises
    StartError as ``kill_group`` does.
    """
    if process.poll() is None:
        signal_group(process, signal.SIGCONT)
        process.send_signal(how)
        with suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
    return kill_group(process)


def kill_group(process: subprocess.Popen[bytes]) -> int:
    """Kill -9 every process of the group that ``process`` leads; return its exit code when all of them have ended.

    Raises StartError when the kernel cannot end one of them.
    """
    signal_group(process, signal.SIGKILL)
    code = process.wait()
    group = process.pid
    wait_until(lambda: not any(map(is_running, members_of(group))), what=f"the end of the process group {group}")
    return code


def signal_group(process: subprocess.Popen[bytes], how: signal.Signals) -> None:
    """Send ``how`` to every process of the group that ``process`` leads; nothing happens when none is left."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, how)


def children_of(pid: int) -> list[int]:
    """Return the ids of the direct children of ``pid``."""
    return [each for each, stat in _every_stat() if int(stat[1]) == pid]


def members_of(group: int) -> list[int]:
    """Return the ids of the processes of a process group, of those that have ended and wait for their parent too."""
    return [pid for pid, stat in _every_stat() if int(stat[2]) == group]


def state_of(pid: int) -> str | None:
    """Return the kernel's letter for the state of a process (``T`` = stopped), or None when there is none."""
    stat = _stat(pid)
    return None if stat is None else stat[0]


def is_running(pid: int) -> bool:
    """Return whether this process exists and has not ended; a zombie waiting for its parent has."""
    return state_of(pid) not in (None, "Z", "X")


def _every_stat() -> Iterator[tuple[int, list[str]]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (stat := _stat(int(entry.name))) is not None:
            yield int(entry.name), stat


def _stat(pid: int) -> list[str] | None:
    try:
        # The command name stands in parentheses and may hold blanks: fields count from the last one.
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None


def wait_until(
    ready: Callable[[], bool],
    *,
    what: str,
    process: subprocess.Popen[bytes] | None = None,
    log: Path | None = None,
    seconds: float = 60,
) -> None:
    """Return as soon as ``ready()`` is true; raise StartError when ``process`` ends first or ``seconds`` pass."""
    deadline = time.monotonic() + seconds
    is_late = False
    while not ready():
        if process is not None and process.poll() is not None:
            raise StartError(f"{what} ended with code {process.returncode}{_quote(log)}")
        if is_late:
            raise StartError(f"{what}: not ready after {seconds:g} s{_quote(log)}")
        time.sleep(0.05)
        # Asked once more after the end of the time: a machine that stood still in the meantime is no reason to give up.
        is_late = time.monotonic() > deadline


def last_lines(log: Path, count: int = 20) -> list[str]:
    """Return the last ``count`` lines of a log file, or nothing when there is no such file."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 64 * 1024))
            return file.read().decode(errors="replace").splitlines()[-count:]
    except FileNotFoundError:
        return []


def _quote(log: Path | None) -> str:
    lines = last_lines(log) if log else []
    return "".join([f"; end of {log}:", *(f"\n    {line}" for line in lines)]) if lines else ""


def free_port() -> int:
    """Return a free loopback TCP port that neither this process nor another one of this user was given before.

    It lies below the range from which the kernel takes ports for outgoing connections: a port from that range can be
    taken between this call and the moment the server binds it.
    """
    for port in _chance.sample(range(15000, 32000), 200):
        if port not in _handed_out and _claim(port) and port_is_free(port):
            _handed_out.add(port)
            return port
    raise OSError("no free TCP port found between 15000 and 32000")


def _claim(port: int) -> bool:
    """Take the port from all other processes of this user until this one ends; return whether it was to be had.

    Two processes that look at the same time would both find a port free, also one whose server is just restarted. A
    lock on one byte of a file stands for the port. The kernel gives it back with the process, and children of a fork
    do not hold it.
    """
    global _claims
    if _claims is None:  # never closed: that would give all ports back
        path = Path(tempfile.gettempdir()) / f"glance-services-ports-{os.geteuid()}"
        _claims = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.lockf(_claims, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except BlockingIOError:
        return False
    return True


def port_is_free(port: int) -> bool:
    """Return whether no process listens on this TCP port of the loopback address.

    Raises OSError when this process may not listen there in any case (ports below 1024 without root).
    """
    with socket.socket() as probe:
        # Servers set this option too: without it a port whose last connections linger would count as taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise
    return True
