"""What ``run-local`` prints: its own lines, one line for each request of a client, and errors of the daemons."""

from __future__ import annotations

import io
import re
import sys
import threading
from contextlib import suppress

_API = "glance-api"
_REQUEST = re.compile(
    r"\S+ INFO \d+ glance_api\.access \[[^\]]*\] (?P<method>\S+) (?P<target>\S+) (?P<status>\S+) "
    r".* bytes_in=(?P<received>\d+) bytes_out=(?P<sent>\d+) ms=(?P<ms>[0-9.]+)"
)
_TROUBLE = re.compile(r"\S+ (?:ERROR|CRITICAL) \d+ .*")


class Terminal:
    """Writes to standard output; may be used by several threads at once.

    With ``verbose`` every line of the programs is shown, else requests and errors only.
    """

    def __init__(self, *, verbose: bool) -> None:
        if isinstance(sys.stdout, io.TextIOWrapper):
            # A path may hold letters that the terminal's encoding has not.
            sys.stdout.reconfigure(errors="backslashreplace")
        self._verbose = verbose
        self._lock = threading.Lock()

    def say(self, text: str) -> None:
        """Print a text of run-local itself."""
        # The reader of the output may be gone (a closed terminal, a pipe's end): everything must still be stopped.
        with self._lock, suppress(OSError):
            sys.stdout.write(f"{text}\n")
            sys.stdout.flush()

    def heard(self, program: str, line: str) -> None:
        """Print a line of a program's log, if it is one for the terminal."""
        shown = f"{program:<15} | {line}" if self._verbose else brief(program, line)
        if shown is not None:
            self.say(printable(shown))


def brief(program: str, line: str) -> str | None:
    """Return what the terminal shows of a line of a log, or None for nothing."""
    request = _REQUEST.fullmatch(line) if program == _API else None
    if request is not None:
        return _request(request)
    return f"{program}: {line}" if _TROUBLE.fullmatch(line) else None


def _request(found: re.Match[str]) -> str | None:
    # Monitors, and run-local itself while it starts, ask for the health all the time.
    if found["target"] == "/healthcheck":
        return None
    return (
        f"{found['method']:<6} {found['target']} {found['status']} {found['ms']} ms, "
        f"{found['received']} bytes in, {found['sent']} bytes out"
    )


def printable(text: str) -> str:
    """Escape what is no printable character: a client chooses the path of its request, not what a terminal does."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
