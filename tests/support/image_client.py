"""A client of the API that never repeats anything and writes every answer into a ledger."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import md5
from types import MappingProxyType
from typing import Any
from uuid import uuid4

import requests

from tests.support.ledger import DIRECT, DOWNLOAD, FAILURE, SUCCESS, WEB, Content, Ledger, Outcome

PATCH_TYPE = "application/openstack-images-v2.1-json-patch"
OCTETS = {"Content-Type": "application/octet-stream"}
PAGE = 100

_HONEST = (502, 503, 504)
"""Statuses above 500 that say what is down: something behind the service, or the node with the staged data."""

_NONE: Mapping[str, str] = MappingProxyType({})


def identity(project: str, roles: str = "member,reader") -> dict[str, str]:
    """Return the headers by which a proxy in front says who is calling, under the flavor trusted-auth."""
    return {"X-Identity-Status": "Confirmed", "X-User-Id": "someone", "X-Project-Id": project, "X-Roles": roles}


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: ``status`` is None when the connection broke before there was one."""

    status: int | None
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def document(self) -> dict[str, Any]:
        """The JSON object in the body."""
        return dict(json.loads(self.body))

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

    def __init__(
        self, url: str, ledger: Ledger, timeout: float = 60, headers: Mapping[str, str] = _NONE
    ) -> None:
        self.ledger = ledger
        self._url = url
        self._timeout = timeout
        self._headers = headers

    def create(
        self, name: str | None = None, image: str | None = None, disk_format: str = "raw",
        container_format: str = "bare",
    ) -> tuple[str, Answer]:
        """Create an image that can take data of a format; return its id and the answer."""
        image = image or str(uuid4())
        document = {"id": image, "disk_format": disk_format, "container_format": container_format}
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
            "PUT", f"/v2/images/{image}/file", data=data if body is None else body, headers={**OCTETS, **headers},
        )
        self.ledger.uploaded(image, answer.outcome, content)
        return answer

    def download(self, image: str) -> Answer:
        """Download all data."""
        answer = self._send("GET", f"/v2/images/{image}/file")
        if answer.status == 200:
            self.ledger.downloaded(image, Content.of(answer.body))
        return answer

    def download_part(self, image: str, first: int, count: int) -> Answer:
        """Download ``count`` bytes from ``first`` on, less where the data end before."""
        wanted = {"Range": f"bytes={first}-{first + count - 1}"}
        answer = self._send("GET", f"/v2/images/{image}/file", headers=wanted)
        if answer.status == 206:
            total = int(answer.headers["Content-Range"].rpartition("/")[2])
            self.ledger.part_received(image, first, answer.body, total)
        return answer

    def register(self, image: str, url: str, data: bytes) -> Answer:
        """Make the data at a URL those of an image without data."""
        content = Content.of(data)
        self.ledger.sending(image, content)
        digests = {"checksum": md5(data, usedforsecurity=False).hexdigest(), "os_hash_algo": "sha512",
                   "os_hash_value": content.sha512}
        location = {"url": url, "metadata": {}, "validation_data": digests}
        answer = self._patch(image, "/locations/-", location)
        self.ledger.uploaded(image, answer.outcome, content)
        return answer

    def show(self, image: str) -> Answer:
        """Show the image."""
        return self._send("GET", f"/v2/images/{image}")

    def rename(self, image: str, name: str) -> Answer:
        """Change the name."""
        answer = self._patch(image, "/name", name)
        self.ledger.renamed(image, answer.outcome, name)
        return answer

    def describe(self, image: str, name: str, value: str) -> Answer:
        """Give the image a property."""
        answer = self._patch(image, f"/{name}", value)
        self.ledger.described(image, answer.outcome, name, value)
        return answer

    def _patch(self, image: str, path: str, value: object) -> Answer:
        change = [{"op": "add", "path": path, "value": value}]
        return self._send("PATCH", f"/v2/images/{image}", json=change, headers={"Content-Type": PATCH_TYPE})

    def tag(self, image: str, tag: str, present: bool = True) -> Answer:
        """Put a tag on the image, or take it off."""
        answer = self._send("PUT" if present else "DELETE", f"/v2/images/{image}/tags/{tag}")
        self.ledger.tagged(image, answer.outcome, tag, present)
        return answer

    def deactivate(self, image: str, off: bool = True) -> Answer:
        """Deactivate the image, or activate it again."""
        answer = self._send("POST", f"/v2/images/{image}/actions/{'deactivate' if off else 'reactivate'}")
        self.ledger.deactivated(image, answer.outcome, off)
        return answer

    def drop(self, image: str, store: str) -> Answer:
        """Delete the copy in one store."""
        answer = self._send("DELETE", f"/v2/stores/{store}/{image}")
        self.ledger.dropped(image, answer.outcome, store)
        return answer

    def namespace(self, name: str, present: bool = True) -> Answer:
        """Create a namespace of metadata definitions, or delete it."""
        if present:
            answer = self._send("POST", "/v2/metadefs/namespaces", json={"namespace": name})
        else:
            answer = self._send("DELETE", f"/v2/metadefs/namespaces/{name}")
        self.ledger.namespace_told(name, answer.outcome, present)
        return answer

    def has_namespace(self, name: str) -> int | None:
        """Return the status of the answer about a namespace."""
        return self._send("GET", f"/v2/metadefs/namespaces/{name}").status

    def share(self, image: str, member: str) -> Answer:
        """Add a member."""
        answer = self._send("POST", f"/v2/images/{image}/members", json={"member": member})
        self.ledger.shared(image, answer.outcome, member)
        return answer

    def unshare(self, image: str, member: str) -> Answer:
        """Remove a member."""
        answer = self._send("DELETE", f"/v2/images/{image}/members/{member}")
        self.ledger.shared(image, answer.outcome, member, None)
        return answer

    def answer_share(self, image: str, member: str, status: str) -> Answer:
        """Accept or reject an image, as the member."""
        answer = self._send("PUT", f"/v2/images/{image}/members/{member}", json={"status": status})
        self.ledger.shared(image, answer.outcome, member, status)
        return answer

    def members(self, image: str) -> dict[str, str] | None:
        """Return the status of each member that the caller may see, None without an answer."""
        answer = self._send("GET", f"/v2/images/{image}/members")
        if answer.status != 200:
            return None
        return {member["member_id"]: member["status"] for member in answer.document["members"]}

    def listed(self) -> set[str]:
        """Return the ids of all images in the caller's list, page by page; each page has to be answered."""
        found: set[str] = set()
        path: str | None = f"/v2/images?limit={PAGE}"
        while path is not None:
            answer = self._send("GET", path)
            assert answer.status == 200, answer
            found |= {image["id"] for image in answer.document["images"]}
            path = answer.document.get("next")
        return found

    def stage(self, image: str, data: bytes) -> Answer:
        """Stage ``data`` for an import."""
        content = Content.of(data)
        self.ledger.sending(image, content)
        answer = self._send("PUT", f"/v2/images/{image}/stage", data=data, headers=OCTETS)
        self.ledger.staged(image, answer.outcome, content)
        return answer

    def import_staged(self, image: str, *stores: str) -> Answer:
        """Import what is staged."""
        return self._import(image, DIRECT, None, stores, {})

    def import_web(self, image: str, uri: str, content: Content | None, *stores: str) -> Answer:
        """Import what ``uri`` holds: ``content``, None when it cannot be got whole."""
        if content is not None:
            self.ledger.sending(image, content)
        return self._import(image, WEB, content, stores, {"uri": uri})

    def import_remote(self, image: str, remote: str, region: str, endpoint: str, content: Content) -> Answer:
        """Import the image ``remote``, which holds ``content``, from the service of another region."""
        self.ledger.sending(image, content)
        catalog = [{"type": "image", "endpoints": [{"region": region, "publicURL": endpoint}]}]
        headers = {"X-Auth-Token": "a-token", "X-Service-Catalog": json.dumps(catalog)}
        return self._import(
            image, DOWNLOAD, content, (), {"glance_region": region, "glance_image_id": remote}, headers
        )

    def _import(
        self, image: str, method: str, content: Content | None, stores: Iterable[str], arguments: Mapping[str, str],
        headers: Mapping[str, str] = _NONE,
    ) -> Answer:
        request, answer = self._ask_import(image, {"name": method, **arguments}, stores, headers)
        self.ledger.imported(image, answer.outcome, request, method, content)
        return answer

    def copy(self, image: str, store: str) -> Answer:
        """Copy the data to one more store."""
        request, answer = self._ask_import(image, {"name": "copy-image"}, [store], _NONE)
        self.ledger.copied(image, answer.outcome, request, store)
        return answer

    def _ask_import(
        self, image: str, method: Mapping[str, str], stores: Iterable[str], headers: Mapping[str, str]
    ) -> tuple[str, Answer]:
        request = f"req-{uuid4()}"
        document = {"method": dict(method), **({"stores": list(stores)} if stores else {})}
        # By the id of the request the task is found again, whatever became of the answer.
        headers = {**headers, "X-Openstack-Request-Id": request}
        return request, self._send("POST", f"/v2/images/{image}/import", json=document, headers=headers)

    def tasks(self, image: str) -> dict[str, str] | None:
        """Return the status of each task of the image by the id of its request, None without an answer."""
        answer = self._send("GET", f"/v2/images/{image}/tasks")
        if answer.status != 200:
            return None
        tasks = answer.document["tasks"]
        for task in tasks:
            if task["status"] in (SUCCESS, FAILURE):
                self.ledger.task_seen(image, task["request_id"], task["status"], task["message"])
        return {task["request_id"]: task["status"] for task in tasks}

    def delete(self, image: str) -> Answer:
        """Delete the image."""
        answer = self._send("DELETE", f"/v2/images/{image}")
        self.ledger.deleted(image, answer.outcome)
        return answer

    def _send(
        self, method: str, path: str, headers: Mapping[str, str] = _NONE, **arguments: Any
    ) -> Answer:
        arguments = {"timeout": self._timeout, "headers": {**self._headers, **headers}, **arguments}
        answer = self._ask(method, path, arguments)
        self.ledger.heard(answer.status)
        if answer.status is not None and answer.status >= 500 and answer.status not in _HONEST:
            self.ledger.defects.append(f"{method} {path}: {answer.status} {answer.body[:300]!r}")
        return answer

    def _ask(self, method: str, path: str, arguments: Mapping[str, Any]) -> Answer:
        try:
            with requests.Session() as session:
                session.trust_env = False
                response = session.request(method, self._url + path, **arguments)
        except requests.RequestException:
            return Answer(None)
        return Answer(response.status_code, response.content, response.headers)
