"""Whether a deployment at rest kept its promises: acknowledged answers against rows against files.

I1  an active image has its bytes under the final name, and size and digests equal the row
I2  the data of an active image never change
I3  every file in a store has exactly one owner row that is not deleted, and no unfinished file is left
I4  what was acknowledged is still so
I6  a delete ends: the row is deleted and the file is gone
I7  nothing is left in a transient state (``Deployment.settle`` looks at the deadlines before it waits)
I9, I10  after everything the API serves again, and it never answered with a defect
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.deployment import INCOMING, SENTINEL, Deployment, Row
from tests.support.ledger import Content, Expected, Ledger

_WITH_DATA = ("active", "deactivated")
_AT_REST = ("queued", "uploading", "active", "deactivated", "killed", "pending_delete", "deleted")


@dataclass(frozen=True, slots=True)
class File:
    """What a store holds under one key."""

    content: Content
    md5: str


@dataclass(frozen=True, slots=True)
class State:
    """Rows and files at one moment."""

    images: dict[str, Row]
    locations: list[Row]
    operations: list[Row]
    members: set[tuple[str, str]]
    files: dict[str, File]
    unfinished: list[str]


def check_promises(deployment: Deployment, ledger: Ledger) -> None:
    """Raise AssertionError with everything that is broken; the deployment has to be settled."""
    state = _look(deployment)
    broken = [
        *ledger.defects,
        *_owners(state),
        *_data(state),
        *_acknowledged(state, ledger),
        *_served(deployment, state, ledger),
    ]
    assert not broken, "\n".join(["broken promises:", *broken])


def _look(deployment: Deployment) -> State:
    store = deployment.images
    names = [path for path in store.iterdir() if path.name not in (SENTINEL, INCOMING)]
    incoming = store / INCOMING
    return State(
        images={str(row["id"]): row for row in deployment.query("SELECT * FROM images")},
        locations=deployment.query("SELECT * FROM locations"),
        operations=deployment.query("SELECT * FROM operations"),
        members={
            (str(row["image_id"]), row["member"]) for row in deployment.query("SELECT image_id, member FROM members")
        },
        files={path.name: _read(path) for path in names},
        unfinished=[path.name for path in incoming.iterdir()] if incoming.exists() else [],
    )


def _read(path: Path) -> File:
    data = path.read_bytes()
    return File(Content.of(data), hashlib.md5(data, usedforsecurity=False).hexdigest())


def _owners(state: State) -> Iterator[str]:
    """I3 and I7."""
    owned = Counter(row["key"] for row in state.locations if row["status"] != "deleted" and not row["staging"])
    for name in state.files:
        if owned[name] != 1:
            yield f"I3: the file {name} has {owned[name]} owners"
    for name in state.unfinished:
        yield f"I3: the unfinished file {name} was left"
    for row in state.locations:
        at_rest = row["status"] in ("active", "staged", "deleted") or row["not_before"] is not None
        if not at_rest or row["late_passes"]:
            yield f"I7: location {row['id']} is {row['status']}, late passes {row['late_passes']}: {row['last_error']}"
    for image, row in state.images.items():
        if row["status"] not in _AT_REST:
            yield f"I7: image {image} is {row['status']}"
    yield from _background(state)


def _background(state: State) -> Iterator[str]:
    """I3 and I7, of staged data and of operations: staged data belong to an image that waits for its import."""
    staged = {str(row["image_id"]) for row in state.locations if row["status"] == "staged"}
    uploading = {image for image, row in state.images.items() if row["status"] == "uploading"}
    for image in staged - uploading:
        yield f"I3: staged data of image {image}, which is {state.images[image]['status']}, were left"
    for image in uploading - staged:
        yield f"I7: image {image} is uploading and nothing of it is staged"
    for row in state.operations:
        if row["expires_at"] is None:
            yield f"I7: operation {row['id']} is {row['status']} and has no end"
    for row in state.locations:
        if row["status"] == "active" and row["operation"] is not None:
            yield f"I3: location {row['id']} is lent to the operation {row['operation']}, which is over"


def _data(state: State) -> Iterator[str]:
    """I1 and I6."""
    for image, row in state.images.items():
        mine = [each for each in state.locations if str(each["image_id"]) == image and each["status"] == "active"]
        if row["status"] not in _WITH_DATA:
            if mine:
                yield f"I3: image {image} is {row['status']} and has active data"
            if row["status"] == "pending_delete" and not row["delayed"]:
                yield f"I6: the delete of image {image} did not end"
            continue
        if not mine:
            yield f"I1: image {image} is {row['status']} and owns no data"
        digests = File(Content(row["size"], row["os_hash_value"]), row["checksum"])
        for location in mine:
            if state.files.get(location["key"]) != digests:
                yield f"I1: image {image}: the file {location['key']} is not what the row says"
            if location["size"] != row["size"]:
                yield f"I1: image {image}: the location says {location['size']} bytes, the image {row['size']}"


def _acknowledged(state: State, ledger: Ledger) -> Iterator[str]:
    """I2 and I4."""
    expected = ledger.images()
    for image in state.images.keys() - expected.keys():
        yield f"I4: nobody created image {image}"
    for image, known in expected.items():
        row = state.images.get(image)
        if (row is not None) not in known.exists:
            yield f"I4: image {image} exists: {row is not None}, the client knows {known.exists}"
        if row is not None:
            yield from _one_image(image, row, known, state)


def _one_image(image: str, row: Row, known: Expected, state: State) -> Iterator[str]:
    hidden = row["status"] in ("deleted", "pending_delete")
    if hidden not in known.hidden:
        yield f"I4: image {image} is {row['status']}, the client was told that hidden is {known.hidden}"
    if row["name"] not in known.names:
        yield f"I4: image {image} is named {row['name']}, the client knows {known.names}"
    for member, possible in known.members.items():
        if ((image, member) in state.members) not in possible:
            yield f"I4: image {image}: {member} is a member is not {possible}"
    content = None if row["checksum"] is None else Content(row["size"], row["os_hash_value"])
    if content not in known.content:
        yield f"I4: image {image} holds {content}, the client knows {known.content}"
    if len(known.received) > 1 or not known.received <= known.sent:
        yield f"I2: downloads of image {image} brought {known.received}, sent was {known.sent}"
    if content is not None and known.received - {content}:
        yield f"I2: image {image} holds {content}, a download brought {known.received}"


def _served(deployment: Deployment, state: State, ledger: Ledger) -> Iterator[str]:
    """I9 and I10: all is back, without anybody's help."""
    client = deployment.client(ledger)
    for image, row in state.images.items():
        if row["status"] in ("deleted", "pending_delete"):
            if (status := client.show(image).status) != 404:
                yield f"I4: GET of the deleted image {image} is answered {status}"
            continue
        answer = client.download(image)
        if row["status"] != "active":
            continue
        if answer.status != 200 or Content.of(answer.body) != Content(row["size"], row["os_hash_value"]):
            yield f"I10: the data of image {image} are not served: {answer.status}, {len(answer.body)} bytes"
