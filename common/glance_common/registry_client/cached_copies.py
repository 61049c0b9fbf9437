"""The copies in the caches of nodes, as the registry knows them (``image_cache_driver = centralized_db``)."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

from glance_common.model.context import RequestContext, system_context
from glance_common.registry_client.http import RegistryHttp, segment

MOST_USES = 1000
"""Uses in one call."""


class CachedCopiesClient:
    """Tells and asks which node has which copies. A repeated call may count a use twice; all else may be repeated."""

    def __init__(self, http: RegistryHttp) -> None:
        self._http = http

    def of_node(self, node: str, image_id: str | None = None) -> list[dict[str, Any]]:
        """Return the copies of a node, or the one of an image, as objects of the protocol."""
        body = {"node": node, "image_id": image_id}
        answer = self._http.call(_context(), "POST", "/v1/cache/search", body, only_reads=True)
        found: list[dict[str, Any]] = answer["images"]
        return found

    def nodes(self, context: RequestContext, image_id: str) -> list[str]:
        """Return the nodes that have a copy of an image."""
        found: list[str] = self._http.call(context, "GET", f"{_path(image_id)}/nodes")["nodes"]
        return found

    def put(self, node: str, image_id: str, values: Mapping[str, Any]) -> None:
        """Write the copy of an image in place of what was told of it before."""
        self._http.call(_context(), "PUT", _path(image_id), {"node": node, **values})

    def remove(self, node: str, image_id: str) -> None:
        """Forget the copy of an image, if there is one."""
        self._http.call(_context(), "DELETE", _path(image_id), {"node": node})

    def count(self, node: str, uses: Sequence[tuple[str, int, float]]) -> list[str]:
        """Add hits and the time of the last one; return the images of which the node has no copy."""
        unknown: list[str] = []
        for start in range(0, len(uses), MOST_USES):
            told = [
                {"image_id": image_id, "hits": hits, "accessed": accessed}
                for image_id, hits, accessed in uses[start:start + MOST_USES]
            ]
            unknown += self._http.call(_context(), "POST", "/v1/cache/uses", {"node": node, "uses": told})["unknown"]
        return unknown


def _context() -> RequestContext:
    return system_context(f"req-{uuid4()}")


def _path(image_id: str) -> str:
    return f"/v1/cache/images/{segment(image_id)}"
