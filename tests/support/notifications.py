"""oslo.messaging's listener as a process of its own, and what it heard."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deploy.local import processes

from tests.support import environments

_PROGRAM = Path(__file__).with_name("notification_listener.py")


class Listener:
    """Hears every notification that goes to the exchange ``glance`` of the broker at ``url``."""

    def __init__(self, url: str, folder: Path) -> None:
        # Its name for the same protocol.
        self._url = url.replace("amqp://", "rabbit://", 1)
        self._heard = folder / "notifications.jsonl"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start to listen."""
        python = environments.environment(environments.MESSAGING) / "bin" / "python"
        with self._heard.open("ab") as output:
            self._process = processes.spawn([python, "-W", "ignore", _PROGRAM, self._url], output=output)
        processes.wait_until(
            lambda: "listening" in self._heard.read_text(), what="the listener", process=self._process, log=self._heard,
            seconds=180,
        )

    def stop(self) -> None:
        """Stop to listen."""
        if self._process is not None:
            processes.stop(self._process)

    def heard(self) -> list[dict[str, Any]]:
        """Return what came so far, in order."""
        complete = self._heard.read_text().rpartition("\n")[0].splitlines()
        # Its library writes lines of its own.
        return [json.loads(line) for line in complete if line.startswith("{")]

    def about(self, image: str) -> list[dict[str, Any]]:
        """Return what came so far about one image."""
        return [one for one in self.heard() if image in json.dumps(one["payload"])]

    def wait(self, condition: Callable[[list[dict[str, Any]]], bool], seconds: float = 120) -> list[dict[str, Any]]:
        """Return what was heard once it fulfils ``condition``; fail with all of it after ``seconds``."""
        deadline, is_late = time.monotonic() + seconds, False
        while not condition(heard := self.heard()):
            assert not is_late, heard
            time.sleep(0.05)
            # Once more after the end, as wait_for does.
            is_late = time.monotonic() > deadline
        return heard
