"""The console script glance-control: start, stop, reload the servers of this host, tell which run (tools section 5).

Here HUP means reload, and TERM is the graceful end: running transfers have the time that ``stop_timeout`` gives them.
So ``shutdown`` sends TERM where the original sends HUP; it waits for as long as that end may take, ``stop`` for 15 s.
"""

import argparse
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from glance_common.control import systemd
from glance_common.control.launching import Launch, LaunchOptions, run_all
from glance_common.control.pid_file import PidFile, default_path
from glance_common.control.processes import ends_within, process_of, tell
from glance_common.control.servers import ALL, SERVERS, WORDS, ControlError, ControlledServer, named

PROG = "glance-control"
STOP_SECONDS = 15.0
LONGEST_AWAIT = 86400
STOPPED = 3
"""Exit code of ``status`` for a server that is stopped, as of systemctl and the init scripts of LSB."""

_DESCRIPTION = "Starts and stops the servers of this host. Where systemd runs their units, systemctl does it instead."
_COMMANDS = """\
commands:
  start           start the server unless it runs
  stop            TERM: running transfers have stop_timeout to end; waits 15 seconds for the end
  shutdown        the same, and waits for as long as the graceful end may take
  restart         shutdown and start
  reload          HUP: new workers use the new configuration, the old ones finish; api and registry only
  force-reload    the same as reload
  status          say whether the server runs; exit code 3 when it is stopped
"""

Act = Callable[[ControlledServer, argparse.Namespace], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Do one command; return 0, 1 with ``ERROR: …`` when it cannot be done, or the code that it found."""
    given = _parser().parse_args(None if argv is None else list(argv))
    try:
        return _run(given)
    except ControlError as error:
        print(f"ERROR: {error}", file=sys.stderr)  # noqa: T201 - the tool's answer to its caller
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog=PROG, description=_DESCRIPTION, epilog=_COMMANDS, formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = made.add_argument
    add("server", metavar="SERVER", choices=WORDS, help=f"one of {', '.join(WORDS)}")
    add("command", metavar="COMMAND", choices=tuple(systemd.VERBS), help="what to do, see below")
    add("config", metavar="CONFPATH", nargs="?", type=Path,
        help="file or directory with the configuration of the server, for start and restart")
    add("--pid-file", metavar="PATH", type=Path,
        help="file for the id of the process (/var/run/glance/SERVER.pid, or a temporary directory)")
    how = made.add_mutually_exclusive_group()
    how.add_argument("--await-child", metavar="SECONDS", type=_seconds,
                     help="wait so long for an early end of the server, and report its exit code")
    how.add_argument("--respawn", action="store_true",
                     help="stay, and start the server again when it ends unexpectedly later than a second")
    add("--capture-output", action="store_true", help="send what the server writes to stdout and stderr to syslog")
    add("--no-systemd", action="store_true", help="do not ask systemd, also where it runs the unit of the server")
    add("--version", action="version", version=f"{PROG} {version('glance-services')}")
    return made


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= LONGEST_AWAIT:
        raise argparse.ArgumentTypeError(f"must be a number of seconds from 0 to {LONGEST_AWAIT}")
    return seconds


def _run(given: argparse.Namespace) -> int:
    servers = named(given.server)
    if given.server == ALL and (given.pid_file or given.config):
        raise ControlError("--pid-file and CONFPATH belong to one server, not to all.")
    if given.config and not given.config.exists():
        raise ControlError(f"there is no configuration {given.config}.")
    reloads = given.command in ("reload", "force-reload")
    if reloads:
        servers = _reloadable(given, servers)
    units = [] if given.no_systemd or given.pid_file or given.config else list(filter(systemd.is_unit, servers))
    if units and (given.await_child is not None or given.respawn or given.capture_output):
        raise ControlError(f"systemd runs {units[0].unit} and has options of its own; see --no-systemd.")
    if given.command in ("start", "restart"):
        return _start(given, servers, units)
    act = _ACTS[given.command]
    # What others depend on stops last.
    ordered = servers[::-1] if given.command in ("stop", "shutdown") else servers
    return max([_by_systemd(server, given) if server in units else _reported(act, server, given) for server in ordered])


def _reloadable(given: argparse.Namespace, servers: Sequence[ControlledServer]) -> list[ControlledServer]:
    chosen = [server for server in servers if server.can_reload]
    if not chosen:
        names = " and ".join(server.program for server in SERVERS.values() if server.can_reload)
        raise ControlError(f"{servers[0].program} cannot {given.command}: only {names} can.")
    return chosen


def _start(
    given: argparse.Namespace, servers: Sequence[ControlledServer], units: Sequence[ControlledServer]
) -> int:
    code = 0
    own = [server for server in servers if server not in units]
    if given.command == "restart":
        code = max([_reported(_shutdown, server, given) for server in own[::-1]], default=0)
    if code:
        return code
    options = LaunchOptions(given.config, given.await_child, given.capture_output, given.respawn)
    codes = [_by_systemd(server, given) for server in units]
    if own:
        codes.append(run_all([Launch(server, _file(server, given), options) for server in own], options))
    return max(codes)


def _by_systemd(server: ControlledServer, given: argparse.Namespace) -> int:
    if given.command != "status":
        return systemd.act(server, given.command)
    return _told(server, systemd.main_pid(server))


def _reported(act: Act, server: ControlledServer, given: argparse.Namespace) -> int:
    """Do it; an error of one server does not keep the others from it."""
    try:
        return act(server, given)
    except ControlError as error:
        print(f"ERROR: {server.program}: {error}", file=sys.stderr)  # noqa: T201 - the tool's answer to its caller
        return 1


def _file(server: ControlledServer, given: argparse.Namespace) -> PidFile:
    return PidFile(given.pid_file or default_path(server.program), server.program)


def _stop(server: ControlledServer, given: argparse.Namespace) -> int:
    return _end(server, given, STOP_SECONDS)


def _shutdown(server: ControlledServer, given: argparse.Namespace) -> int:
    return _end(server, given, server.patience)


def _end(server: ControlledServer, given: argparse.Namespace, seconds: float) -> int:
    file = _file(server, given)
    with process_of(file) as process:
        if process is None:
            _say(f"{server.program} is stopped")
            file.remove()
            return 0
        pid, handle = process
        _say(f"Stopping {server.program} (pid {pid})")
        tell(handle, signal.SIGTERM)
        if not ends_within(handle, seconds):
            # The file stays: a start must see that it still runs.
            raise ControlError(f"pid {pid} has not ended after {seconds:g} seconds; it finishes what runs.")
    file.remove()
    return 0


def _reload(server: ControlledServer, given: argparse.Namespace) -> int:
    with process_of(_file(server, given)) as process:
        if process is None:
            raise ControlError("it is stopped.")
        _say(f"Reloading {server.program} (pid {process[0]})")
        tell(process[1], signal.SIGHUP)
    return 0


def _status(server: ControlledServer, given: argparse.Namespace) -> int:
    return _told(server, _file(server, given).running())


def _told(server: ControlledServer, pid: int | None) -> int:
    _say(f"{server.program} is stopped" if pid is None else f"{server.program} (pid {pid}) is running...")
    return STOPPED if pid is None else 0


_ACTS: Mapping[str, Act] = {
    "stop": _stop, "shutdown": _shutdown, "reload": _reload, "force-reload": _reload, "status": _status,
}


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - the tool's answer to its caller
