"""Deletions in the registry: which bytes may be removed, who has claimed them, and how it ended."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import suppress

import orjson

from glance_common.model.context import RequestContext
from glance_common.model.errors import Conflict, GlanceError, Gone, NotFound
from glance_common.model.image import Deletion, Due, FailedPurge
from glance_common.model.status import LocationStatus
from glance_common.registry_client.http import RegistryHttp, segment
from glance_common.registry_client.uploads import MAX_ERROR

LOG = logging.getLogger(__name__)
_PAGE = 500


class DeletionsClient:
    """Claims bytes and records their removal. Every call may be repeated with the same token."""

    def __init__(self, http: RegistryHttp) -> None:
        self._http = http

    def due(
        self, context: RequestContext, *, limit: int, stores: Sequence[str] | None = None, scrub_time: float = 0
    ) -> Due:
        """Return at most ``limit`` locations that a claim with the same stores and scrub_time would get now."""
        query = {"limit": limit, "stores": _listed(stores), "scrub_time": scrub_time}
        answer = self._http.call(context, "GET", "/v1/deletions", query={"q": orjson.dumps(query).decode()})
        return Due(locations=tuple(answer["locations"]), oldest=float(answer["oldest"]))

    def claim(
        self,
        context: RequestContext,
        location: str,
        token: str,
        *,
        lease: int,
        stores: Sequence[str] | None = None,
        scrub_time: float = 0,
    ) -> Deletion | None:
        """Claim the bytes of ``location`` for ``lease`` seconds, or return None when they are not to be had.

        ``stores`` are those that the caller can work (None = all); ``scrub_time`` is its own delay in seconds of images
        deleted with a delay. Take a new ``token`` for each claim.
        """
        body = {"token": token, "lease": lease, "stores": _listed(stores), "scrub_time": scrub_time}
        try:
            answer = self._http.call(context, "POST", f"{_path(location)}/claim", body)
        except (Conflict, NotFound) as error:
            LOG.debug("%s", error.message)
            return None
        return Deletion.from_document(answer["deletion"])

    def claim_many(
        self,
        context: RequestContext,
        locations: Sequence[str],
        token: str,
        *,
        lease: int,
        stores: Sequence[str] | None = None,
        scrub_time: float = 0,
    ) -> tuple[list[Deletion], set[str]]:
        """Claim the bytes of at most 100 ``locations`` as ``claim`` does, all with one ``token``.

        Returns the claims, and the locations that are not to be had. Whatever is in neither needs ``claim``: all of
        them when the registry is an older one.
        """
        body = {
            "locations": list(locations), "token": token, "lease": lease, "stores": _listed(stores),
            "scrub_time": scrub_time,
        }
        try:
            answer = self._http.call(context, "POST", "/v1/deletions/claim", body)
        except NotFound:
            return [], set()
        return [Deletion.from_document(document) for document in answer["deletions"]], set(answer["refused"])

    def renew_many(self, context: RequestContext, locations: Sequence[str], token: str, *, lease: int) -> None:
        """Hold claims for ``lease`` seconds from now; what became another's is told by ``done``."""
        body = {"locations": list(locations), "token": token, "lease": lease}
        try:
            self._http.call(context, "POST", "/v1/deletions/renew", body)
        except NotFound:
            for location in locations:
                with suppress(Gone):
                    self.renew(context, location, token, lease=lease)

    def release(self, context: RequestContext, locations: Sequence[str], token: str) -> None:
        """Give claims back whose bytes were not touched; another process may claim them at once.

        Never raises: what cannot be told now ends with the lease.
        """
        try:
            self._http.call(context, "POST", "/v1/deletions/release", {"locations": list(locations), "token": token})
        except GlanceError as error:
            LOG.info("%d claims end with their lease: %s", len(locations), error)

    def done_many(self, context: RequestContext, locations: Sequence[str], token: str) -> set[str]:
        """Say that the store holds nothing under the keys any more; return the locations for which it is recorded.

        The others need ``done``: all of them when the registry is an older one.
        """
        body = {"locations": list(locations), "token": token}
        try:
            return set(self._http.call(context, "POST", "/v1/deletions/done", body)["done"])
        except NotFound:
            return set()

    def renew(self, context: RequestContext, location: str, token: str, *, lease: int) -> int:
        """Hold the claim for ``lease`` seconds from now; raise Gone when it is over or another's."""
        body = {"token": token, "lease": lease}
        return int(self._http.call(context, "POST", f"{_path(location)}/renew", body)["lease"])

    def done(self, context: RequestContext, location: str, token: str) -> bool:
        """Say that the store holds nothing under the key any more; return whether the image is deleted with it.

        Raises Gone when another has claimed the row meanwhile.
        """
        answer = self._http.call(context, "POST", f"{_path(location)}/done", {"token": token})
        return bool(answer["image_deleted"])

    def retry(
        self, context: RequestContext, location: str, token: str, *, error: str, delay: float, max_attempts: int
    ) -> LocationStatus:
        """Give the claim back after a failure, to be tried again after ``delay`` seconds; return the row's status.

        After ``max_attempts`` failures that is ``failed``. ``error`` is shown to operators and must not hold
        credentials. Raises Gone when another has claimed the row meanwhile.
        """
        body = {"token": token, "error": error[:MAX_ERROR], "delay": delay, "max_attempts": max_attempts}
        return LocationStatus(self._http.call(context, "POST", f"{_path(location)}/retry", body)["status"])

    def failed(self, context: RequestContext) -> Iterator[FailedPurge]:
        """Yield the purges that failed too often, page by page."""
        marker = None
        while True:
            query = orjson.dumps({"limit": _PAGE, "marker": marker}).decode()
            page = self._http.call(context, "GET", "/v1/deletions/failed", query={"q": query})["deletions"]
            yield from (FailedPurge.from_document(document) for document in page)
            if len(page) < _PAGE:
                return
            marker = page[-1]["location"]

    def replay(self, context: RequestContext, location: str, attempt: str) -> LocationStatus:
        """Let a purge that failed too often be tried again, due now; return the row's status.

        Raises NotFound, Conflict for a location that is not to be purged.
        """
        answer = self._http.call(context, "POST", f"{_path(location)}/replay", {"attempt": attempt})
        return LocationStatus(answer["deletion"]["status"])


def _listed(stores: Sequence[str] | None) -> list[str] | None:
    return None if stores is None else list(stores)


def _path(location: str) -> str:
    return f"/v1/deletions/{segment(location)}"
