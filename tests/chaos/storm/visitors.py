"""What visitors do, how often, and which failpoints each deed reaches."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tests.chaos.storm import deeds, deeds_imports, deeds_operators
from tests.chaos.storm.visitor import Visitor
from tests.support.image_client import Answer
from tests.support.ledger import Outcome

AIM = 0.6
"""The part of the deeds that are chosen for a failpoint that was never fired."""
BEGIN = ("registry.create.after-commit",)
"""Failpoints that each new image reaches."""


@dataclass(frozen=True, slots=True)
class Deed:
    """``act`` returns an answer that says whether an API listened, None without one."""

    weight: int
    act: Callable[[Visitor, str], Answer | None]
    reaches: tuple[str, ...] = ()


_UPDATE, _MEMBERS = ("registry.update.after-commit",), ("registry.members.after-commit",)
_WRITE = ("file.add.before-sync", "file.add.after-sync", "file.add.after-link", "file.add.after-dirsync")
_PURGE = (
    "registry.delete.after-commit", "registry.claim.after-commit", "registry.done.after-commit", "purge.claim.after",
    "purge.delete.after", "purge.record.after", "file.delete.before-unlink", "file.delete.after-unlink",
)
_OPERATION = (
    "registry.operation.after-create", "registry.operation.after-claim", "registry.operation.before-finish",
    "registry.operation.after-finish", "api.operation.claimed", "api.operation.before-finish",
    "api.import.store-started", "api.import.store-committed",
)

DEEDS: dict[str, Deed] = {
    "upload": Deed(4, deeds.upload, (
        *_WRITE, "api.upload.started", "api.upload.before-commit", "api.upload.after-commit",
        "registry.upload.after-commit", "registry.commit.before-commit", "registry.commit.after-commit",
    )),
    "broken upload": Deed(2, deeds.broken_upload, ("api.upload.aborted", "registry.abort.after-commit")),
    "download": Deed(2, deeds.download),
    "download part": Deed(2, deeds.download_part),
    "rename": Deed(1, deeds.rename, _UPDATE),
    "describe": Deed(1, deeds.describe, _UPDATE),
    "tag": Deed(1, deeds.tag, _UPDATE),
    "deactivate": Deed(1, deeds.deactivate, _UPDATE),
    "drop": Deed(1, deeds.drop),
    "use the old API": Deed(2, deeds.use_old_api),
    "share": Deed(2, deeds.share, _MEMBERS),
    "answer a share": Deed(2, deeds.answer_share, _MEMBERS),
    "unshare": Deed(1, deeds.unshare),
    "members": Deed(1, deeds.look_at_members),
    "delete": Deed(3, deeds.delete, _PURGE),
    "delete for later": Deed(2, deeds.delete_for_later, ("registry.restore.after-commit",)),
    "stage": Deed(4, deeds_imports.stage, (*_OPERATION, "api.import.staged", "registry.operation.after-step")),
    "import staged": Deed(1, deeds_imports.import_staged),
    "import web": Deed(4, deeds_imports.import_web, (*_OPERATION, "registry.operation.after-step")),
    "import slow": Deed(1, deeds_imports.import_slow, ("registry.operation.after-release",)),
    "import remote": Deed(1, deeds_imports.import_remote),
    "copy": Deed(3, deeds_imports.copy, _OPERATION),
    "tasks": Deed(2, deeds_imports.look_at_tasks),
    "rot": Deed(1, deeds_operators.rot, (
        "registry.quarantine.after-commit", "repair.started", "repair.before-commit", "repair.after-commit",
    )),
    "crowd": Deed(1, deeds_operators.crowd, (
        "cache.fill.piece", "cache.fill.before-sync", "cache.fill.before-link", "cache.fill.after-link",
        "cache.watch.dead",
    )),
    "unpack": Deed(1, deeds_operators.unpack, ("api.import.piece-unpacked",)),
    "register": Deed(1, deeds_operators.register, ("registry.locations.after-commit",)),
    "define": Deed(1, deeds_operators.define, ("registry.metadefs.after-commit",)),
    "tidy": Deed(2, deeds_operators.tidy),
}


def reached() -> set[str]:
    """Return all failpoints that are the aim of a deed."""
    return {*BEGIN, *(name for deed in DEEDS.values() for name in deed.reaches)}


def deeds_for(missing: Iterable[str]) -> list[Deed]:
    """Return the deeds that reach each of these failpoints, those that reach several of them several times."""
    return [deed for name in missing for deed in DEEDS.values() if name in deed.reaches]


def visit(visitor: Visitor, over: threading.Event) -> None:
    """Do one thing after the other until told that it is over."""
    while not over.is_set():
        if len(visitor.mine) < 3 or visitor.choice.random() < 0.15:
            visitor.breathe(_begin(visitor))
        else:
            visitor.breathe(_choose(visitor).act(visitor, visitor.choice.choice(visitor.mine)))


def _choose(visitor: Visitor) -> Deed:
    aims = deeds_for(visitor.place.tally.missing())
    if aims and visitor.choice.random() < AIM:
        return visitor.choice.choice(aims)
    every = list(DEEDS.values())
    return visitor.choice.choices(every, [deed.weight for deed in every])[0]


def _begin(visitor: Visitor) -> Answer:
    # What visitors send has no format: data for a qcow2 image are refused, and an import of them fails at its end.
    disk_format = visitor.choice.choice(("raw",) * 7 + ("qcow2",))
    image, answer = visitor.client().create(f"image {visitor.choice.randrange(1000)}", disk_format=disk_format)
    if answer.outcome is Outcome.DONE:
        visitor.mine.append(image)
    return answer
