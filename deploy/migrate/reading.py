"""Every image of a service listed, shown and downloaded as its administrator, and compared with its digest."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urljoin

import requests

_PAGE = 500
_PIECE = 1024 * 1024
_SECONDS = 120
"""Longest wait for an answer, or for the next bytes of it."""
_HAVE_DATA = ("active", "deactivated")


@dataclass(slots=True)
class Readout:
    """What was read: images by status, downloads and bytes, and what was wrong with which image."""

    listed: Counter[str] = field(default_factory=Counter)
    downloads: int = 0
    bytes: int = 0
    unproved: int = 0
    """Downloads of images that have no digest: only their size was compared."""
    wrong: list[str] = field(default_factory=list)


def read_all(url: str, say: Callable[[str], None]) -> Readout:
    """Read all images of the service at ``url``. Raises RequestException when it does not answer at all."""
    found = Readout()
    with requests.Session() as session:
        session.trust_env = False
        images = {image["id"]: image for image in _listed(session, url)}
        for number, (identity, image) in enumerate(sorted(images.items()), start=1):
            found.listed[image["status"]] += 1
            problem = _problem(session, url, image, found)
            if problem:
                found.wrong.append(f"{identity} {problem}")
            if number % 100 == 0:
                say(f"{number} of {len(images)} images are read")
    return found


def _listed(session: requests.Session, url: str) -> Iterator[dict[str, Any]]:
    """Yield all images: community and hidden ones are in lists of their own."""
    community, hidden = {"visibility": "community"}, {"os_hidden": "true"}
    for chosen in ({}, community, hidden, community | hidden):
        page = f"/v2/images?{urlencode({'limit': _PAGE, **chosen})}"
        while page:
            answer = session.get(urljoin(url, page), timeout=_SECONDS)
            answer.raise_for_status()
            document = answer.json()
            yield from document["images"]
            page = document.get("next", "")


def _problem(session: requests.Session, url: str, image: dict[str, Any], found: Readout) -> str | None:
    """Return what is wrong with an image, None when nothing is."""
    place = f"{url}/v2/images/{image['id']}"
    try:
        shown = session.get(place, timeout=_SECONDS)
        if shown.status_code != requests.codes.ok:
            return f"is not shown: {shown.status_code}"
        if image["status"] not in _HAVE_DATA:
            return None
        with session.get(f"{place}/file", stream=True, timeout=_SECONDS) as answer:
            if not answer.ok:
                return f"is not downloaded: {answer.status_code}"
            return _compare(answer, shown.json(), found)
    except requests.RequestException as error:
        return f"cannot be read: {type(error).__name__}"


def _compare(answer: requests.Response, image: dict[str, Any], found: Readout) -> str | None:
    algorithm, wanted = str(image.get("os_hash_algo")), image.get("os_hash_value")
    if not wanted or algorithm not in hashlib.algorithms_available:
        algorithm, wanted = "md5", image.get("checksum")
    digest, size = hashlib.new(algorithm, usedforsecurity=False), 0
    for piece in answer.iter_content(_PIECE):
        digest.update(piece)
        size += len(piece)
    found.downloads += 1
    found.bytes += size
    if image["size"] is not None and size != image["size"]:
        return f"has {size} bytes, not {image['size']}"
    if not wanted:
        found.unproved += 1
    elif digest.hexdigest() != wanted:
        return f"has data with another {algorithm} than its record says"
    return None
