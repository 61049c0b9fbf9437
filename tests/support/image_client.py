"""A client of the API that never repeats anything and writes every answer into a ledger."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import requests

from tests.support.ledger import Content, Ledger, Outcome

PATCH_TYPE = "application/openstack-images-v2.1-json-patch"


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: ``status`` is None when the connection broke before there was one."""

    status: int | None
    body: bytes = b""

    @property
    def outcome(self) -> Outcome:
        """What the client knows now."""
        if self.status is None or self.status >= 500:
            return Outcome.UNCLEAR
        return Outcome.DONE if self.status < 300 else Outcome.REFUSED


class HeldBody:
    """A body whose second part is held back until release()."""

    def __init__(self, data: bytes, first: int, patience: float = 240) -> None:
        self._data, self._first, self._patience = data, first, patience
        self._go = threading.Event()

    def release(self) -> None:
        """Let the rest go."""
        self._go.set()

    def __iter__(self) -> Iterator[bytes]:
        yield self._data[: self._first]
        self._go.wait(self._patience)
        yield self._data[self._first :]


class ImageClient:
    """One client; it may be used from several threads, as every request has a connection of its own."""

    def __init__(self, url: str, ledger: Ledger, timeout: float = 60) -> None:
        self.ledger = ledger
        self._url = url
        self._timeout = timeout

    def create(self, name: str | None = None, image: str | None = None) -> tuple[str, Answer]:
        """Create an image that can take raw data; return its id and the answer."""
        image = image or str(uuid4())
        document = {"id": image, "disk_format": "raw", "container_format": "bare"}
        answer = self._send("POST", "/v2/images", json=document if name is None else {**document, "name": name})
        self.ledger.created(image, answer.outcome, name)
        return image, answer

    def created(self, data: bytes | None = None) -> str:
        """Return the id of a new image that surely exists, with ``data`` surely stored."""
        image, answer = self.create()
        assert answer.status == 201, answer
        if data is not None:
            answer = self.upload(image, data)
            assert answer.status == 204, answer
        return image

    def upload(self, image: str, data: bytes, body: Iterable[bytes] | None = None, **headers: str) -> Answer:
        """Upload ``data``, as ``body`` sends them."""
        content = Content.of(data)
        self.ledger.sending(image, content)
        answer = self._send(
            "PUT", f"/v2/images/{image}/file", data=data if body is None else body,
            headers={"Content-Type": "application/octet-stream", **headers},
        )
        self.ledger.uploaded(image, answer.outcome, content)
        return answer

    def download(self, image: str) -> Answer:
        """Download all data."""
        answer = self._send("GET", f"/v2/images/{image}/file")
        if answer.status == 200:
            self.ledger.downloaded(image, Content.of(answer.body))
        return answer

    def show(self, image: str) -> Answer:
        """Show the image."""
        return self._send("GET", f"/v2/images/{image}")

    def rename(self, image: str, name: str) -> Answer:
        """Change the name."""
        change = [{"op": "add", "path": "/name", "value": name}]
        answer = self._send("PATCH", f"/v2/images/{image}", json=change, headers={"Content-Type": PATCH_TYPE})
        self.ledger.renamed(image, answer.outcome, name)
        return answer

    def share(self, image: str, member: str) -> Answer:
        """Add a member."""
        answer = self._send("POST", f"/v2/images/{image}/members", json={"member": member})
        self.ledger.shared(image, answer.outcome, member)
        return answer

    def delete(self, image: str) -> Answer:
        """Delete the image."""
        answer = self._send("DELETE", f"/v2/images/{image}")
        self.ledger.deleted(image, answer.outcome)
        return answer

    def _send(self, method: str, path: str, **arguments: Any) -> Answer:
        try:
            with requests.Session() as session:
                session.trust_env = False
                response = session.request(method, self._url + path, timeout=self._timeout, **arguments)
        except requests.RequestException:
            return Answer(None)
        if response.status_code >= 500 and response.status_code != 503:
            self.ledger.defects.append(f"{method} {path}: {response.status_code} {response.text[:300]}")
        return Answer(response.status_code, response.content)
