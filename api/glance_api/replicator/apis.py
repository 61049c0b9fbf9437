"""What the commands ask of a glance-api, by v1 or v2, and which of the two it is."""

import re
from collections.abc import Collection, Iterator, Sequence
from typing import Protocol

from glance_api.replicator.documents import ReplicaImage
from glance_api.replicator.peer import Peer, ReplicationError, TemporaryTrouble, refused
from glance_common.fetch.url_session import Response

PAGE = 100
AUTO = "auto"
WORDS = (AUTO, "v1", "v2")

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/(?:[0-9]{1,18}|\*)")


class ImageApi(Protocol):
    """One API of one server. Every method raises ReplicationError."""

    def images(self) -> Iterator[ReplicaImage]:
        """Yield every image that the token may see."""
        ...

    def find(self, image_id: str) -> ReplicaImage | None:
        """Return an image, None when there is none with this id."""
        ...

    def as_shown(self, image: ReplicaImage) -> ReplicaImage:
        """Return an image of another server as this API would show it."""
        ...

    def open_data(self, image_id: str, offset: int) -> tuple[Response, int]:
        """Return the data from ``offset``, and the offset at which they really begin: 0 when there are no ranges."""
        ...

    def create(self, image: ReplicaImage) -> None:
        """Create the image with its id, without data."""
        ...

    def fill(self, image: ReplicaImage, pieces: Iterator[bytes]) -> None:
        """Upload the data of an image that has none."""
        ...

    def update(self, image: ReplicaImage, there: ReplicaImage, names: Collection[str]) -> None:
        """Change what differs, named by ``names``, from what is there; what else is there stays."""
        ...

    def complete(self, image: ReplicaImage) -> None:
        """Set what has to wait until the data are there."""
        ...


def versions(peer: Peer) -> frozenset[str]:
    """Return the major versions that a server names in its versions document. Raises ReplicationError."""
    answer = peer.ask("GET", "/")
    if answer.status not in (200, 300):
        raise refused(answer, f"{peer.url} does not tell its versions")
    document = answer.document()
    found = document.get("versions") if isinstance(document, dict) else None
    names = [str(each.get("id", "")) for each in found or () if isinstance(each, dict)]
    return frozenset(name.partition(".")[0] for name in names) & {"v1", "v2"}


def chosen(wanted: str, offered: Sequence[frozenset[str]]) -> str:
    """Return the API that all servers have: v1 where all have it, as the original tool, or the one that is wanted.

    Raises ReplicationError.
    """
    common = frozenset.intersection(*offered)
    candidates = [name for name in WORDS[1:] if wanted in (AUTO, name)]
    for name in candidates:
        if name in common:
            return name
    raise ReplicationError(f"the servers have no common API of images, {' or '.join(candidates)} was wanted.")


def open_v2(peer: Peer, image_id: str, offset: int) -> tuple[Response, int]:
    """See ``ImageApi.open_data``: v2 knows ranges, also of servers that are asked for metadata by v1."""
    headers = {"Range": f"bytes={offset}-"} if offset else {}
    return opened(peer, f"/v2/images/{image_id}/file", headers, offset)


def opened(peer: Peer, path: str, headers: dict[str, str], offset: int) -> tuple[Response, int]:
    """Ask for data and check the answer."""
    response = peer.open(path, headers)
    try:
        if response.status_code == 200:
            return response, 0
        if response.status_code == 206:
            found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
            if found is None or int(found[1]) != offset:
                raise ReplicationError(f"{peer.url} sends another range than the one asked for.")
            return response, offset
        text = f"{peer.url} does not give the data: {response.status_code}"
        raise TemporaryTrouble(text) if response.status_code >= 500 else ReplicationError(text)
    except BaseException:
        response.close()
        raise
