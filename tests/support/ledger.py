"""What clients were told, and what must be true because of it.

An answer 2xx is a promise. An answer 4xx is one too: nothing was done. A lost connection or a 503 is neither, so it
leaves two possibilities. The ledger keeps, for every image, all that may be true of it.
"""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, TypeVar

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
class Known(Generic[T]):
    """What one thing of an image may be, by the answers: a name, a membership, whether it has a tag."""

    values: set[T]
    late: set[T] = field(default_factory=set)
    """What unclear requests asked for: these may come after everything that is asked later."""

    @property
    def possible(self) -> set[T]:
        """All that may be true."""
        return self.values | self.late

    def told(self, outcome: Outcome, value: T) -> None:
        """Note an answer."""
        _narrow(self.values, outcome, value)
        if outcome is Outcome.UNCLEAR:
            self.late.add(value)


def no_member() -> Known[str | None]:
    """Return what is known of a project that was never made a member."""
    return Known({None})


@dataclass(slots=True)
class Expected:
    """Everything that may be true of one image. A clear answer leaves one possibility, an unclear one adds one."""

    exists: set[bool] = field(default_factory=lambda: {False})
    hidden: set[bool] = field(default_factory=lambda: {False})
    is_delete_under_way: bool = False
    """An unclear delete may still be on its way to the registry, and come after everything that is asked later."""
    content: set[Content | None] = field(default_factory=lambda: {None})
    name: Known[str | None] = field(default_factory=lambda: Known({None}))
    tags: dict[str, Known[bool]] = field(default_factory=dict)
    properties: dict[str, Known[str | None]] = field(default_factory=dict)
    deactivated: Known[bool] = field(default_factory=lambda: Known({False}))
    members: dict[str, Known[str | None]] = field(default_factory=dict)
    """What each project is to the image: the status of a member, None for no member."""
    dropped: set[str] = field(default_factory=set)
    """Stores whose copy may have been deleted, now or later."""
    absent: set[str] = field(default_factory=set)
    """Stores whose copy was deleted, and to which no copy may come."""
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
        self._namespaces: dict[str, Known[bool]] = {}
        self._samples: dict[Content, Callable[[], bytes]] = {}
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
            other._namespaces = deepcopy(self._namespaces)
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
            known.name = Known({name})

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
            known = self._note(image, outcome)
            known.imports[request] = Import(COPY, outcome, store=store)
            if outcome is not Outcome.REFUSED:
                known.absent.discard(store)

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
            self._note(image, outcome).name.told(outcome, name)

    def tagged(self, image: str, outcome: Outcome, tag: str, present: bool) -> None:
        """Note the answer to a change of a tag."""
        with self._lock:
            self._note(image, outcome).tags.setdefault(tag, Known({False})).told(outcome, present)

    def described(self, image: str, outcome: Outcome, name: str, value: str) -> None:
        """Note the answer to a change of a property."""
        with self._lock:
            self._note(image, outcome).properties.setdefault(name, Known({None})).told(outcome, value)

    def deactivated(self, image: str, outcome: Outcome, value: bool) -> None:
        """Note the answer to a deactivation, or to its end."""
        with self._lock:
            self._note(image, outcome).deactivated.told(outcome, value)

    def dropped(self, image: str, outcome: Outcome, store: str) -> None:
        """Note the answer to the delete of the copy in one store."""
        with self._lock:
            known = self._note(image, outcome)
            if outcome is not Outcome.REFUSED:
                known.dropped.add(store)
            over = all(request in known.ended for request, each in known.imports.items()
                       if each.outcome is not Outcome.REFUSED)
            if outcome is Outcome.DONE and over:
                known.absent.add(store)

    def namespace_told(self, name: str, outcome: Outcome, present: bool) -> None:
        """Note the answer to the create or the delete of a namespace of metadata definitions."""
        with self._lock:
            self.answers[outcome] += 1
            self._namespaces.setdefault(name, Known({False})).told(outcome, present)

    def namespaces(self) -> dict[str, set[bool]]:
        """Return whether each namespace may be there."""
        with self._lock:
            return {name: set(known.possible) for name, known in self._namespaces.items()}

    def sample(self, data: bytes, make: Callable[[], bytes]) -> None:
        """Keep how data are made again, to judge parts of them later."""
        with self._lock:
            self._samples[Content.of(data)] = make

    def part_received(self, image: str, first: int, part: bytes, total: int) -> None:
        """Compare a part of an image that a client was sent with all that was sent for it."""
        with self._lock:
            sent = [content for content in self._image(image).sent if content.size == total]
            samples = [self._samples.get(content) for content in sent]
        if all(make is not None and make()[first : first + len(part)] != part for make in samples):
            self.defects.append(f"{image}: {len(part)} bytes from {first} of {total} were never sent for it")

    def shared(self, image: str, outcome: Outcome, member: str, status: str | None = "pending") -> None:
        """Note the answer to a change of a membership: to ``status``, or None when it was to end."""
        with self._lock:
            self._note(image, outcome).members.setdefault(member, no_member()).told(outcome, status)

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
