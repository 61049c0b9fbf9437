"""Calls of the image API as one caller, over HTTP and byte by byte."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

import requests

OCTETS = {"Content-Type": "application/octet-stream"}
PATCH = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
RAW = {"disk_format": "raw", "container_format": "bare"}
MIB = 1024 * 1024

_NONE: Mapping[str, str] = MappingProxyType({})


class Caller:
    """One user of one service; ``headers`` go with every call.

    Over TLS ``verify`` is the CA to trust and ``certificate`` what the caller shows, with its key.
    """

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str] = _NONE,
        *,
        verify: Path | None = None,
        certificate: tuple[Path, Path] | None = None,
    ) -> None:
        self.url = url
        self.headers = dict(headers)
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.verify = str(verify) if verify else True
        self._session.cert = (str(certificate[0]), str(certificate[1])) if certificate else None

    def call(
        self, method: str, path: str, *expected: int, headers: Mapping[str, str] = _NONE, **how: Any
    ) -> requests.Response:
        """Return the answer; with ``expected`` statuses any other one is a failure that shows the body."""
        answer = self._session.request(
            method, self.url + path, headers={**self.headers, **headers}, **{"timeout": 60, **how}
        )
        what = f"{method} {path}: {answer.status_code} {answer.text[:500]}"
        assert not expected or answer.status_code in expected, what
        return answer

    def create(self, **fields: Any) -> dict[str, Any]:
        """Create an image, raw and bare unless told otherwise, and return its document."""
        return dict(self.call("POST", "/v2/images", 201, json={**RAW, **fields}).json())

    def upload(
        self, image: str, data: bytes | Iterable[bytes], *expected: int, headers: Mapping[str, str] = _NONE
    ) -> requests.Response:
        """Upload; an iterable goes out chunked."""
        path = f"/v2/images/{image}/file"
        return self.call("PUT", path, *(expected or (204,)), headers={**OCTETS, **headers}, data=data)

    def uploaded(self, data: bytes, **fields: Any) -> str:
        """Create an active image with these data and return its id."""
        image = str(self.create(**fields)["id"])
        self.upload(image, data)
        return image

    def show(self, image: str) -> dict[str, Any]:
        """Return the document of an image."""
        return dict(self.call("GET", f"/v2/images/{image}", 200).json())

    def download(self, image: str) -> bytes:
        """Return the data of an image."""
        return self.call("GET", f"/v2/images/{image}/file", 200).content

    def patch(self, image: str, *changes: Mapping[str, Any], expected: int = 200) -> requests.Response:
        """Apply JSON-patch operations."""
        return self.call("PATCH", f"/v2/images/{image}", expected, json=list(changes), headers=PATCH)

    def delete(self, image: str, *expected: int) -> requests.Response:
        """Delete an image."""
        return self.call("DELETE", f"/v2/images/{image}", *(expected or (204,)))

    def names(self, **query: str) -> set[str]:
        """Return the names on the first page of a list."""
        return {image["name"] for image in self.call("GET", "/v2/images", 200, params=query).json()["images"]}

    def begin_upload(self, image: str, *, length: int | None = None, headers: Mapping[str, str] = _NONE) -> Wire:
        """Send the head of an upload, announced as ``length`` bytes or chunked, and leave the rest to the test."""
        size = {"Transfer-Encoding": "chunked"} if length is None else {"Content-Length": str(length)}
        return self.begin("PUT", f"/v2/images/{image}/file", {**OCTETS, **size, **headers})

    def begin(
        self, method: str, path: str, headers: Mapping[str, str] = _NONE, receive_buffer: int | None = None
    ) -> Wire:
        """Send the head of a request; the kernel takes in ``receive_buffer`` bytes before they are read."""
        address = urlsplit(self.url)
        sock = socket.socket()
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.settimeout(60)
        sock.connect((address.hostname, address.port))
        wire = Wire(sock)
        everything = {"Host": address.netloc, "Connection": "close", **self.headers, **headers}
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in everything.items())]
        wire.send("\r\n".join([*lines, "", ""]).encode())
        return wire


class Wire:
    """A connection on which a test sends what it likes."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.sock.sendall(data)

    def chunk(self, data: bytes) -> None:
        """Send one chunk of a chunked body; an empty one ends it."""
        self.send(b"%x\r\n%s\r\n" % (len(data), data))

    def finish(self) -> None:
        """Tell the server that nothing more will come, and keep listening."""
        self.sock.shutdown(socket.SHUT_WR)

    def read(self, size: int) -> bytes:
        """Return exactly ``size`` bytes, or what came before the end."""
        received = bytearray()
        while len(received) < size and (piece := self.sock.recv(min(65536, size - len(received)))):
            received += piece
        return bytes(received)

    def rest(self) -> bytes:
        """Return everything up to the end of the connection, however it ends."""
        received = bytearray()
        with suppress(ConnectionResetError):
            while piece := self.sock.recv(65536):
                received += piece
        return bytes(received)

    def answer(self) -> tuple[int, bytes]:
        """Read to the end; return status and body. No status is 0: the server closed without a word."""
        head, _, body = self.rest().partition(b"\r\n\r\n")
        return (int(head.split()[1]) if head else 0), body

