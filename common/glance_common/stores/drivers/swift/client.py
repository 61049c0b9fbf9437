"""The calls to one account of a Swift server."""

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, TypeVar

from swiftclient import client as swiftclient

from glance_common.fetch.guards import Guard
from glance_common.stores.drivers.swift.errors import NoContainer, SwiftFailed
from glance_common.stores.drivers.swift.tokens import SwiftToken, TokenSource
from glance_common.stores.drivers.swift.wire import SwiftWire

_READS_OF_A_LARGE_OBJECT = 10
"""Times of a read that a server may take for a call that works on all segments: it sends blanks meanwhile."""

_LIMITS_KEPT = 3600.0
"""Seconds after which a server is asked again what it offers."""

_VERSION = re.compile(r"/v[0-9][0-9.]*(/.*)?$")

_NO_HEADERS: Mapping[str, str] = MappingProxyType({})

Call = Callable[..., Any]
T = TypeVar("T")


class SwiftAccount:
    """One account. Calls raise SwiftFailed, and StoreFull when there is no room.

    A token that the server refuses is exchanged for a new one, once a call.
    """

    def __init__(self, tokens: TokenSource, wire: SwiftWire, name: str) -> None:
        """``name`` is for texts of errors."""
        self._tokens = tokens
        self._wire = wire
        self._name = name
        self._info: tuple[float, dict[str, Any]] | None = None

    def head(self, container: str, name: str, *, manifest: bool = False) -> Mapping[str, str] | None:
        """Return what the server says about an object, None when it has none. That alone proves nothing.

        With ``manifest`` it is about what names the segments of a large object, which is there also without them.
        """
        # Such a question decides about deletes, so all replicas are asked.
        of_manifest = {"query_string": "multipart-manifest=get", "headers": {"X-Newest": "true"}}
        more: dict[str, Any] = of_manifest if manifest else {}
        try:
            found: Mapping[str, str] = self._call("head", swiftclient.head_object, container, name, **more)
        except SwiftFailed as failed:
            if failed.status == 404:
                return None
            raise
        return found

    def get(self, container: str, name: str, headers: Mapping[str, str]) -> "SwiftBody":
        """Return the answer to a read, whose data are still to be read."""
        call = partial(swiftclient.get_object, resp_chunk_size=1)
        found, body = self._call("get", call, container, name, headers=dict(headers))
        guard = self._wire.exchanges.current()
        guard.begin_body(document=False)
        return SwiftBody(self._wire, f"{self._name}/{container}", found, body, guard)

    def put(
        self, container: str, name: str, pieces: Iterable[bytes | memoryview], headers: Mapping[str, str],
        before_end: Callable[[], object] = lambda: None,
    ) -> str:
        """Write an object of any number of bytes and return its ETag.

        Pieces that come once only are not sent again. ``before_end`` is called when all pieces are sent and before the
        object appears; what it raises, and what ``pieces`` raise, comes out, and there is no object then.
        """
        body = _Body(pieces, before_end, self._wire)
        try:
            etag: str = self._call(
                "put", swiftclient.put_object, container, name, contents=iter(body), headers=dict(headers),
                is_stream=True,
            )
        except Exception:
            if body.failed is not None:
                raise body.failed from None
            raise
        return etag

    def put_manifest(self, container: str, name: str, manifest: bytes, headers: Mapping[str, str]) -> None:
        """Write the manifest of an object in segments."""
        self._call(
            "manifest", swiftclient.put_object, container, name, contents=manifest, headers=dict(headers),
            query_string="multipart-manifest=put", reads=_READS_OF_A_LARGE_OBJECT,
        )

    def delete(self, container: str, name: str, *, with_segments: bool = False) -> bool:
        """Delete an object, with all segments that its manifest names; return whether there was one."""
        query, reads = ("multipart-manifest=delete", _READS_OF_A_LARGE_OBJECT) if with_segments else (None, 1)
        try:
            self._call("delete", swiftclient.delete_object, container, name, query_string=query, reads=reads)
        except SwiftFailed as failed:
            if failed.status == 404:
                return False
            raise
        return True

    def page(self, container: str, prefix: str, after: str, most: int) -> list[dict[str, Any]]:
        """Return the next objects in the order of their names. Raises NoContainer."""
        try:
            found: list[dict[str, Any]] = self._call(
                "list", swiftclient.get_container, container, prefix=prefix, marker=after, limit=most
            )[1]
        except SwiftFailed as failed:
            raise self._explained(failed, container) from None
        return found

    def pages(self, container: str, prefix: str, after: str = "", most: int = 1000) -> Iterator[dict[str, Any]]:
        """Yield all objects in the order of their names. Raises NoContainer, and SwiftFailed for a list without end."""
        while found := self.page(container, prefix, after, most):
            yield from found
            if found[-1]["name"] <= after:
                raise SwiftFailed(f"{self._name}/{container}: the list of objects does not go on behind {after}")
            after = found[-1]["name"]

    def containers(self, prefix: str) -> list[str]:
        """Return the names of the containers with this prefix, in order."""
        names: list[str] = []
        while found := self._call("list", swiftclient.get_account, prefix=prefix, marker=names[-1] if names else "")[1]:
            new = [str(entry["name"]) for entry in found]
            if names and new[-1] <= names[-1]:
                raise SwiftFailed(f"{self._name}: the list of containers does not end")
            names += new
        return names

    def head_container(self, container: str) -> Mapping[str, str]:
        """Return what the server says about a container. Raises NoContainer."""
        try:
            found: Mapping[str, str] = self._call("head", swiftclient.head_container, container)
        except SwiftFailed as failed:
            raise self._explained(failed, container) from None
        return found

    def put_container(self, container: str, headers: Mapping[str, str] = _NO_HEADERS) -> None:
        """Create a container with these headers; one that exists gets them."""
        self._call("create", swiftclient.put_container, container, headers=dict(headers))

    def post_container(self, container: str, headers: Mapping[str, str]) -> None:
        """Change what the headers say of a container. Raises NoContainer."""
        try:
            self._call("change", swiftclient.post_container, container, headers=dict(headers))
        except SwiftFailed as failed:
            raise self._explained(failed, container) from None

    def delete_container(self, container: str) -> None:
        """Delete an empty container; nothing happens when there is none."""
        try:
            self._call("delete", swiftclient.delete_container, container)
        except SwiftFailed as failed:
            if failed.status != 404:
                raise

    def head_account(self) -> Mapping[str, str]:
        """Return what the server says about the account."""
        found: Mapping[str, str] = self._call("head", swiftclient.head_account)
        return found

    def storage_url(self) -> str:
        """Return the URL of the account."""
        return self._tokens.get().url

    def info(self) -> dict[str, Any]:
        """Return what the server says it offers; empty when it says nothing."""
        known = self._info
        if known is None or time.monotonic() - known[0] > _LIMITS_KEPT:
            url = _VERSION.sub("", self._tokens.get().url) + "/info"
            try:
                found = self._wire.exchange(
                    "info", self._name, lambda: swiftclient.get_capabilities(self._wire.connection(url))
                )
            except SwiftFailed as failed:
                if failed.status not in (401, 403, 404):
                    raise
                found = {}
            self._info = known = (time.monotonic(), found if isinstance(found, dict) else {})
        return known[1]

    def _explained(self, failed: SwiftFailed, container: str) -> SwiftFailed:
        return NoContainer(f"{self._name}/{container}") if failed.status == 404 else failed

    def _call(
        self, operation: str, call: Call, *names: str, reads: int = 1, is_stream: bool = False, **parameters: Any
    ) -> Any:
        """Call a function of python-swiftclient with URL, token and a connection."""
        place = "/".join((self._name, *names[:1]))

        def once(token: SwiftToken) -> Any:
            return call(token.url, token.secret, *names, http_conn=self._wire.connection(token.url), **parameters)

        token = self._tokens.get()
        limits = self._wire.limits(reads=reads)
        try:
            return self._wire.exchange(operation, place, partial(once, token), limits)
        except SwiftFailed as failed:
            if failed.status != 401:
                raise
            self._tokens.forget(token)
            if is_stream:
                raise
        return self._wire.exchange(operation, place, partial(once, self._tokens.get()), limits)


