"""What operators do, with images of their own: rot that is found and mended, the cache, archives, locations."""

from __future__ import annotations

import gzip
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg2
from tests.chaos.storm.visitor import Visitor
from tests.servers.web import Page
from tests.support.image_client import Answer
from tests.support.ledger import Content, Outcome

_PATIENCE = 15.0
"""Seconds to wait for the second copy of an image."""
_FIRST, _ALL = 2, 6
"""Clients that read an image at once: those who come first, and all."""


def rot(visitor: Visitor, _image: str) -> None:
    """Damage one of two copies of an image, and let it be found by a download or by verify, which replaces it."""
    image = visitor.special_image(visitor.data(300_000))
    if image is None or visitor.operator().copy(image, "slow").outcome is not Outcome.DONE:
        return
    if not visitor.wait(lambda: len(_copies(visitor, image)) == 2, _PATIENCE):
        return
    copies = _copies(visitor, image)
    if len(copies) != 2 or not _flip(visitor.choice.choice(copies)):
        return
    if visitor.choice.random() < 0.4:
        visitor.operator().download(image)
    visitor.place.verify(image)
    visitor.operator().download(image)


def _copies(visitor: Visitor, image: str) -> list[Path]:
    """Return the files of an image that are in use; none while the database is away."""
    try:
        rows = visitor.place.deployment.query(
            "SELECT store, key FROM locations WHERE image_id = %s AND status = 'active' AND operation IS NULL", image
        )
    except psycopg2.Error:
        return []
    return [visitor.place.deployment.stores[row["store"]] / row["key"] for row in rows]


def _flip(path: Path) -> bool:
    """Change one bit of a file, as a rotten disk does; return whether the file was there."""
    try:
        with path.open("r+b") as file:
            first = file.read(1)
            file.seek(0)
            file.write(bytes([first[0] ^ 1]))
    except FileNotFoundError:
        return False
    return True


def crowd(visitor: Visitor, _image: str) -> None:
    """Read an image that is in no cache yet, many at once, from the node with the cache; some come later."""
    image = visitor.special_image(visitor.data(1_500_000))
    if image is None:
        return
    with ThreadPoolExecutor(_ALL) as pool:
        reads = [pool.submit(visitor.operator(0).download, image) for _ in range(_FIRST)]
        visitor.place.over.wait(0.3)
        reads += [pool.submit(visitor.operator(0).download, image) for _ in range(_ALL - _FIRST)]
        for read in reads:
            read.result()
    if visitor.choice.random() < 0.8:
        visitor.discard(image)


def unpack(visitor: Visitor, _image: str) -> Answer | None:
    """Import an archive, which the service unpacks."""
    image = visitor.special_image(container_format="compressed")
    if image is None:
        return None
    data = visitor.data(300_000)
    uri = visitor.put_page(Page(gzip.compress(data)))
    return visitor.operator().import_web(image, uri, Content.of(data))


def register(visitor: Visitor, _image: str) -> Answer | None:
    """Make data on a web server those of an image."""
    image = visitor.special_image()
    if image is None:
        return None
    data = visitor.data(300_000)
    return visitor.operator().register(image, visitor.put_page(Page(data)), data)


def define(visitor: Visitor, _image: str) -> Answer:
    """Create a namespace of metadata definitions, and now and then delete it."""
    name = f"namespace-{visitor.choice.getrandbits(64):016x}"
    answer = visitor.operator().namespace(name)
    if visitor.choice.random() < 0.3:
        return visitor.operator().namespace(name, present=False)
    return answer


def tidy(visitor: Visitor, _image: str) -> Answer | None:
    """Read or delete an image of the operators."""
    if not visitor.special:
        return None
    image = visitor.choice.choice(visitor.special)
    if visitor.choice.random() < 0.5:
        return visitor.operator().download(image)
    return visitor.discard(image)
