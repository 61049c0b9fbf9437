"""Asks the things that a service depends on, in the background, and remembers since when each works or not."""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from glance_common.model.errors import GlanceError
from glance_common.stores.contract import StoreError

log = logging.getLogger(__name__)

INTERVAL = 2.0
"""Seconds between two questions."""
PATIENCE = 5.0
"""Seconds after which a question without an answer counts as a failure, for as long as it hangs."""
FAILURES = 2
"""Failures in a row that mean down: one alone may be a connection that was just closed."""


@dataclass(frozen=True, slots=True)
class Probe:
    """A question to one dependency: ``ask`` returns when it works and raises when not.

    ``kind`` and ``name`` say what it is (``store``, its id); without it the service can do nothing when ``essential``.
    ``interval`` is in seconds.
    """

    kind: str
    name: str
    ask: Callable[[], object]
    essential: bool = False
    interval: float = INTERVAL


@dataclass(frozen=True, slots=True)
class Finding:
    """What a probe has found: ``ok`` is None until the first answer; ``since`` is seconds of the epoch."""

    probe: Probe
    ok: bool | None
    since: float
    error: str | None = None

    def document(self) -> dict[str, Any]:
        """Return it for the detailed health check."""
        return {
            "kind": self.probe.kind,
            "name": self.probe.name,
            "status": {True: "ok", False: "down", None: "unknown"}[self.ok],
            "since": datetime.fromtimestamp(self.since, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "error": self.error,
        }


class Watch:
    """Asks one probe again and again in a thread of its own, which may hang with what it asks."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe
        self._lock = threading.Lock()
        self._found = Finding(probe, None, time.time())
        self._failures = 0
        self._asked_at: float | None = None
        self._stop = threading.Event()

    def start(self) -> None:
        """Begin to ask."""
        threading.Thread(target=self._run, name=f"probe-{self._probe.name}", daemon=True).start()

    def stop(self) -> None:
        """Ask no more; a question that hangs is left alone."""
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            self.ask()
            # The second look comes soon, so that what is down is known to be down within seconds.
            self._stop.wait(self._probe.interval if self._failures in (0, FAILURES) else self._probe.interval / 4)

    def ask(self) -> None:
        """Ask once and note the answer."""
        with self._lock:
            self._asked_at = time.monotonic()
        error: str | None = None
        try:
            self._probe.ask()
        except Exception as problem:
            error = _said(problem)
        with self._lock:
            self._asked_at = None
            self._note(error)

    def _note(self, error: str | None) -> None:
        self._failures = 0 if error is None else min(self._failures + 1, FAILURES)
        if error is not None and self._failures < FAILURES:
            return
        ok = error is None
        if self._found.ok is not ok:
            level = logging.INFO if ok else logging.WARNING
            log.log(level, "%s %s: %s", self._probe.kind, self._probe.name, "works" if ok else f"down: {error}")
            self._found = Finding(self._probe, ok, time.time(), error)
        elif error != self._found.error:
            self._found = Finding(self._probe, ok, self._found.since, error)

    def finding(self) -> Finding:
        """Return what is known now; never waits for the dependency."""
        with self._lock:
            waited = 0.0 if self._asked_at is None else time.monotonic() - self._asked_at
            if waited > PATIENCE and self._found.ok is not False:
                return Finding(self._probe, False, time.time() - waited, f"no answer for {waited:.0f} s")
            return self._found


def _said(error: Exception) -> str:
    """Return the text of our own errors, which hold no credentials; of others only the type (S-75)."""
    own = isinstance(error, GlanceError | StoreError)
    return (str(error) if own else "") or type(error).__name__


class Health:
    """All watches of one process."""

    def __init__(self, probes: Iterable[Probe]) -> None:
        self._watches = [Watch(probe) for probe in probes]

    def start(self) -> None:
        """Begin to ask."""
        for watch in self._watches:
            watch.start()

    def stop(self) -> None:
        """Ask no more."""
        for watch in self._watches:
            watch.stop()

    def findings(self) -> list[Finding]:
        """Return what is known now about each dependency."""
        return [watch.finding() for watch in self._watches]

    def is_down(self) -> bool:
        """Tell whether something without which the service can do nothing is down."""
        return any(finding.probe.essential and finding.ok is False for finding in self.findings())

    def document(self) -> dict[str, Any]:
        """Return the detailed health check: ``ok``, ``degraded`` or ``down``, and each dependency."""
        findings = self.findings()
        status = "degraded" if any(finding.ok is False for finding in findings) else "ok"
        return {
            "status": "down" if self.is_down() else status,
            "dependencies": [finding.document() for finding in findings],
        }
