"""What clients were told, and what must be true because of it.

An answer 2xx is a promise. An answer 4xx is one too: nothing was done. A lost connection or a 503 is neither, so it
leaves two possibilities. The ledger keeps, for every image, all that may be true of it.
"""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

T = TypeVar("T")

DIRECT, WEB, COPY, DOWNLOAD = "glance-direct", "web-download", "copy-image", "glance-download"
SUCCESS, FAILURE = "success", "failure"


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


@dataclass(frozen=True, slots=True)
class Import:
    """One import that was asked for: ``outcome`` is the answer, ``store`` where a copy was to go.

    ``contents`` are what the image may hold when it succeeds: nothing when it must not succeed, and None when it may
    be anything that was ever sent, as the request may come late.
    """

    method: str
    outcome: Outcome
    contents: frozenset[Content] | None = frozenset()
    store: str | None = None

    @property
    def brings_data(self) -> bool:
        """Whether it gives data to an image that has none."""
        return self.method != COPY


@dataclass(slots=True)
class Membership:
    """What one project may be to an image: a status, or None for no member."""

    statuses: set[str | None] = field(default_factory=lambda: {None})
    late: set[str | None] = field(default_factory=set)
    """What unclear requests asked for: these may come after everything that is asked later."""

    @property
    def possible(self) -> set[str | None]:
        """All that may be true."""
        return self.statuses | self.late

    def told(self, outcome: Outcome, status: str | None) -> None:
        """Note an answer."""
        _narrow(self.statuses, outcome, status)
        if outcome is Outcome.UNCLEAR:
            self.late.add(status)


