"""What breaks around the daemons, each fault with a beginning and an end."""

from __future__ import annotations

import random
from typing import Protocol

from deploy.local.embedded_postgres import PostgresServer
from tests.servers.rabbitmq import RabbitMQ
from tests.servers.web import WebServer
from tests.support.deployment import MountedFolder


class Fault(Protocol):
    """One thing that breaks and is mended again; both may be called from any thread, one after the other."""

    name: str
    part: str
    """What breaks; of the faults of one part there is one at a time."""
    longest: float
    """Seconds that it lasts at most."""

    def begin(self) -> None:
        """Break it."""

    def end(self) -> None:
        """Mend it; everything is as it was before the beginning."""


class DatabaseKilled:
    """The database server dies and comes back."""

    name, part = "database killed", "database"
    longest = 2.0

    def __init__(self, postgres: PostgresServer) -> None:
        self._postgres = postgres

    def begin(self) -> None:
        """Kill -9 it."""
        self._postgres.kill()

    def end(self) -> None:
        """Start it."""
        self._postgres.start()


class DatabaseRestarted:
    """The database server ends all sessions, stops cleanly and starts at once."""

    name, part = "database restarted", "database"
    longest = 0.0

    def __init__(self, postgres: PostgresServer) -> None:
        self._postgres = postgres

    def begin(self) -> None:
        """Stop it and start it."""
        self._postgres.restart()

    def end(self) -> None:
        """Leave it running."""


class BrokerAway:
    """The broker dies, or stops cleanly, and comes back."""

    part = "broker"
    longest = 3.0

    def __init__(self, broker: RabbitMQ, *, killed: bool) -> None:
        self.name = f"broker {'killed' if killed else 'stopped'}"
        self._broker, self._killed = broker, killed

    def begin(self) -> None:
        """Take it away."""
        if self._killed:
            self._broker.kill()
        else:
            self._broker.halt()

    def end(self) -> None:
        """Start it."""
        self._broker.start()


class StoreUnmounted:
    """The disk of a store goes away, also from under open files, and comes back."""

    longest = 4.0

    def __init__(self, store: str, folder: MountedFolder) -> None:
        self.name = self.part = f"store {store} unmounted"
        self._folder = folder

    def begin(self) -> None:
        """Unmount it."""
        self._folder.unmount()

    def end(self) -> None:
        """Mount it."""
        self._folder.mount()


class WebHangs:
    """The web server, a store and a source of imports, takes requests and answers none."""

    name = part = "web server hangs"
    longest = 6.0

    def __init__(self, web: WebServer) -> None:
        self._web = web

    def begin(self) -> None:
        """Let no request get an answer any more."""
        self._web.answers.clear()

    def end(self) -> None:
        """Let all of them get one."""
        self._web.answers.set()


class Faults:
    """The faults of a run, and how often each began."""

    def __init__(self, faults: list[Fault]) -> None:
        self.counts = {fault.name: 0 for fault in faults}
        self._faults = faults

    def missing(self) -> list[str]:
        """Return the names of those that never began."""
        return [name for name, count in self.counts.items() if not count]

    def choose(self, choice: random.Random, active: set[str]) -> Fault | None:
        """Return the next fault: one of those that began the least often; None when all parts are ``active``."""
        free = [fault for fault in self._faults if fault.part not in active]
        least = min((self.counts[fault.name] for fault in free), default=0)
        found = [fault for fault in free if self.counts[fault.name] == least]
        return choice.choice(found) if found else None

    def summary(self) -> str:
        """Return how often each fault began."""
        return ", ".join(f"{name} {count}" for name, count in self.counts.items())