class SwiftBody:
    """The answer to a read; ``headers`` are in lower case."""

    def __init__(self, wire: SwiftWire, place: str, headers: Mapping[str, str], body: Any, guard: Guard) -> None:
        self.headers = headers
        self._wire = wire
        self._place = place
        self._body = body
        self._guard = guard

    def read(self, size: int) -> bytes:
        """Return the next ``size`` bytes, in any thread; fewer only at the end. Raises SwiftFailed."""
        self._wire.go_on(self._guard)
        self._guard.begin_read()
        piece: bytes = b""
        try:
            piece = self._wire.guarded("read", self._place, partial(self._body.read, size))
        finally:
            self._guard.end_read(len(piece))
        return piece

    def close(self) -> None:
        """Give the connection back, or end it when data are still to come."""
        self._body.close()


class _Body:
    """What is sent, piece by piece; the server has a deadline for each, and the source takes the time that it needs."""

    def __init__(
        self, pieces: Iterable[bytes | memoryview], before_end: Callable[[], object], wire: SwiftWire
    ) -> None:
        self._pieces = pieces
        self._before_end = before_end
        self._wire = wire
        self.failed: BaseException | None = None
        """What the source, or the last look, raised."""

    def __iter__(self) -> Iterator[bytes | memoryview]:
        try:
            for piece in self._pieces:
                self._wire.exchanges.begin(self._wire.limits(len(piece)))
                yield piece
            self._before_end()
        except GeneratorExit:
            raise
        except BaseException as error:
            self.failed = error
            raise
        self._wire.exchanges.begin(self._wire.limits())
