"""One image in, out and gone again: what ``run-local --check`` does to the running service."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import requests

SIZE = 5 * 1024 * 1024 + 1
"""Bytes of the image; not a multiple of anything the service cuts data into."""

_PURGE_SECONDS = 60


class CheckError(Exception):
    """The service did not do what it should; the text says what."""


def run(url: str, images: Path, say: Callable[[str], None]) -> None:
    """Create, upload, show, download, delete and purge one image of the service at ``url``.

    ``images`` is its file store. Raises CheckError.
    """
    data = os.urandom(SIZE)
    with requests.Session() as session:
        session.trust_env = False

        def call(
            method: str, path: str, expected: int, *, document: dict[str, str] | None = None, body: bytes | None = None
        ) -> requests.Response:
            headers = {"Content-Type": "application/octet-stream"} if body is not None else {}
            try:
                answer = session.request(method, url + path, timeout=60, json=document, data=body, headers=headers)
            except requests.RequestException as error:
                raise CheckError(f"{method} {path}: {error}") from None
            if answer.status_code != expected:
                raise CheckError(f"{method} {path}: {answer.status_code}, not {expected}: {answer.text[:500]}")
            return answer

        fields = {"name": "run-local --check", "disk_format": "raw", "container_format": "bare"}
        image = call("POST", "/v2/images", 201, document=fields).json()["id"]
        path = f"/v2/images/{image}"
        say(f"created image {image}")
        call("PUT", f"{path}/file", 204, body=data)
        shown = call("GET", path, 200).json()
        _compare("status", shown["status"], "active")
        _compare("size", shown["size"], SIZE)
        _compare("checksum", shown["checksum"], hashlib.md5(data, usedforsecurity=False).hexdigest())
        _compare("file in the store", (images / image).read_bytes() == data, True)
        say(f"uploaded {SIZE} bytes; size and checksum are right")
        _compare("downloaded bytes", call("GET", f"{path}/file", 200).content == data, True)
        say("downloaded the same bytes")
        call("DELETE", path, 204)
        call("GET", path, 404)
        _wait_for_removal(images / image)
        say("deleted; the scrubber removed the file")


def _wait_for_removal(file: Path) -> None:
    deadline = time.monotonic() + _PURGE_SECONDS
    while file.exists():
        if time.monotonic() > deadline:
            raise CheckError(f"{file} is still there {_PURGE_SECONDS} s after the image was deleted")
        time.sleep(0.1)


def _compare(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise CheckError(f"{what}: {found!r}, not {expected!r}")
