"""A server of one process that can stand still for a while."""

from __future__ import annotations

import signal
import subprocess

from deploy.local import processes


class Freezable:
    """Stops and resumes the process of a server."""

    _process: subprocess.Popen[bytes] | None

    def freeze(self) -> None:
        """Let it take connections and answer none."""
        assert self._process is not None
        processes.signal_group(self._process, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        processes.signal_group(self._process, signal.SIGCONT)