@dataclass(slots=True)
class Expected:
    """Everything that may be true of one image. A clear answer leaves one possibility, an unclear one adds one."""

    exists: set[bool] = field(default_factory=lambda: {False})
    hidden: set[bool] = field(default_factory=lambda: {False})
    is_delete_under_way: bool = False
    """An unclear delete may still be on its way to the registry, and come after everything that is asked later."""
    content: set[Content | None] = field(default_factory=lambda: {None})
    names: set[str | None] = field(default_factory=lambda: {None})
    members: dict[str, Membership] = field(default_factory=dict)
    staged: set[Content | None] = field(default_factory=lambda: {None})
    """What may be staged of it at rest, by the answers alone."""
    late_staged: set[Content | None] = field(default_factory=set)
    """What unclear requests may still stage, or take from staging."""
    is_import_under_way: bool = False
    """An unclear import of staged data may still come, and take what is staged later."""
    uploaded: set[Content] = field(default_factory=set)
    """What uploads may have brought; everything else came by an import."""
    imports: dict[str, Import] = field(default_factory=dict)
    """All that were asked for, by request id."""
    ended: dict[str, str] = field(default_factory=dict)
    """How tasks ended, as a client saw it, by request id."""
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
        self.statuses: Counter[int | None] = Counter()
        """How often each HTTP status was answered; None is a broken connection."""

    def heard(self, status: int | None) -> None:
        """Count an answer."""
        with self._lock:
            self.statuses[status] += 1

    def copy(self) -> Ledger:
        """Return another ledger that knows the same."""
        other = Ledger()
        with self._lock:
            other._images, other.defects = deepcopy(self._images), list(self.defects)
        return other

    def images(self) -> dict[str, Expected]:
        """Return what may be true, by image id."""
        with self._lock:
            return dict(self._images)

    def certain(self, images: Iterable[str]) -> dict[str, Content]:
        """Return the data of those images that surely have data and are surely not deleted."""
        with self._lock:
            known = {image: self._image(image) for image in images}
            return {
                image: content
                for image, each in known.items()
                if each.hidden == {False} and not each.is_delete_under_way
                for content in each.content
                if content is not None and len(each.content) == 1
            }

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
            if outcome is not Outcome.REFUSED:
                known.uploaded.add(content)
            if outcome is Outcome.DONE:
                known.staged = {None}

    def staged(self, image: str, outcome: Outcome, content: Content) -> None:
        """Note the answer to a stage."""
        with self._lock:
            known = self._note(image, outcome)
            if outcome is Outcome.DONE and None not in known.content:
                self.defects.append(f"{image}: data were staged for an image that has data")
            _narrow(known.staged, outcome, content)
            if outcome is Outcome.UNCLEAR:
                known.late_staged.add(content)
            if outcome is not Outcome.REFUSED and known.is_import_under_way:
                known.content.add(content)

    def imported(self, image: str, outcome: Outcome, request: str, method: str, content: Content | None) -> None:
        """Note the answer to an import of new data; ``content`` is what its source holds, None for a broken one.

        Staged data are what is staged, so ``content`` says nothing about them.
        """
        with self._lock:
            known = self._note(image, outcome)
            contents: frozenset[Content] | None = frozenset([content] if content else [])
            if method == DIRECT:
                may_be = frozenset(each for each in known.staged | known.late_staged if each is not None)
                contents = may_be if outcome is Outcome.DONE else None
                known.content |= may_be if outcome is not Outcome.REFUSED else set()
                self._take_staged(known, outcome)
                known.is_import_under_way |= outcome is Outcome.UNCLEAR
            elif outcome is Outcome.DONE:
                known.staged = {None}
            if outcome is Outcome.DONE and None not in known.content:
                self.defects.append(f"{image}: {method} was accepted for an image that has data")
            if outcome is not Outcome.REFUSED:
                known.content |= contents or set()
            known.imports[request] = Import(method, outcome, contents)

    def holds(self, image: str, content: Content) -> None:
        """Note that a client was shown the image with these data."""
        with self._lock:
            _narrow(self._image(image).content, Outcome.DONE, content)

    def copied(self, image: str, outcome: Outcome, request: str, store: str) -> None:
        """Note the answer to the copy of an image to ``store``."""
        with self._lock:
            self._note(image, outcome).imports[request] = Import(COPY, outcome, store=store)

    def task_seen(self, image: str, request: str, status: str, message: str) -> None:
        """Note the end of a task as a client was shown it."""
        with self._lock:
            before = self._image(image).ended.setdefault(request, status)
            if before != status:
                self.defects.append(f"{image}: the task of {request} was {before} and is {status}")
            if status == FAILURE and not message:
                self.defects.append(f"{image}: the task of {request} failed without a reason")

    def _take_staged(self, known: Expected, outcome: Outcome) -> None:
        """Note that an answer may have taken away what was staged."""
        if outcome is not Outcome.REFUSED:
            known.staged.add(None)
        if outcome is Outcome.UNCLEAR:
            known.late_staged.add(None)

    def downloaded(self, image: str, content: Content) -> None:
        """Note a download that ended as complete."""
        with self._lock:
            self._image(image).received.add(content)

    def deleted(self, image: str, outcome: Outcome) -> None:
        """Note the answer to a delete."""
        with self._lock:
            known = self._note(image, outcome)
            known.is_delete_under_way |= outcome is Outcome.UNCLEAR
            self._take_staged(known, outcome)
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

    def shared(self, image: str, outcome: Outcome, member: str, status: str | None = "pending") -> None:
        """Note the answer to a change of a membership: to ``status``, or None when it was to end."""
        with self._lock:
            self._note(image, outcome).members.setdefault(member, Membership()).told(outcome, status)

    def members_seen(self, image: str, found: Mapping[str, str] | None) -> None:
        """Compare the members that a client was shown with what it knew before; None: there was no answer."""
        with self._lock:
            memberships = self._image(image).members if found is not None else {}
            for member, known in memberships.items():
                if (status := (found or {}).get(member)) not in known.possible:
                    self.defects.append(f"{image}: {member} was shown as {status}, the client knew {known.possible}")

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
