"""A tool as a process of its own: alone, or with the work that an image service has besides.

That is for an upload two digests of the file, and for a download one more connection to a client.
"""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from deploy.local.processes import LOOPBACK

DIGESTS = ("md5sum", "sha512sum")
"""What this service does with each upload by default, done by the plainest programs."""


_CLIENT_READ = 4 << 20
"""As the client of the services reads."""

_SECONDS = 60.0
"""Until the tool must have connected."""


class ToolProcess:
    """A tool that waits for its next command."""

    def __init__(self, kind: str, options: Mapping[str, str]) -> None:
        command = [sys.executable, "-m", "tests.benchmarks.stores.tool", kind, json.dumps(options)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._line()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        self._process.kill()
        self._process.communicate()

    def upload(self, key: str, payload: Path) -> float:
        """Store a file and return the seconds."""
        return self._do("upload", key, str(payload))

    def upload_beside_digests(self, key: str, payload: Path) -> float:
        """Store a file while two programs hash it; return the seconds until all three are done."""
        began = time.monotonic()
        hashing = [subprocess.Popen([program, payload], stdout=subprocess.DEVNULL) for program in DIGESTS]
        self._do("upload", key, str(payload))
        for process in hashing:
            if process.wait():
                raise RuntimeError(f"one of {', '.join(DIGESTS)} failed")
        return time.monotonic() - began

    def download(self, key: str) -> float:
        """Read an object and return the seconds."""
        return self._do("download", key)

    def download_through_socket(self, key: str) -> float:
        """Read an object and send it to a client, which is this process; return the seconds until it has all."""
        with socket.create_server((LOOPBACK, 0)) as listener:
            listener.settimeout(_SECONDS)
            began = time.monotonic()
            self._begin("send", key, str(listener.getsockname()[1]))
            with listener.accept()[0] as connection, connection.makefile("rb") as stream:
                buffer = bytearray(_CLIENT_READ)
                while stream.readinto(buffer):
                    pass
            seconds = time.monotonic() - began
        self._line()
        return seconds

    def first(self, key: str, offset: int) -> float:
        """Return the seconds until the byte at ``offset`` has come."""
        return self._do("first", key, str(offset))

    def remove(self, key: str) -> None:
        """Remove an object."""
        self._do("remove", key)

    def _do(self, *words: str) -> float:
        self._begin(*words)
        return float(self._line())

    def _begin(self, *words: str) -> None:
        assert self._process.stdin is not None, "commands are written into a pipe"
        print(*words, file=self._process.stdin, flush=True)

    def _line(self) -> str:
        assert self._process.stdout is not None, "answers come out of a pipe"
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the tool ended with {self._process.wait()}")
        return line.strip()
