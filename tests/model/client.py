"""Calls of the API, on one connection that is kept."""

from __future__ import annotations

import http.client
import json
import select
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.model.records import Actor

_SECONDS = 120.0


@dataclass(frozen=True)
class Answer:
    """What the API answered."""

    call: str
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        """The JSON of the body."""
        return json.loads(self.body)


class Client:
    """Speaks for any actor: the proxy before the API has told who calls."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_SECONDS)

    def call(
        self, actor: Actor, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send the request and return the answer, read to its end."""
        identity = {
            "X-Identity-Status": "Confirmed", "X-User-Id": actor.name, "X-Project-Id": actor.project,
            "X-Roles": ",".join(actor.roles),
        }
        self._drop_if_closed()
        every = {**identity, **(headers or {})}
        chunked = "Transfer-Encoding" in every
        # In two pieces, so that the first one is not all.
        pieces = iter((body[:1], body[1:])) if chunked and body else body
        self._connection.request(method, path, pieces, every, encode_chunked=chunked)
        response = self._connection.getresponse()
        asked = f"{method} {path} by {actor.name}"
        answer = Answer(asked, response.status, dict(response.getheaders()), response.read())
        if response.will_close:
            self._connection.close()
        return answer

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _drop_if_closed(self) -> None:
        """Begin a new connection when the server has closed this one meanwhile."""
        sock = self._connection.sock
        if sock is not None and select.select([sock], [], [], 0)[0]:
            self._connection.close()
