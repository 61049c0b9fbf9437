"""The images API v1: metadata in headers (v1 API sections 2 to 7)."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote, unquote, urlencode

from glance_api.replicator.apis import PAGE, open_v2, opened
from glance_api.replicator.documents import ReplicaImage
from glance_api.replicator.peer import Peer, PeerAnswer, ReplicationError, refused
from glance_common.fetch.url_session import Response

META = "x-image-meta-"
PROPERTY = f"{META}property-"
OCTETS = {"Content-Type": "application/octet-stream"}

_NAME = re.compile(r"[a-z0-9_.:!#$&'*+^`|~-]{1,255}")
_PLAIN = re.compile(r"[ -$&-~]*")
"""Values that servers take as they are: printable ASCII without the sign that begins an encoded one."""
_NUMBERS = ("size", "min_disk", "min_ram", "virtual_size")
_TRUTHS = ("is_public", "protected", "deleted")


class ImagesV1:
    """Fulfils ``apis.ImageApi``. ``has_v2``: data are fetched by v2, which knows ranges."""

    def __init__(self, peer: Peer, *, has_v2: bool) -> None:
        self._peer = peer
        self._has_v2 = has_v2

    def images(self) -> Iterator[ReplicaImage]:
        """See the protocol. Administrators are shown the images of all projects."""
        marker: str | None = None
        while True:
            query = {"limit": str(PAGE), "is_public": "none", **({"marker": marker} if marker else {})}
            answer = self._peer.ask("GET", f"/v1/images/detail?{urlencode(query)}")
            if answer.status != 200:
                raise refused(answer, f"{self._peer.url} does not list its images")
            document = answer.document()
            page = document.get("images") if isinstance(document, dict) else None
            if not isinstance(page, list):
                raise ReplicationError(f"{self._peer.url} does not list its images: is this glance-api?")
            found = [ReplicaImage.of(each).as_v1() for each in page]
            yield from found
            if not found or marker == found[-1].id:
                return
            marker = found[-1].id

    def find(self, image_id: str) -> ReplicaImage | None:
        """See the protocol."""
        answer = self._peer.ask("HEAD", f"/v1/images/{image_id}")
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise refused(answer, f"{self._peer.url} does not show the image")
        document = _document(answer.headers)
        # Administrators see what was deleted, too; its id is taken, which the answer to a create says.
        return None if document.get("deleted") else ReplicaImage.of(document).as_v1()

    def as_shown(self, image: ReplicaImage) -> ReplicaImage:
        """See the protocol."""
        return image.as_v1()

    def open_data(self, image_id: str, offset: int) -> tuple[Response, int]:
        """See the protocol."""
        if self._has_v2:
            return open_v2(self._peer, image_id, offset)
        return opened(self._peer, f"/v1/images/{image_id}", {}, offset)

    def create(self, image: ReplicaImage) -> None:
        """See the protocol."""
        answer = self._peer.ask("POST", "/v1/images", {f"{META}id": image.id, **_headers(image)})
        if answer.status not in (200, 201):
            raise refused(answer, "the image is not created")

    def fill(self, image: ReplicaImage, pieces: Iterator[bytes]) -> None:
        """See the protocol. The server compares the checksum, too."""
        headers = {**OCTETS, f"{META}size": str(image.size)}
        if isinstance(checksum := image.fields.get("checksum"), str):
            headers[f"{META}checksum"] = checksum
        answer = self._peer.upload(f"/v1/images/{image.id}", headers, pieces, image.size)
        _expect_200(answer, "the data are not taken")

    def update(self, image: ReplicaImage, there: ReplicaImage, names: Collection[str]) -> None:
        """See the protocol. All properties that are to stay are named: the others are purged."""
        kept = {name: value for name, value in there.properties.items() if name not in names}
        image = replace(image, properties={**kept, **image.properties})
        emptied = {f"{META}{name}": "" for name in names if name in image.writable() and image.fields[name] is None}
        chosen = {
            name: value for name, value in _headers(image).items() if name.startswith(PROPERTY) or _field(name) in names
        }
        headers = {**emptied, **chosen, "x-glance-registry-purge-props": "true"}
        _expect_200(self._peer.ask("PUT", f"/v1/images/{there.id}", headers), "the image is not changed")

    def complete(self, image: ReplicaImage) -> None:
        """See the protocol: everything is set when the image is created."""


def _expect_200(answer: PeerAnswer, what: str) -> None:
    if answer.status != 200:
        raise refused(answer, what)


def _headers(image: ReplicaImage) -> dict[str, str]:
    """Return what a client may set of an image as headers. Raises ReplicationError for names that fit into none."""
    fields = image.as_v1().writable()
    if "visibility" in fields:
        fields["is_public"] = fields.pop("visibility") == "public"
    headers = {f"{META}{name}": _encoded(str(value)) for name, value in fields.items() if value is not None}
    for name, value in image.as_v1().properties.items():
        if _NAME.fullmatch(name) is None:
            raise ReplicationError(f"property {name[:80]!r} cannot be named in a header: --api v2 can.")
        headers[f"{PROPERTY}{name}"] = _encoded(value)
    return headers


def _field(header: str) -> str:
    name = header.removeprefix(META)
    return "visibility" if name == "is_public" else name


def _encoded(value: str) -> str:
    return value if _PLAIN.fullmatch(value) and value == value.strip() else quote(value, safe="")


def _document(headers: Mapping[str, str]) -> dict[str, Any]:
    """Return the document that the headers of an answer describe."""
    document: dict[str, Any] = {"properties": {}}
    for header, raw in headers.items():
        name = header.lower()
        # The bytes are UTF-8, which the library reads as Latin-1.
        value = raw.encode("latin-1", "replace").decode(errors="replace")
        if name.startswith(PROPERTY):
            document["properties"][unquote(name.removeprefix(PROPERTY))] = value
        elif name.startswith(META):
            field = name.removeprefix(META)
            document[field] = _read(field, value)
    return document


def _read(field: str, value: str) -> Any:
    if field in _TRUTHS:
        return value.lower() == "true"
    if field in _NUMBERS:
        return int(value) if value.isdigit() else None
    return value or None
