"""I5, I9 and I10: what the services show when all is at rest, against the rows and the files."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

from glance_common.model.context import system_context
from glance_common.model.limits import Usage
from tests.support.deployment import Deployment
from tests.support.image_client import ImageClient
from tests.support.ledger import Content, Ledger
from tests.support.state import State, content_of

STRANGER = "a-stranger"
USER = "member,reader"


def used(deployment: Deployment, state: State) -> Iterator[str]:
    """I5: the registry says that a project uses what its files hold."""
    registry = deployment.registry_client.usage
    for owner in sorted({row["owner"] for row in state.images.values() if row["owner"] is not None}):
        found = registry.of_owner(system_context(f"req-{uuid4()}"), owner)
        expected = _usage(state, owner)
        if found != expected:
            yield f"I5: the project {owner} uses {found} as the registry says, and {expected} by its files"


def _usage(state: State, owner: str) -> Usage:
    mine = {image for image, row in state.images.items() if row["owner"] == owner and state.visible(image)}
    listed = [image for image in mine if state.images[image]["status"] != "killed"]
    places = [(row["store"], row["key"]) for row in state.locations if str(row["image_id"]) in mine and _counts(row)]
    held = [state.file(place) for place in places]
    size = sum(file.content.size for file in held if file is not None)
    stage = sum(state.staged[place].content.size for place in places if place in state.staged)
    uploading = sum(state.images[image]["status"] == "uploading" for image in mine)
    return Usage(size=size, stage=stage, images=len(listed), uploading=uploading)


def _counts(row: dict[str, object]) -> bool:
    return row["status"] in ("active", "staged")


def served(deployment: Deployment, state: State, ledger: Ledger) -> Iterator[str]:
    """I9 and I10: all is back without help, and shown to those who may see it."""
    clients = [deployment.client(ledger, api) for api in deployment.apis]
    for number, image in enumerate(state.images):
        yield from image_served(clients[number % len(clients)], image, state)
        yield from _tasks(clients[number % len(clients)], image, state)
    for name, possible in ledger.namespaces().items():
        status = clients[0].has_namespace(name)
        if status not in (200, 404) or (status == 200) not in possible:
            yield f"I4: the namespace {name} is answered {status}, the client knows {possible}"
    if deployment.identifies:
        yield from _shared(deployment, state, ledger)
        yield from _lists(deployment, state, ledger)


def image_served(client: ImageClient, image: str, state: State) -> Iterator[str]:
    """I10: a client gets the data of an image that is active, and 404 for one that is deleted."""
    if not state.visible(image):
        if (status := client.show(image).status) != 404:
            yield f"I4: GET of the deleted image {image} is answered {status}"
        return
    answer = client.download(image)
    if state.images[image]["status"] != "active":
        return
    if not state.active(image) and state.quarantined(image):
        if answer.status != 503:
            yield f"I8: image {image} has damaged data only, and a download is answered {answer.status}"
        return
    if answer.status != 200 or Content.of(answer.body) != content_of(state.images[image]):
        yield f"I10: the data of image {image} are not served: {answer.status}, {len(answer.body)} bytes"


def _tasks(client: ImageClient, image: str, state: State) -> Iterator[str]:
    """The tasks of an image that is there are shown as the rows say."""
    rows = {row["request_id"]: row["status"] for row in state.operations if str(row["image_id"]) == image}
    if rows and state.visible(image) and (shown := client.tasks(image)) != rows:
        yield f"I4: the tasks of image {image} are {rows}, shown are {shown}"


def _shared(deployment: Deployment, state: State, ledger: Ledger) -> Iterator[str]:
    """Members see their image and themselves, strangers see nothing of it."""
    stranger = deployment.client(ledger, project=STRANGER, roles=USER)
    for image in filter(state.visible, state.images):
        if (answered := stranger.show(image).status) != 404:
            yield f"I4: a stranger who asks for image {image} is answered {answered}"
        for member, status in state.members.get(image, {}).items():
            client = deployment.client(ledger, project=member, roles=USER)
            if (shown := client.show(image).status) != 200:
                yield f"I4: {member}, a member of image {image}, is answered {shown}"
            if (seen := client.members(image)) != {member: status}:
                yield f"I4: {member} is {status} as a member of image {image}, and sees {seen}"


def _lists(deployment: Deployment, state: State, ledger: Ledger) -> Iterator[str]:
    """A project's list holds its own images, and those of others that it accepted."""
    listed = {image: row for image, row in state.images.items() if state.visible(image) and row["status"] != "killed"}
    accepted = {image: {name for name, status in state.members.get(image, {}).items() if status == "accepted"}
                for image in listed}
    for project in {row["owner"] for row in listed.values()}.union(*state.members.values()) - {None}:
        expected = {image for image, row in listed.items() if project == row["owner"] or project in accepted[image]}
        found = deployment.client(ledger, project=project, roles=USER).listed()
        if found != expected:
            yield f"I4: the list of {project} lacks {expected - found} and has {found - expected} too much"
