"""Whether a deployment at rest kept its promises: acknowledged answers against rows against files.

I1  an active image has its bytes under the final name in each store that has it, and size and digests equal the row
I2  the data of an active image never change
I3  every file in a store or a staging store has exactly one owner row that is not deleted; nothing unfinished is left
I4  what was acknowledged is still so: images, names, data, what is staged, members and what they see, imports and tasks
I5  what a project uses is what its files hold (that it never was above its limit is for ``UsageWatch``)
I6  a delete ends: the row is deleted and the file is gone
I7  nothing is left in a transient state (``Deployment.settle`` looks at the deadlines before it waits)
I9, I10  after everything the API serves again, and it never answered with a defect
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tests.support.deployment import Deployment
from tests.support.ledger import Content, Ledger
from tests.support.promises_told import acknowledged, imports_ended
from tests.support.promises_views import served, used
from tests.support.state import File, State, look

_WITH_DATA = ("active", "deactivated")
_AT_REST = ("queued", "uploading", "active", "deactivated", "killed", "pending_delete", "deleted")


def check_promises(deployment: Deployment, ledger: Ledger) -> None:
    """Raise AssertionError with everything that is broken; the deployment has to be settled."""
    broken = find_broken(deployment, ledger)
    assert not broken, "\n".join(["broken promises:", *broken])


def find_broken(deployment: Deployment, ledger: Ledger) -> list[str]:
    """Return everything that is broken; the deployment has to be settled."""
    state = look(deployment)
    return [*broken_promises(state, ledger), *used(deployment, state), *served(deployment, state, ledger)]


def broken_promises(state: State, ledger: Ledger) -> Iterator[str]:
    """Yield what is broken of rows and files that were at rest, whatever they were read from."""
    yield from ledger.defects
    yield from _owners(state)
    yield from _data(state)
    yield from acknowledged(state, ledger)
    yield from imports_ended(state, ledger)


def _owners(state: State) -> Iterator[str]:
    """I3 and I7."""
    owned = Counter((row["store"], row["key"]) for row in state.locations if row["status"] != "deleted")
    for store, name in (*state.files, *state.staged):
        if owned[store, name] != 1:
            yield f"I3: the file {name} in {store} has {owned[store, name]} owners"
    for name in state.unfinished:
        yield f"I3: the unfinished file {name} was left"
    for row in state.locations:
        at_rest = row["status"] in ("active", "staged", "quarantined", "deleted") or row["not_before"] is not None
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
    """I1, I6, and I8: what is in quarantine is damaged."""
    for image, row in state.images.items():
        mine = state.active(image)
        if row["status"] not in _WITH_DATA:
            if mine:
                yield f"I3: image {image} is {row['status']} and has active data"
            if row["status"] == "pending_delete" and not row["delayed"]:
                yield f"I6: the delete of image {image} did not end"
            continue
        set_aside = state.quarantined(image)
        if not mine and not set_aside:
            yield f"I1: image {image} is {row['status']} and owns no data"
        digests = File(Content(row["size"], row["os_hash_value"]), row["checksum"])
        for location in set_aside:
            if state.file((location["store"], location["key"])) == digests:
                yield f"I8: image {image}: the right data {location['key']} in {location['store']} are in quarantine"
        for location in mine:
            place = location["store"], location["key"]
            if state.file(place) != digests:
                yield f"I1: image {image}: the file {place[1]} in {place[0]} is not what the row says"
            if location["size"] != row["size"]:
                yield f"I1: image {image}: the location says {location['size']} bytes, the image {row['size']}"
