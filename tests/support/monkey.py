"""Clients that do everything a service offers, and a monkey that breaks its processes meanwhile; both by a seed."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from deploy.local.embedded_postgres import PostgresServer

from tests.support.daemons import Daemon
from tests.support.deployment import Deployment
from tests.support.image_client import ImageClient
from tests.support.ledger import Outcome

FAILPOINTS: dict[str, tuple[str, ...]] = {
    "glance-registry": (
        "registry.create.after-commit", "registry.update.after-commit", "registry.members.after-commit",
        "registry.upload.after-commit", "registry.commit.before-commit", "registry.commit.after-commit",
        "registry.abort.after-commit", "registry.delete.after-commit", "registry.claim.after-commit",
        "registry.done.after-commit", "registry.restore.after-commit",
    ),
    "glance-api": (
        "api.upload.started", "file.add.before-sync", "file.add.after-sync", "file.add.after-link",
        "file.add.after-dirsync", "api.upload.before-commit", "api.upload.after-commit", "api.upload.aborted",
    ),
    "glance-scrubber": (
        "scrubber.claim.after", "file.delete.before-unlink", "file.delete.after-unlink", "scrubber.delete.after",
        "scrubber.done.after",
    ),
}
# The scrubber has no parent of its own that could die with it. An error raised in the API would be an honest 500, and
# that is what no client may ever see.
_ACTIONS = {
    "glance-registry": ("kill", "killall", "raise"),
    "glance-api": ("kill", "killall"),
    "glance-scrubber": ("kill", "raise"),
}
LONGEST_STOP = 5.0
"""Seconds that a process is stopped: longer than the leases."""


class Visitor:
    """One client with images of its own. It does not wait for anything and does not mind any answer."""

    def __init__(self, client: ImageClient, restore: Callable[[str], Outcome], seed: int) -> None:
        self._client = client
        self._restore = restore
        self._choice = random.Random(seed)
        self._mine: list[str] = []

    def run(self, over: threading.Event) -> None:
        """Do one thing after the other until told that it is over."""
        while not over.is_set():
            if len(self._mine) < 3 or self._choice.random() < 0.2:
                self._begin()
            else:
                self._go_on(self._choice.choice(self._mine))

    def _begin(self) -> None:
        image, answer = self._client.create(f"image {self._choice.randrange(1000)}")
        if answer.outcome is Outcome.DONE:
            self._mine.append(image)
        elif answer.status is None:
            time.sleep(0.05)  # nobody listens: a client that spins would only take the processor from those who start

    def _go_on(self, image: str) -> None:
        match self._choice.choice(("upload", "upload", "download", "rename", "share", "delete", "broken upload")):
            case "upload":
                self._client.upload(image, self._data())
            case "broken upload":
                data = self._data()
                self._client.upload(image, data, iter([data]), **{"x-openstack-image-size": str(len(data) + 1)})
            case "download":
                self._client.download(image)
            case "rename":
                self._client.rename(image, f"renamed {self._choice.randrange(1000)}")
            case "share":
                self._client.share(image, f"project-{self._choice.randrange(20)}")
            case "delete":
                self._client.delete(image)
                # An image that came back goes on as if nothing had been.
                if self._choice.random() < 0.5 or self._restore(image) is not Outcome.DONE:
                    self._mine.remove(image)

    def _data(self) -> bytes:
        return self._choice.randbytes(self._choice.choice((1, 5000, 300_000, 2_500_000)))


class Monkey:
    """Breaks one thing after the other and lets a supervisor start again what died."""

    def __init__(self, deployment: Deployment, postgres: PostgresServer, seed: int) -> None:
        self._deployment, self._postgres = deployment, postgres
        self._choice = random.Random(seed)
        self.deeds: list[str] = []
        """What was done, for whoever wants to know after a failure."""

    def run(self, seconds: float) -> None:
        """Go on for ``seconds``; everything runs at the end."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._choice.choice(self._tricks())()
            time.sleep(self._choice.uniform(0.05, 0.6))
            self._deployment.revive()

    def _tricks(self) -> list[Callable[[], None]]:
        often = [self._arm, self._arm, self._arm, self._arm, self._kill_worker, self._kill_worker]
        return [*often, self._kill, self._stop_for_a_while, self._kill_everything, self._restart_database]

    def _daemon(self) -> Daemon:
        return self._choice.choice(self._deployment.daemons)

    def _arm(self) -> None:
        daemon = self._daemon()
        failpoint = self._choice.choice(FAILPOINTS[daemon.program])
        pause = f"sleep {self._choice.uniform(0.1, LONGEST_STOP):.1f}"
        action = self._choice.choice([*_ACTIONS[daemon.program], pause])
        self._note(f"{failpoint} {action}")
        daemon.arm(failpoint, action)

    def _kill_worker(self) -> None:
        daemon = self._choice.choice((self._deployment.api, self._deployment.registry))
        if workers := daemon.workers():
            self._note(f"a worker of {daemon.program} killed")
            with suppress(ProcessLookupError):
                os.kill(self._choice.choice(workers), signal.SIGKILL)

    def _kill(self) -> None:
        daemon = self._daemon()
        self._note(f"{daemon.program} killed")
        daemon.kill()

    def _kill_everything(self) -> None:
        self._note("all daemons killed")
        for daemon in self._deployment.daemons:
            daemon.kill()

    def _stop_for_a_while(self) -> None:
        daemon = self._daemon()
        seconds = self._choice.uniform(0.5, LONGEST_STOP)
        self._note(f"{daemon.program} stopped for {seconds:.1f} s")
        daemon.freeze()
        time.sleep(seconds)
        daemon.thaw()

    def _restart_database(self) -> None:
        if self._choice.random() < 0.5:
            self._note("database killed")
            self._postgres.kill()
            self._postgres.start()
        else:
            self._note("database restarted")
            self._postgres.restart()

    def _note(self, deed: str) -> None:
        self.deeds.append(f"{time.strftime('%H:%M:%S')} {deed}")
