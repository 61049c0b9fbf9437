"""Several client programs beside each other, and what they tell: for the table, and for the ledger of promises."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.local import processes

from tests.cluster import callers
from tests.cluster.plain_calls import FRIEND
from tests.servers.web import Page, WebServer
from tests.support import environments
from tests.support.ledger import WEB, Content, Ledger, Outcome
from tests.support.raw_data import random_bytes

_CHECKOUT = Path(__file__).resolve().parents[2]
_STOP_SECONDS = 180
CALM = 10
"""Calls of each client by which a step is over: a store is asked again some seconds after it is back."""
SOURCES = (1, 4096, 300_000, 6_000_000)
"""Bytes of what imports read."""


@dataclass(frozen=True, slots=True)
class Told:
    """One call as a client tells it, in seconds of the monotonic clock, which all processes share."""

    client: str
    call: str
    image: str
    began: float
    ended: float
    done: bool
    statuses: Sequence[int | None]
    """Of all tries, and of what was read between them."""
    is_retried: bool
    error: str

    @property
    def seconds(self) -> float:
        """How long it took, repetitions included."""
        return self.ended - self.began

    @property
    def about(self) -> str:
        """What was tried, and how it ended."""
        return f"{self.call} image {self.image}: {list(self.statuses)} {self.error}"


class Crowd:
    """The clients of a drill; ``ledger`` knows what they were told. Their imports read from ``web``."""

    def __init__(self, url: str, folder: Path, seed: int, web: WebServer) -> None:
        self.ledger = Ledger()
        self._lock = threading.Lock()
        self._told: list[Told] = []
        self._calm: dict[str, int] = {}
        """How many calls of each client have succeeded at once since the last one that did not."""
        self._since = 0.0
        self._url, self._folder, self._seed = url, folder, seed
        self._sources = json.dumps([_source(web, number, seed + number) for number in range(len(SOURCES))])
        self._clients: dict[str, subprocess.Popen[bytes]] = {}
        self._readers: list[threading.Thread] = []
        self.log = folder / "clients.log"

    def start(self) -> None:
        """Start one client of each kind, and wait until each has done something. Raises StartError."""
        python = environments.environment(environments.CLIENTS) / "bin" / "python"
        for number, kind in enumerate(callers.KINDS):
            arguments = ["-W", "ignore", "-m", "tests.cluster.load", self._url, kind, str(self._seed + number),
                         self._sources]
            self._clients[kind] = processes.spawn(
                # Its words are for us, its errors for the log.
                ["/bin/sh", "-c", 'log=$1; shift; exec "$@" 2>>"$log"', "client", self.log, python, *arguments],
                output=subprocess.PIPE, cwd=self._folder,
                env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": str(self._folder),
                     "PYTHONPATH": str(_CHECKOUT)},
            )
            reader = threading.Thread(target=self._read, args=(kind, self._clients[kind]), daemon=True)
            reader.start()
            self._readers.append(reader)
        self.wait_calm()

    def wait_calm(self, seconds: float = 180) -> None:
        """Wait until the last CALM calls of each client succeeded at once, and began after now. Raises StartError."""
        with self._lock:
            self._since = time.monotonic()
            self._calm.clear()

        def calm() -> bool:
            for kind, client in self._clients.items():
                if client.poll() is not None:
                    raise processes.StartError(f"client {kind} ended: {processes.last_lines(self.log)}")
            with self._lock:
                return all(self._calm.get(kind, 0) >= CALM for kind in self._clients)

        processes.wait_until(calm, what="clients that have nothing to repeat", seconds=seconds)

    def stop(self) -> None:
        """End the clients after the calls in hand."""
        for client in self._clients.values():
            client.send_signal(signal.SIGTERM)
        for client in self._clients.values():
            processes.stop(client, seconds=_STOP_SECONDS)
        for reader in self._readers:
            reader.join(30)
        self._clients.clear()

    def take(self) -> list[Told]:
        """Return the calls that ended since the last time."""
        with self._lock:
            taken, self._told = self._told, []
        return taken

    def _read(self, kind: str, client: subprocess.Popen[bytes]) -> None:
        assert client.stdout is not None
        with client.stdout as lines:
            for line in lines:
                self._note(kind, json.loads(line))

    def _note(self, kind: str, told: dict[str, Any]) -> None:
        tries = [(at, status) for at, status in told["tries"]]
        everything = sorted([*tries, *((at, status) for at, status in told["reads"])], key=lambda each: each[0])
        call = Told(
            kind, told["call"], told["image"], told["began"], everything[-1][0], told["done"],
            [status for _, status in everything], len(everything) > 1, "" if told["done"] else told["error"],
        )
        outcomes = [_outcome(status) for _, status in tries]
        with self._lock:
            self._told.append(call)
            if call.is_retried or not call.done:
                self._calm[kind] = 0
            elif call.began >= self._since:
                self._calm[kind] = self._calm.get(kind, 0) + 1
        _write_down(self.ledger, call, outcomes, told)


def _source(web: WebServer, number: int, seed: int) -> dict[str, Any]:
    """Serve data for imports; return what a client has to know of them."""
    data = random_bytes(SOURCES[number], random.Random(seed))
    web.pages[f"/{number}"] = Page(data)
    content = Content.of(data)
    return {"uri": web.url(f"/{number}"), "size": content.size, "sha512": content.sha512}


def _outcome(status: int | None) -> Outcome:
    if status is None or status >= 500:
        return Outcome.UNCLEAR
    return Outcome.DONE if status < 300 else Outcome.REFUSED


def _write_down(ledger: Ledger, call: Told, outcomes: Sequence[Outcome], told: dict[str, Any]) -> None:
    """Tell the ledger of each try: a call that succeeds at last may have been done by an earlier one."""
    image = call.image
    if call.call == "download" and call.done:
        ledger.downloaded(image, Content(**told["content"]))
    if call.call in ("upload", "import"):
        ledger.sending(image, Content(**told["content"]))
    if call.call == "import":
        for request, status in told["asked"]:
            ledger.imported(image, _outcome(status), request, WEB, Content(**told["content"]))
        if call.done:
            ledger.holds(image, Content(**told["content"]))
    for outcome in outcomes:
        match call.call:
            case "create":
                ledger.created(image, outcome, told["name"])
            case "upload":
                ledger.uploaded(image, outcome, Content(**told["content"]))
            case "rename":
                ledger.renamed(image, outcome, told["name"])
            case "share":
                ledger.shared(image, outcome, FRIEND, told["status"])
            case "delete":
                ledger.deleted(image, outcome)
