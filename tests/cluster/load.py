"""A client that uses the service without end and repeats a call that failed, as a careful client does.

usage: python -m tests.cluster.load URL KIND SEED      KIND: requests, openstacksdk, glanceclient

Each call is one line of JSON on standard output. It runs in the environment of the real clients, so it imports nothing
of ours. TERM ends it after the call in hand.
"""

from __future__ import annotations

import hashlib
import json
import random
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from tests.cluster import callers
from tests.cluster.callers import Caller, Failure

PATIENCE = 120.0
"""Seconds after which a client gives a call up."""
LONGEST_PAUSE = 2.0
THINK = 0.03
"""Seconds between two calls: the clients are to meet every failure, not to fill the processors."""
MOST_IMAGES = 6


class Waiting(Exception):
    """The call has to wait for the end of an earlier try, and asks again later."""


@dataclass(slots=True)
class Call:
    """One call of a client with all its tries: time of the end and status, None without an answer."""

    name: str
    image: str
    began: float = field(default_factory=time.monotonic)
    tries: list[tuple[float, int | None]] = field(default_factory=list)
    reads: list[tuple[float, int | None]] = field(default_factory=list)
    """What was read to learn how an earlier try ended."""
    error: str = ""

    def note(self, status: int | None, is_read: bool = False) -> None:
        """Note the end of a try."""
        (self.reads if is_read else self.tries).append((time.monotonic(), status))


class Client:
    """One client with images of its own; ``tell`` gets a dictionary for each call."""

    def __init__(self, caller: Caller, seed: int, tell: Callable[[dict[str, Any]], None]) -> None:
        self._caller = caller
        self._choice = random.Random(seed)
        self._tell = tell
        self._images: dict[str, bytes] = {}
        """SHA-512 of what each holds."""

    def run(self, stopping: Callable[[], bool]) -> None:
        """Do one thing after the other."""
        while not stopping():
            if len(self._images) < 2 or (len(self._images) < MOST_IMAGES and self._choice.random() < 0.25):
                self._create()
            else:
                self._use(self._choice.choice(list(self._images)))
            time.sleep(THINK)

    def _create(self) -> None:
        image, name = str(uuid4()), f"drill {self._choice.randrange(10**6)}"
        data = self._choice.randbytes(self._choice.choice((1, 4096, 300_000, 1_500_000, 12_000_000)))
        digest = hashlib.sha512(data)
        content = {"size": len(data), "sha512": digest.hexdigest()}
        if not self._persist(Call("create", image), lambda call: self._create_once(call, image, name), name=name):
            return
        if self._persist(
            Call("upload", image), lambda call: self._upload_once(call, image, data, digest.hexdigest()),
            content=content,
        ):
            self._images[image] = digest.digest()

    def _use(self, image: str) -> None:
        match self._choice.choices(("show", "list", "download", "rename", "delete"), (4, 2, 3, 2, 1))[0]:
            case "show":
                self._persist(Call("show", image), lambda _call: self._caller.show(image))
            case "list":
                self._persist(Call("list", image), lambda _call: self._caller.list())
            case "download":
                self._download(image)
            case "rename":
                name = f"renamed {self._choice.randrange(10**6)}"
                self._persist(Call("rename", image), lambda _call: self._caller.rename(image, name), name=name)
            case "delete":
                if self._persist(Call("delete", image), lambda call: self._delete_once(call, image)):
                    del self._images[image]

    def _download(self, image: str) -> None:
        found: dict[str, Any] = {}

        def once(_call: Call) -> None:
            data = self._caller.download(image)
            found.update(size=len(data), sha512=hashlib.sha512(data).hexdigest())

        self._persist(Call("download", image), once, content=found)

    def _create_once(self, call: Call, image: str, name: str) -> None:
        try:
            self._caller.create(image, name)
        except Failure as failure:
            if failure.status != 409 or not call.tries:
                raise
            # An earlier try did it.
            self._look(call, image)

    def _upload_once(self, call: Call, image: str, data: bytes, digest: str) -> None:
        if call.tries:
            # The data of the earlier try may be there, or its attempt may still have a lease.
            shown = self._look(call, image)
            if shown["status"] == "active" and shown["os_hash_value"] == digest:
                return
            if shown["status"] != "queued":
                raise Waiting(f"the image is {shown['status']}")
        self._caller.upload(image, data)

    def _delete_once(self, call: Call, image: str) -> None:
        try:
            self._caller.delete(image)
        except Failure as failure:
            if failure.status != 404 or not call.tries:
                raise

    def _look(self, call: Call, image: str) -> dict[str, Any]:
        try:
            return self._caller.show(image)
        except Failure as failure:
            call.note(failure.status, is_read=True)
            raise Waiting(str(failure)) from None

    def _persist(self, call: Call, once: Callable[[Call], object], **about: object) -> bool:
        """Make a call until it succeeds; return whether it did. A refusal (4xx) is not repeated."""
        pause, done = 0.1, False
        while True:
            try:
                once(call)
                call.note(200)
                done = True
                break
            except Waiting as waiting:
                call.error = str(waiting)
            except Failure as failure:
                call.note(failure.status)
                call.error = str(failure)
                if failure.status is not None and failure.status < 500:
                    break
            if time.monotonic() - call.began > PATIENCE:
                break
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        self._tell({
            "call": call.name, "image": call.image, "began": call.began, "tries": call.tries, "reads": call.reads,
            "done": done, "error": call.error, **about,
        })
        return done


def main() -> None:
    """Run until TERM."""
    url, kind, seed = sys.argv[1:]
    signals: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: signals.append(number))

    def tell(told: dict[str, Any]) -> None:
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()

    Client(callers.KINDS[kind](url), int(seed), tell).run(lambda: bool(signals))


if __name__ == "__main__":
    main()
