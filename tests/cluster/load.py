"""A client that uses the service without end and repeats a call that failed, as a careful client does.

usage: python -m tests.cluster.load URL KIND SEED SOURCES      KIND: requests, openstacksdk, glanceclient

SOURCES is a JSON list of what imports may read: objects with uri, size and sha512.

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
from tests.cluster.plain_calls import FRIEND, PlainCalls
from tests.support.raw_data import random_bytes

PATIENCE = 120.0
"""Seconds after which a client gives a call up."""
LONGEST_PAUSE = 2.0
THINK = 0.03
"""Seconds between two calls: the clients are to meet every failure, not to fill the processors."""
MOST_IMAGES = 6
IMPORTED = 0.3
"""Share of the images that get their data by an import."""
ACCEPTED = 202


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
    asked: list[tuple[str, int | None]] = field(default_factory=list)
    """The requests for an import: id and status."""

    def note(self, status: int | None, is_read: bool = False) -> None:
        """Note the end of a try."""
        (self.reads if is_read else self.tries).append((time.monotonic(), status))


class Client:
    """One client with images of its own; ``tell`` gets a dictionary for each call."""

    def __init__(
        self, caller: Caller, plain: PlainCalls, seed: int, sources: list[dict[str, Any]],
        tell: Callable[[dict[str, Any]], None],
    ) -> None:
        self._caller = caller
        self._plain = plain
        self._choice = random.Random(seed)
        self._sources = sources
        self._tell = tell
        self._images: dict[str, str | None] = {}
        """Image → its status for the other project, None while it is not shared."""

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
        if not self._persist(Call("create", image), lambda call: self._create_once(call, image, name), name=name):
            return
        if self._import(image) if self._choice.random() < IMPORTED else self._upload(image):
            self._images[image] = None

    def _upload(self, image: str) -> bool:
        data = random_bytes(self._choice.choice((1, 4096, 300_000, 1_500_000, 12_000_000)), self._choice)
        digest = hashlib.sha512(data)
        content = {"size": len(data), "sha512": digest.hexdigest()}
        return self._persist(
            Call("upload", image), lambda call: self._upload_once(call, image, data, digest.hexdigest()),
            content=content,
        )

    def _import(self, image: str) -> bool:
        source = self._choice.choice(self._sources)
        content = {"size": source["size"], "sha512": source["sha512"]}
        return self._persist(
            Call("import", image), lambda call: self._import_once(call, image, source), content=content
        )

    def _use(self, image: str) -> None:
        what = ("show", "list", "download", "rename", "share", "v1", "delete")
        match self._choice.choices(what, (4, 2, 3, 2, 2, 2, 1))[0]:
            case "show":
                self._persist(Call("show", image), lambda _call: self._caller.show(image))
            case "list":
                self._persist(Call("list", image), lambda _call: self._caller.list())
            case "download":
                self._download(image, self._caller.download)
            case "share":
                self._share(image)
            case "v1":
                self._use_v1(image)
            case "rename":
                name = f"renamed {self._choice.randrange(10**6)}"
                self._persist(Call("rename", image), lambda _call: self._caller.rename(image, name), name=name)
            case "delete":
                if self._persist(Call("delete", image), lambda call: self._delete_once(call, image)):
                    del self._images[image]

    def _use_v1(self, image: str) -> None:
        match self._choice.choice(("show", "list", "download", "rename")):
            case "show":
                self._persist(Call("v1 show", image), lambda _call: self._plain.v1_show(image))
            case "list":
                self._persist(Call("v1 list", image), lambda _call: self._plain.v1_list())
            case "download":
                self._download(image, self._plain.v1_download)
            case "rename":
                name = f"renamed {self._choice.randrange(10**6)}"
                self._persist(Call("rename", image), lambda _call: self._plain.v1_rename(image, name), name=name)

    def _share(self, image: str) -> None:
        """Share the image, accept it, look at it, or end it: what comes next."""
        match self._images[image]:
            case None:
                if self._persist(Call("share", image), lambda call: self._share_once(call, image), status="pending"):
                    self._images[image] = "pending"
            case "pending":
                if self._persist(
                    Call("share", image), lambda _call: self._plain.accept(image), status="accepted"
                ):
                    self._images[image] = "accepted"
            case _ if self._choice.random() < 0.5:
                self._persist(Call("members", image), lambda _call: self._see_members(image))
            case _:
                if self._persist(Call("share", image), lambda call: self._unshare_once(call, image), status=None):
                    self._images[image] = None

    def _see_members(self, image: str) -> None:
        if (found := self._plain.members(image)) != {FRIEND: "accepted"}:
            raise Failure(400, f"the members are {found}")

    def _download(self, image: str, download: Callable[[str], bytes]) -> None:
        found: dict[str, Any] = {}

        def once(_call: Call) -> None:
            data = download(image)
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

    def _import_once(self, call: Call, image: str, source: dict[str, Any]) -> None:
        """Ask for the import once, and again when no request was accepted or the task has failed."""
        if call.asked:
            shown = self._look(call, image)
            if shown["status"] == "active" and shown["os_hash_value"] == source["sha512"]:
                return
            if shown["status"] != "queued":
                raise Waiting(f"the image is {shown['status']}")
            if call.asked[-1][1] == ACCEPTED:
                call.note(None, is_read=True)  # its task has failed
        request = f"req-{uuid4()}"
        try:
            self._plain.import_web(image, source["uri"], request)
        except Failure as failure:
            call.asked.append((request, failure.status))
            if failure.status == 409 and len(call.asked) > 1:
                raise Waiting("an earlier request was accepted") from None
            raise
        call.asked.append((request, ACCEPTED))
        raise Waiting("the import goes on")

    def _share_once(self, call: Call, image: str) -> None:
        try:
            self._plain.share(image)
        except Failure as failure:
            if failure.status != 409 or not call.tries:
                raise

    def _unshare_once(self, call: Call, image: str) -> None:
        try:
            self._plain.unshare(image)
        except Failure as failure:
            if failure.status != 404 or not call.tries:
                raise

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
            "asked": call.asked, "done": done, "error": call.error, **about,
        })
        return done


def main() -> None:
    """Run until TERM."""
    url, kind, seed, sources = sys.argv[1:]
    signals: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: signals.append(number))

    def tell(told: dict[str, Any]) -> None:
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()

    client = Client(callers.KINDS[kind](url), PlainCalls(url), int(seed), json.loads(sources), tell)
    client.run(lambda: bool(signals))


if __name__ == "__main__":
    main()
