"""Images in the registry: records, properties, tags, states."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from glance_common.model.context import RequestContext
from glance_common.model.image import Image, ImagePage
from glance_common.model.image_merge import ImageMerge
from glance_common.model.limits import Limits
from glance_common.model.status import ImageStatus
from glance_common.registry_client.http import RegistryHttp, segment
from glance_common.registry_client.usage import with_limits


class ImagesClient:
    """Reads and writes image rows. Every write may be repeated with the same attempt id."""

    def __init__(self, http: RegistryHttp) -> None:
        self._http = http

    def list(self, context: RequestContext, query: dict[str, Any]) -> ImagePage:
        """Return a page of visible images, which ends before its limit when it would be too large; ``query`` is the
        query of the protocol.

        Raises BadRequest for an unknown marker, Forbidden for one that the caller may not see.
        """
        answer = self._http.call(context, "POST", "/v1/images/search", query, only_reads=True)
        return ImagePage(Image.from_rows(answer["fields"], answer["images"]), answer["more"])

    def get(
        self, context: RequestContext, image_id: str, *, locations: bool = False, deleted: bool = False
    ) -> Image:
        """Return one visible image, with its active locations when asked; raise NotFound for any other.

        ``deleted``: also one that was deleted, as long as its row is kept.
        """
        query = {name: "1" for name, asked in (("locations", locations), ("deleted", deleted)) if asked}
        return Image.from_document(self._http.call(context, "GET", _path(image_id), query=query or None)["image"])

    def create(
        self, context: RequestContext, attempt: str, document: dict[str, Any], *, limits: Limits | None = None
    ) -> Image:
        """Make a queued image; raise Duplicate for an id that is or was in use, TooLarge over the owner's limits."""
        body = {"attempt": attempt, "image": document, **with_limits(limits)}
        return self._write(context, "POST", "/v1/images", body)

    def update(
        self,
        context: RequestContext,
        image_id: str,
        attempt: str,
        row_version: int,
        changes: dict[str, Any],
        *,
        limits: Limits | None = None,
    ) -> Image:
        """Change columns, and replace all properties or tags, of the row as it was read; raise VersionConflict.

        ``limits`` go with a change of owner and are the new owner's; TooLarge when the image exceeds them.
        """
        body = {"attempt": attempt, "row_version": row_version, "changes": changes, **with_limits(limits)}
        return self._write(context, "PATCH", _path(image_id), body)

    def merge(self, context: RequestContext, image_id: str, attempt: str, wanted: ImageMerge) -> Image:
        """Change the row as it is now; raise VersionConflict when something differs that the change rests on.

        Raises NotFound, TooLarge for a document beyond its bound.
        """
        body = {"attempt": attempt, "merge": asdict(wanted)}
        return self._write(context, "POST", f"{_path(image_id)}/merge", body)

    def set_status(
        self, context: RequestContext, image_id: str, attempt: str, sources: Sequence[ImageStatus], target: ImageStatus
    ) -> Image:
        """Take the image from one of ``sources`` to ``target``; raise StatusConflict with its ``status``."""
        body = {"attempt": attempt, "from": list(sources), "to": target}
        return self._write(context, "POST", f"{_path(image_id)}/status", body)

    def delete(
        self, context: RequestContext, image_id: str, attempt: str, *, delayed: bool, scrub_time: int
    ) -> Sequence[str]:
        """Delete the image and return the locations whose bytes are due for removal now.

        ``scrub_time``: seconds to keep them when ``delayed``. Raises NotFound, Forbidden for a protected image.
        """
        body = {"attempt": attempt, "delayed": delayed, "scrub_time": scrub_time}
        due: Sequence[str] = self._http.call(context, "DELETE", _path(image_id), body)["locations"]
        return due

    def restore(
        self, context: RequestContext, image_id: str, attempt: str, *, limits: Limits | None = None
    ) -> Image:
        """Bring a deleted image back while all its bytes are there; raise NotFound, Conflict.

        Raises TooLarge when the owner's ``limits`` are given and have no room for it any more.
        """
        return self._write(context, "POST", f"{_path(image_id)}/restore", {"attempt": attempt, **with_limits(limits)})

    def add_tag(self, context: RequestContext, image_id: str, tag: str, attempt: str, *, quota: int = -1) -> Image:
        """Put a tag on the image; one that is there already stays. Raises TooLarge above ``quota`` (negative = any)."""
        body = {"attempt": attempt, "quota": quota}
        return self._write(context, "PUT", f"{_path(image_id)}/tags/{segment(tag)}", body)

    def remove_tag(self, context: RequestContext, image_id: str, tag: str, attempt: str) -> Image:
        """Take a tag off the image; raise NotFound when it has none such."""
        return self._write(context, "DELETE", f"{_path(image_id)}/tags/{segment(tag)}", {"attempt": attempt})

    def _write(self, context: RequestContext, method: str, path: str, body: dict[str, Any]) -> Image:
        return Image.from_document(self._http.call(context, method, path, body)["image"])


def _path(image_id: str) -> str:
    return f"/v1/images/{segment(image_id)}"
