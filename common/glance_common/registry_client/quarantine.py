"""Copies and orphans in the registry: pages to verify, verdicts, and the quarantine. Every call may be repeated."""

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from glance_common.model.context import RequestContext
from glance_common.model.errors import Conflict, NotFound
from glance_common.model.image import Image, ImageLocation, Upload
from glance_common.model.stored_copy import OrphanObject, Quarantined, StoredCopy
from glance_common.registry_client.http import RegistryHttp, segment

LOG = logging.getLogger(__name__)

PAGE = 500
MAX_REASON = 1000
"""Characters of a reason that the registry keeps."""


class QuarantineClient:
    """Lists copies, records verdicts, and ends the quarantine."""

    def __init__(self, http: RegistryHttp) -> None:
        self._http = http

    def of_store(
        self, context: RequestContext, store: str, after: str | None = None, *, limit: int = PAGE
    ) -> list[StoredCopy]:
        """Return the first copies in a store behind the key ``after``, in the order of their keys."""
        return self._page(context, {"store": store, "after": after, "limit": limit})

    def with_key(self, context: RequestContext, store: str, key: str) -> StoredCopy | None:
        """Return the copy that owns a key of a store now, None without any."""
        found = self._page(context, {"store": store, "key": key, "limit": 1})
        return found[0] if found else None

    def of_image(self, context: RequestContext, image_id: str) -> list[StoredCopy]:
        """Return the copies of an image."""
        return self._page(context, {"image_id": image_id, "limit": PAGE})

    def _page(self, context: RequestContext, query: dict[str, Any]) -> list[StoredCopy]:
        answer = self._http.call(context, "GET", "/v1/locations", query={"q": orjson.dumps(query).decode()})
        return [StoredCopy.from_document(document) for document in answer["locations"]]

    def verified(self, context: RequestContext, location: str) -> bool:
        """Record that a copy was read and found right now; return whether it is still in use."""
        return bool(self._http.call(context, "POST", f"{_path(location)}/verified", {})["active"])

    def put(self, context: RequestContext, location: str, reason: str) -> tuple[Quarantined, bool] | None:
        """Take a copy out of use; return it and whether this was done now.

        None when there is nothing to take: the copy is not in use any more. ``reason`` is for operators and must not
        hold credentials.
        """
        try:
            answer = self._http.call(context, "POST", f"{_path(location)}/quarantine", {"reason": reason[:MAX_REASON]})
        except (Conflict, NotFound) as error:
            LOG.info("%s", error.message)
            return None
        return Quarantined.from_document(answer["location"]), bool(answer["new"])

    def release(self, context: RequestContext, location: str) -> Quarantined:
        """Put a copy that was read and found right back into use. Raises NotFound, Conflict."""
        return Quarantined.from_document(self._http.call(context, "POST", f"{_path(location)}/release", {})["location"])

    def discard(self, context: RequestContext, location: str) -> Quarantined:
        """Give a quarantined copy to purge. Raises NotFound, Conflict, also for the last copy of an image."""
        return Quarantined.from_document(self._http.call(context, "POST", f"{_path(location)}/discard", {})["location"])

    def replace(self, context: RequestContext, location: str, attempt: str, *, lease: int) -> Upload:
        """Begin to write a good copy in place of a quarantined one, for ``lease`` seconds; end it as every upload.

        Raises NotFound, Conflict, Gone for an attempt that is over.
        """
        body = {"attempt": attempt, "lease": lease}
        answer = self._http.call(context, "POST", f"{_path(location)}/replacement", body)
        row = answer["location"]
        place = ImageLocation(row["id"], row["store"], row["key"], row["metadata"])
        return Upload(attempt=attempt, location=place, image=Image.from_document(answer["image"]))

    def listed(self, context: RequestContext) -> Iterator[Quarantined]:
        """Yield every copy in quarantine, page by page."""
        for document in self._pages(context, "/v1/quarantine", "locations", {}):
            yield Quarantined.from_document(document)

    def orphans(self, context: RequestContext, store: str | None = None) -> Iterator[OrphanObject]:
        """Yield every listed orphan, of one store or of all, page by page."""
        for document in self._pages(context, "/v1/orphans", "orphans", {"store": store}):
            yield OrphanObject.from_document(document)

    def _pages(
        self, context: RequestContext, path: str, name: str, query: dict[str, Any]
    ) -> Iterator[dict[str, Any]]:
        marker = None
        while True:
            asked = orjson.dumps({**query, "limit": PAGE, "marker": marker}).decode()
            page: list[dict[str, Any]] = self._http.call(context, "GET", path, query={"q": asked})[name]
            yield from page
            if len(page) < PAGE:
                return
            marker = page[-1]["id"]

    def record_orphans(self, context: RequestContext, store: str, objects: Sequence[tuple[str, int]]) -> int:
        """List objects (key, bytes) of a store that no location owns, at most 1000; return how many are new."""
        body = {"objects": [{"key": key, "size": size} for key, size in objects]}
        return int(self._http.call(context, "POST", f"/v1/stores/{segment(store)}/orphans", body)["new"])

    def claim_orphan(self, context: RequestContext, orphan: str, token: str, *, lease: int) -> OrphanObject:
        """Claim the bytes of an orphan for ``lease`` seconds, or go on with the claim. Raises NotFound, Conflict."""
        body = {"token": token, "lease": lease}
        answer = self._http.call(context, "POST", f"/v1/orphans/{segment(orphan)}/claim", body)
        return OrphanObject.from_document(answer["orphan"])

    def orphan_done(self, context: RequestContext, orphan: str, token: str) -> None:
        """Say that the bytes of a claimed orphan are gone."""
        self._http.call(context, "POST", f"/v1/orphans/{segment(orphan)}/done", {"token": token})

    def forget_orphan(self, context: RequestContext, orphan: str) -> bool:
        """Take an orphan that is none any more off the list; return whether it was there."""
        return bool(self._http.call(context, "POST", f"/v1/orphans/{segment(orphan)}/forget", {})["forgotten"])


def _path(location: str) -> str:
    return f"/v1/locations/{segment(location)}"
