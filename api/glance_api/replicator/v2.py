"""The images API v2. Members of images are not replicated, as by the original tool."""

from collections.abc import Callable, Collection, Iterator
from itertools import chain
from typing import Any
from urllib.parse import urlencode

import orjson

from glance_api.replicator.apis import PAGE, open_v2
from glance_api.replicator.documents import WRITABLE, ReplicaImage
from glance_api.replicator.peer import Peer, PeerAnswer, ReplicationError, refused
from glance_common.fetch.url_session import Response

JSON = {"Content-Type": "application/json"}
OCTETS = {"Content-Type": "application/octet-stream"}
PATCH = {"Content-Type": "application/openstack-images-v2.1-json-patch"}

_LATER = ("protected", "os_hidden")
"""Fields that are set last: a protected image can not be deleted when its upload fails."""
_FIXED = ("disk_format", "container_format")
"""Fields that cannot be changed once the data are there."""


class ImagesV2:
    """Fulfils ``apis.ImageApi``."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    def images(self) -> Iterator[ReplicaImage]:
        """See the protocol. Hidden images are on pages of their own.

        The others are asked for without ``os_hidden``: a release that does not know it takes it for a property that
        the images must have, and lists none. One that ignores it lists all of them twice.
        """
        seen: set[str] = set()
        query = {"limit": str(PAGE), "visibility": "all"}
        for each in chain(self._listed(query), self._listed({**query, "os_hidden": "true"})):
            if each.id not in seen:
                seen.add(each.id)
                yield each

    def _listed(self, query: dict[str, str]) -> Iterator[ReplicaImage]:
        marker: str | None = None
        while True:
            page_query = {**query, **({"marker": marker} if marker else {})}
            answer = self._peer.ask("GET", f"/v2/images?{urlencode(page_query)}")
            if answer.status != 200:
                raise refused(answer, f"{self._peer.url} does not list its images")
            document = answer.document()
            page = document.get("images") if isinstance(document, dict) else None
            if not isinstance(page, list):
                raise ReplicationError(f"{self._peer.url} does not list its images: is this glance-api?")
            found = list(map(ReplicaImage.of, page))
            yield from found
            # The link itself is not followed: it may name another server.
            if not found or not document.get("next") or marker == found[-1].id:
                return
            marker = found[-1].id

    def find(self, image_id: str) -> ReplicaImage | None:
        """See the protocol."""
        answer = self._peer.ask("GET", f"/v2/images/{image_id}")
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise refused(answer, f"{self._peer.url} does not show the image")
        return ReplicaImage.of(answer.document())

    def as_shown(self, image: ReplicaImage) -> ReplicaImage:
        """See the protocol."""
        return image

    def open_data(self, image_id: str, offset: int) -> tuple[Response, int]:
        """See the protocol."""
        return open_v2(self._peer, image_id, offset)

    def create(self, image: ReplicaImage) -> None:
        """See the protocol."""
        fields = {name: value for name, value in image.writable().items() if value is not None and name not in _LATER}

        def attempt(names: Collection[str]) -> PeerAnswer:
            document = {**image.properties, "id": image.id, **{name: fields[name] for name in names}}
            return self._peer.ask("POST", "/v2/images", JSON, orjson.dumps(document))

        answer = _without_owner(attempt, fields)
        if answer.status != 201:
            raise refused(answer, "the image is not created")

    def fill(self, image: ReplicaImage, pieces: Iterator[bytes]) -> None:
        """See the protocol."""
        answer = self._peer.upload(f"/v2/images/{image.id}/file", OCTETS, pieces, image.size)
        if answer.status != 204:
            raise refused(answer, "the data are not taken")

    def update(self, image: ReplicaImage, there: ReplicaImage, names: Collection[str]) -> None:
        """See the protocol."""

        def attempt(chosen: Collection[str]) -> PeerAnswer:
            return self._patch(image.id, _changes(image, there, chosen))

        answer = _without_owner(attempt, names)
        if answer.status != 200:
            raise refused(answer, "the image is not changed")

    def complete(self, image: ReplicaImage) -> None:
        """See the protocol."""
        fields = [name for name in _LATER if image.fields.get(name)]
        if not fields:
            return
        changes = [{"op": "replace", "path": f"/{name}", "value": image.fields[name]} for name in fields]
        answer = self._patch(image.id, changes)
        if answer.status != 200:
            raise refused(answer, f"{' and '.join(fields)} cannot be set")

    def _patch(self, image_id: str, changes: list[dict[str, Any]]) -> PeerAnswer:
        return self._peer.ask("PATCH", f"/v2/images/{image_id}", PATCH, orjson.dumps(changes))


def _without_owner(attempt: Callable[[Collection[str]], PeerAnswer], names: Collection[str]) -> PeerAnswer:
    """Try with all fields, and when that is forbidden without the owner, which only administrators set.

    v1 ignores the owner that others name; so do we.
    """
    answer = attempt(names)
    if answer.status == 403 and "owner" in names:
        return attempt([name for name in names if name != "owner"])
    return answer


def _changes(image: ReplicaImage, there: ReplicaImage, names: Collection[str]) -> list[dict[str, Any]]:
    """Return what has to be changed, as a JSON patch."""
    changes: list[dict[str, Any]] = []
    for name in sorted(names):
        path = f"/{name.replace('~', '~0').replace('/', '~1')}"
        if name in image.fields:
            if name in WRITABLE and (name not in _FIXED or there.fields.get("status") == "queued"):
                changes.append({"op": "replace", "path": path, "value": image.fields[name]})
        elif name not in image.properties:
            changes.append({"op": "remove", "path": path})
        else:
            operation = "replace" if name in there.properties else "add"
            changes.append({"op": operation, "path": path, "value": image.properties[name]})
    return changes
