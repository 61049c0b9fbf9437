"""What clients were told, and what must be true because of it.

An answer 2xx is a promise. An answer 4xx is one too: nothing was done. A lost connection or a 503 is neither, so it
leaves two possibilities. The ledger keeps, for every image, all that may be true of it.
"""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

T = TypeVar("T")


class Outcome(StrEnum):
    """How clear an answer is."""

    DONE = "done"
    REFUSED = "refused"
    UNCLEAR = "unclear"


@dataclass(frozen=True, slots=True)
class Content:
    """The identity of an image's data."""

    size: int
    sha512: str

    @classmethod
    def of(cls, data: bytes) -> Content:
        """Return the identity of ``data``."""
        return cls(len(data), hashlib.sha512(data).hexdigest())


@dataclass(slots=True)
class Expected:
    """Everything that may be true of one image. A clear answer leaves one possibility, an unclear one adds one."""

    exists: set[bool] = field(default_factory=lambda: {False})
    hidden: set[bool] = field(default_factory=lambda: {False})
    is_delete_under_way: bool = False
    """An unclear delete may still be on its way to the registry, and come after everything that is asked later."""
    content: set[Content | None] = field(default_factory=lambda: {None})
    names: set[str | None] = field(default_factory=lambda: {None})
    members: dict[str, set[bool]] = field(default_factory=dict)
    sent: set[Content] = field(default_factory=set)
    """What was ever sent for it, whatever came of it."""
    received: set[Content] = field(default_factory=set)
    """What whole downloads of it brought."""


class Ledger:
    """All answers that the clients of one test got; may be used from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._images: dict[str, Expected] = {}
        self.defects: list[str] = []
        """Answers that must never be given: 500, and promises that contradict each other."""
        self.answers: dict[Outcome, int] = dict.fromkeys(Outcome, 0)

    def images(self) -> dict[str, Expected]:
        """Return what may be true, by image id."""
        with self._lock:
            return dict(self._images)

    def created(self, image: str, outcome: Outcome, name: str | None) -> None:
        """Note the answer to a create."""
        with self._lock:
            known = self._note(image, outcome)
            _narrow(known.exists, outcome, True)
            known.names = {name}

    def sending(self, image: str, content: Content) -> None:
        """Note, before it begins, that an upload of these data is tried."""
        with self._lock:
            self._image(image).sent.add(content)

    def uploaded(self, image: str, outcome: Outcome, content: Content) -> None:
        """Note the answer to an upload."""
        with self._lock:
            known = self._note(image, outcome)
            if outcome is Outcome.DONE and None not in known.content:
                self.defects.append(f"{image}: a second upload was accepted")
            _narrow(known.content, outcome, content)

    def downloaded(self, image: str, content: Content) -> None:
        """Note a download that ended as complete."""
        with self._lock:
            self._image(image).received.add(content)

    def deleted(self, image: str, outcome: Outcome) -> None:
        """Note the answer to a delete."""
        with self._lock:
            known = self._note(image, outcome)
            known.is_delete_under_way |= outcome is Outcome.UNCLEAR
            _narrow(known.hidden, outcome, True)

    def restored(self, image: str, outcome: Outcome) -> None:
        """Note the answer to a restore."""
        with self._lock:
            known = self._note(image, outcome)
            _narrow(known.hidden, outcome, False)
            if known.is_delete_under_way:
                known.hidden.add(True)

    def renamed(self, image: str, outcome: Outcome, name: str) -> None:
        """Note the answer to a change of the name."""
        with self._lock:
            _narrow(self._note(image, outcome).names, outcome, name)

    def shared(self, image: str, outcome: Outcome, member: str) -> None:
        """Note the answer to a new member."""
        with self._lock:
            possible = self._note(image, outcome).members.setdefault(member, {False})
            _narrow(possible, outcome, True)

    def _note(self, image: str, outcome: Outcome) -> Expected:
        self.answers[outcome] += 1
        return self._image(image)

    def _image(self, image: str) -> Expected:
        return self._images.setdefault(image, Expected())


def _narrow(possible: set[T], outcome: Outcome, value: T) -> None:
    if outcome is Outcome.DONE:
        possible.clear()
    if outcome is not Outcome.REFUSED:
        possible.add(value)
