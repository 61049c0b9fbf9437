"""One run of the command ``dog``: without a shell, in a process group of its own, with a deadline (S-07).

The exit code alone says little: ``dog vdi delete`` ends with 0 although it reached no cluster. So a run has succeeded
only when it ended with 0, took all of its input and said nothing on stderr.
"""

import fcntl
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import IO, Self

from glance_common.stores.contract import StoreError, StoreFull, StoreUnavailable

PACKAGE = "sheepdog"
"""The package of Linux distributions that has ``dog``."""

_PIECE = 256 * 1024
_PIPE = 1024 * 1024
"""Bytes of the pipe for output; with the 64 KiB of a new one ``dog`` and this process wait for each other.

That for input keeps its size: what is in the pipe when the program ends is taken for read.
"""
_KEPT = 4096
"""Bytes of stderr that are looked at."""
_SHOWN = 300
_GRACE = 5.0
"""Seconds that a killed process may take to be gone."""


class VdiMissing(StoreUnavailable):
    """The cluster has no such VDI or snapshot. It is no proof that this is the right cluster."""


class VdiExists(StoreUnavailable):
    """The name is taken."""


_MEANINGS: Sequence[tuple[str, type[StoreError]]] = (
    ("No VDI found", VdiMissing),
    ("Failed to find requested tag", VdiMissing),
    ("VDI exists already", VdiExists),
    ("has no space", StoreFull),
    ("VDI size is too large", StoreFull),
    ("Maximum number of VDIs reached", StoreFull),
)
"""What ``dog`` says on stderr, and what it means. Everything else is StoreUnavailable."""


class Run:
    """A run of the program; a context manager, at whose end no process of the run is left."""

    def __init__(self, command: Sequence[str], seconds: float, data: bytes | bytearray = b"") -> None:
        """Start it. ``seconds``: how long it may be waited for in all; ``data``: its input.

        Raises StoreUnavailable when it cannot be started.
        """
        self._shown = " ".join(command[1:3])
        self._left = seconds
        self._seconds = seconds
        self._unsent = memoryview(data)
        self._told = bytearray()
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE if data else subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, bufsize=0, process_group=0, cwd="/",
                env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
            )
        except FileNotFoundError:
            raise StoreUnavailable(f"there is no program {command[0]}: install the package {PACKAGE}") from None
        except OSError as error:
            raise StoreUnavailable(f"{command[0]} cannot be run: {error.strerror}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.returncode is None:
            # Not reaped yet, so the id is still that of the group.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_GRACE)
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()

    def pieces(self) -> Iterator[bytes]:
        """Send the input and yield what the program prints, then judge how it ended.

        Time between the pieces is the caller's and does not count. Raises VdiMissing, VdiExists, StoreFull,
        StoreUnavailable.
        """
        process = self._process
        with selectors.DefaultSelector() as selector:
            for stream, event in (
                (process.stdin, selectors.EVENT_WRITE), (process.stdout, selectors.EVENT_READ),
                (process.stderr, selectors.EVENT_READ),
            ):
                if stream is not None:
                    os.set_blocking(stream.fileno(), False)
                    selector.register(stream, event)
            if process.stdout is not None:
                with suppress(PermissionError):  # the user has many pipes
                    fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, _PIPE)
            while selector.get_map():
                for stream in self._ready(selector):
                    if stream is process.stdin:
                        is_over = self._send(stream)
                    else:
                        piece = os.read(stream.fileno(), _PIECE)
                        is_over = not piece
                        if stream is process.stderr:
                            self._told += piece[: _KEPT - len(self._told)]
                        elif piece:
                            yield piece
                    if is_over:
                        selector.unregister(stream)
                        stream.close()
        try:
            code = process.wait(max(self._left, 0))
        except subprocess.TimeoutExpired:
            raise self._hangs() from None
        self._judge(code)

    def _ready(self, selector: selectors.BaseSelector) -> list[IO[bytes]]:
        began = time.monotonic()
        ready = selector.select(max(self._left, 0))
        self._left -= time.monotonic() - began
        if not ready or self._left <= 0:
            raise self._hangs()
        return [key.fileobj for key, _ in ready]  # type: ignore[misc]  # the streams that were registered

    def _send(self, stdin: IO[bytes]) -> bool:
        """Send what fits and say whether the input is over."""
        try:
            self._unsent = self._unsent[os.write(stdin.fileno(), self._unsent[:_PIECE]) :]
        except BrokenPipeError:
            return True
        return not self._unsent

    def _judge(self, code: int) -> None:
        told = self._told.decode("ascii", "replace")
        if code == 0 and not told and not self._unsent:
            return
        shown = "".join(letter if letter.isprintable() else " " for letter in told).strip()[:_SHOWN]
        if not shown:
            shown = "it took only a part of the data" if self._unsent else "it did not say why"
        kind = next((kind for text, kind in _MEANINGS if text in told), StoreUnavailable)
        raise kind(f"dog {self._shown} ended with {code}: {shown}")

    def _hangs(self) -> StoreUnavailable:
        return StoreUnavailable(f"dog {self._shown} has not ended within {self._seconds:g} seconds and was killed")
