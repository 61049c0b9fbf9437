"""I2 and I4: what clients were told, against the rows. Answers about imports are promises of their own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from tests.support.deployment import Row
from tests.support.ledger import FAILURE, SUCCESS, Content, Expected, Import, Ledger, Outcome, no_member
from tests.support.state import State, content_of

_OWN = ("os_glance_", "os_hash_", "owner_specified.")
"""Beginnings of the names of properties that the service or openstacksdk set by themselves."""

_COUNTS = {Outcome.DONE: {1}, Outcome.REFUSED: {0}, Outcome.UNCLEAR: {0, 1}}
"""How many tasks an import makes, by its answer."""


def acknowledged(state: State, ledger: Ledger) -> Iterator[str]:
    """Yield what is not as the clients were told, of images, their data and their members."""
    expected = ledger.images()
    for image in state.images.keys() - expected.keys():
        yield f"I4: no client created image {image}"
    for image, known in expected.items():
        row = state.images.get(image)
        if (row is not None) not in known.exists:
            yield f"I4: image {image} exists: {row is not None}, the client knows {known.exists}"
        if row is not None:
            yield from _one_image(image, row, known)
            yield from _described(image, row, known)
            yield from _absent(image, known, state)
            yield from _staged(image, row, known, state)
            yield from _members(image, known, state)


def _one_image(image: str, row: Row, known: Expected) -> Iterator[str]:
    hidden = row["status"] in ("deleted", "pending_delete")
    if hidden not in known.hidden:
        yield f"I4: image {image} is {row['status']}, the client was told that hidden is {known.hidden}"
    if row["name"] not in known.name.possible:
        yield f"I4: image {image} is named {row['name']}, the client knows {known.name.possible}"
    is_off = row["status"] == "deactivated"
    if row["status"] in ("active", "deactivated") and is_off not in known.deactivated.possible:
        yield f"I4: image {image} is deactivated: {is_off}, the client knows {known.deactivated.possible}"
    content = content_of(row)
    if content not in known.content:
        yield f"I4: image {image} holds {content}, the client knows {known.content}"
    if len(known.received) > 1 or not known.received <= known.sent:
        yield f"I2: downloads of image {image} brought {known.received}, sent was {known.sent}"
    if content is not None and known.received - {content}:
        yield f"I2: image {image} holds {content}, a download brought {known.received}"


def _described(image: str, row: Row, known: Expected) -> Iterator[str]:
    """Tags and properties, those that no client gave it among them."""
    for tag in known.tags.keys() | row["tags"]:
        possible = known.tags[tag].possible if tag in known.tags else {False}
        if (tag in row["tags"]) not in possible:
            yield f"I4: image {image} has the tag {tag}: {tag in row['tags']}, the client knows {possible}"
    for name in known.properties.keys() | {name for name in row["properties"] if not name.startswith(_OWN)}:
        values = known.properties[name].possible if name in known.properties else {None}
        if row["properties"].get(name) not in values:
            yield f"I4: image {image}: {name} is {row['properties'].get(name)}, the client knows {values}"


def _absent(image: str, known: Expected, state: State) -> Iterator[str]:
    """A copy that was deleted stays away."""
    if state.visible(image):
        for location in state.active(image):
            if location["store"] in known.absent:
                yield f"I4: image {image} has a copy in {location['store']}, where it was deleted"


def _staged(image: str, row: Row, known: Expected, state: State) -> Iterator[str]:
    if not state.visible(image):
        return
    staged, possible = state.staged_content(image), known.staged | known.late_staged
    if staged not in possible:
        yield f"I4: image {image} is {row['status']} with {staged} staged, the client knows {possible}"


def _members(image: str, known: Expected, state: State) -> Iterator[str]:
    found = state.members.get(image, {})
    for member in known.members.keys() | found.keys():
        possible = known.members.get(member, no_member()).possible
        if found.get(member) not in possible:
            yield f"I4: image {image}: {member} as a member is {found.get(member)}, the client knows {possible}"


def imports_ended(state: State, ledger: Ledger) -> Iterator[str]:
    """Yield the imports that did not end as their answers promise: as a success with these data, or with a reason."""
    tasks: dict[str, list[Row]] = defaultdict(list)
    for row in state.operations:
        tasks[row["request_id"]].append(row)
    for image, known in ledger.images().items():
        mine = {request: tasks.pop(request, []) for request in known.imports}
        for request, asked in known.imports.items():
            yield from _one_import(image, asked, mine[request], known, state)
            for row in mine[request]:
                if known.ended.get(request, row["status"]) != row["status"]:
                    yield f"I4: task {row['id']} is {row['status']}, a client saw {known.ended[request]}"
        yield from _brought(image, known, mine, state)
    for request, rows in tasks.items():
        yield f"I4: no client asked for the tasks {[str(row['id']) for row in rows]} of request {request}"


def _one_import(image: str, asked: Import, rows: list[Row], known: Expected, state: State) -> Iterator[str]:
    what = f"{asked.method} of image {image}"
    # One that was cancelled was made, and its image was deleted before the answer was out.
    if len([row for row in rows if asked.outcome is not Outcome.REFUSED or not row["cancelled"]]) not in (
        _COUNTS[asked.outcome]
    ):
        yield f"I4: {what} was answered {asked.outcome} and has {len(rows)} tasks"
    for row in rows:
        if row["status"] == FAILURE and not row["message"]:
            yield f"I4: {what} failed without a reason"
        if row["status"] != SUCCESS or not state.visible(image):
            continue
        content = content_of(state.images[image])
        if asked.brings_data and (content is None or content not in _or_any(asked.contents, content)):
            yield f"I4: {what} succeeded, the image holds {content} instead of {asked.contents}"
        stores = [location["store"] for location in (*state.active(image), *state.quarantined(image))]
        if asked.store is not None and asked.store not in {*stores, *known.dropped}:
            yield f"I4: {what} to {asked.store} succeeded, its data are in {stores}"


def _or_any(contents: frozenset[Content] | None, content: Content) -> frozenset[Content]:
    return frozenset([content]) if contents is None else contents


def _brought(image: str, known: Expected, tasks: dict[str, list[Row]], state: State) -> Iterator[str]:
    """Data come by exactly one way: an upload, or one import that succeeded."""
    by_imports = [
        row for request, rows in tasks.items() for row in rows
        if known.imports[request].brings_data and row["status"] == SUCCESS
    ]
    if len(by_imports) > 1:
        yield f"I4: {len(by_imports)} imports of image {image} succeeded"
    content = content_of(state.images[image]) if state.visible(image) else None
    if content is not None and content not in known.uploaded and not by_imports:
        yield f"I4: image {image} holds data, and no import of them succeeded"
