"""A monkey that breaks the processes of a deployment, by a seed."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress

from deploy.local.embedded_postgres import PostgresServer

from tests.servers.rabbitmq import RabbitMQ
from tests.support.daemons import Daemon
from tests.support.deployment import Deployment

FAILPOINTS: dict[str, tuple[str, ...]] = {
    "glance-registry": (
        "registry.create.after-commit", "registry.update.after-commit", "registry.members.after-commit",
        "registry.upload.after-commit", "registry.commit.before-commit", "registry.commit.after-commit",
        "registry.abort.after-commit", "registry.delete.after-commit", "registry.claim.after-commit",
        "registry.done.after-commit", "registry.restore.after-commit", "registry.operation.after-create",
        "registry.operation.after-claim", "registry.operation.after-step", "registry.operation.after-release",
        "registry.operation.before-finish", "registry.operation.after-finish",
    ),
    "glance-api": (
        "api.upload.started", "file.add.before-sync", "file.add.after-sync", "file.add.after-link",
        "file.add.after-dirsync", "api.upload.before-commit", "api.upload.after-commit", "api.upload.aborted",
        "api.operation.claimed", "api.import.staged", "api.import.store-started", "api.import.store-committed",
        "api.operation.before-finish", "file.delete.before-unlink", "file.delete.after-unlink",
    ),
    "glance-scrubber": (
        "purge.claim.after", "file.delete.before-unlink", "file.delete.after-unlink", "purge.delete.after",
        "purge.record.after",
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
LONGEST_ABSENCE = 3.0
"""Seconds that the broker is away before it is started again."""


class Monkey:
    """Breaks one thing after the other and lets a supervisor start again what died."""

    def __init__(
        self, deployment: Deployment, postgres: PostgresServer, seed: int, broker: RabbitMQ | None = None
    ) -> None:
        self._deployment, self._postgres, self._broker = deployment, postgres, broker
        self._choice = random.Random(seed)
        self._broken: Future[None] | None = None
        self.deeds: list[str] = []
        """What was done; the message of a failure shows it."""

    def run(self, seconds: float, is_enough: Callable[[], bool]) -> None:
        """Go on for ``seconds``, and for twice as long again until it is enough; everything runs at the end."""
        begin = time.monotonic()
        self._break_broker()
        try:
            while (passed := time.monotonic() - begin) < seconds or (passed < 3 * seconds and not is_enough()):
                self._choose()()
                time.sleep(self._choice.uniform(0.05, 0.6))
                self._deployment.revive()
        finally:
            if self._broken is not None:
                self._broken.result()

    def _choose(self) -> Callable[[], None]:
        """Return a trick; those after which much has to be started again are rare."""
        tricks = {
            self._arm: 8, self._kill_worker: 4, self._kill: 2, self._stop_for_a_while: 2, self._restart_database: 2,
            self._kill_everything: 1, self._break_broker: 0 if self._broker is None else 2,
        }
        return self._choice.choices(list(tricks), list(tricks.values()))[0]

    def _daemon(self) -> Daemon:
        return self._choice.choice(self._deployment.daemons)

    def _arm(self) -> None:
        daemon = self._daemon()
        failpoint = self._choice.choice(FAILPOINTS[daemon.program])
        pause = f"sleep {self._choice.uniform(0.1, LONGEST_STOP):.1f}"
        action = self._choice.choice([*_ACTIONS[daemon.program], pause])
        self._note(f"{_name(daemon)}: {failpoint} {action}")
        daemon.arm(failpoint, action)

    def _kill_worker(self) -> None:
        daemon = self._choice.choice((*self._deployment.apis, *self._deployment.registries))
        if workers := daemon.workers():
            self._note(f"a worker of {_name(daemon)} killed")
            with suppress(ProcessLookupError):
                os.kill(self._choice.choice(workers), signal.SIGKILL)

    def _kill(self) -> None:
        daemon = self._daemon()
        self._note(f"{_name(daemon)} killed")
        daemon.kill()

    def _kill_everything(self) -> None:
        self._note("all daemons killed")
        for daemon in self._deployment.daemons:
            daemon.kill()

    def _stop_for_a_while(self) -> None:
        daemon = self._daemon()
        seconds = self._choice.uniform(0.5, LONGEST_STOP)
        self._note(f"{_name(daemon)} stopped for {seconds:.1f} s")
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

    def _break_broker(self) -> None:
        """Take the broker away for a while; it comes back in the background, as its start takes longer than a trick."""
        if self._broker is None or (self._broken is not None and not self._broken.done()):
            return
        is_killed, seconds = self._choice.random() < 0.5, self._choice.uniform(0, LONGEST_ABSENCE)
        self._note(f"broker {'killed' if is_killed else 'stopped'} for {seconds:.1f} s")
        self._broken = self._deployment.background(_take_away, self._broker, is_killed, seconds)

    def _note(self, deed: str) -> None:
        self.deeds.append(f"{time.strftime('%H:%M:%S')} {deed}")


def _name(daemon: Daemon) -> str:
    return daemon.folder.name


def _take_away(broker: RabbitMQ, is_killed: bool, seconds: float) -> None:
    if is_killed:
        broker.kill()
        time.sleep(seconds)
        broker.start()
    else:
        broker.restart()
