"""A registry in memory, just enough to see what the API's HTTP face does with its answers.

Who may see what and how states change is tested against the real registry, not here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from types import SimpleNamespace
from typing import Any

from tests.unit.api.fake_metadefs import FakeMetadefs

from glance_common.model.context import RequestContext
from glance_common.model.errors import (
    BadRequest,
    Conflict,
    Duplicate,
    NotFound,
    StatusConflict,
    TooLarge,
    VersionConflict,
)
from glance_common.model.image import Image, ImagePage, Member
from glance_common.model.image_merge import ImageMerge
from glance_common.model.limits import Limits
from glance_common.model.operation import Operation
from glance_common.model.status import ImageStatus, OperationStatus
from glance_common.registry_client.operations import NewOperation, OperationQuery

TIME = "2026-11-21T10:00:00Z"
MICROSECONDS = "2026-11-21T10:00:00.123456"


def make_image(**values: Any) -> Image:
    """Return a queued shared image of project ``own`` with these values changed."""
    image = Image(
        id="11111111-1111-4111-8111-111111111111", name="one", status=ImageStatus.QUEUED, visibility="shared",
        owner="own", disk_format=None, container_format=None, size=None, virtual_size=None, min_disk=0, min_ram=0,
        protected=False, os_hidden=False, checksum=None, os_hash_algo=None, os_hash_value=None, created_at=TIME,
        updated_at=TIME, row_version=1, properties={}, tags=[],
    )
    return image._replace(**values)


class FakeImages:
    """Images by id; ``writes`` counts what changed something, ``conflicts`` makes that many updates fail."""

    def __init__(self) -> None:
        self.rows: dict[str, Image] = {}
        self.members: dict[tuple[str, str], Member] = {}
        self.writes: list[str] = []
        self.queries: list[dict[str, Any]] = []
        self.conflicts = 0

    def get(
        self, context: RequestContext, image_id: str, *, locations: bool = False, deleted: bool = False
    ) -> Image:
        image = self.rows.get(image_id)
        if image is None or not self._is_visible(context, image):
            raise NotFound(f"No image found with ID {image_id}")
        member = context.project_id if (image_id, context.project_id) in self.members else None
        return image._replace(member=member, locations=image.locations if locations else ())

    def _is_visible(self, context: RequestContext, image: Image) -> bool:
        if context.is_admin or image.owner in (None, context.project_id):
            return True
        if image.visibility == "shared":
            return (image.id, context.project_id) in self.members
        return image.visibility in ("public", "community")

    def list(self, context: RequestContext, query: dict[str, Any]) -> ImagePage:
        self.queries.append(query)
        if query.get("marker", "") not in ("", *self.rows):
            raise BadRequest("marker: there is no such image")
        found = [image for image in self.rows.values() if self._is_visible(context, image)][: query["limit"]]
        return ImagePage(found, 0 < query["limit"] == len(found))

    def create(
        self, context: RequestContext, attempt: str, document: dict[str, Any], *, limits: Limits | None
    ) -> Image:
        if document["id"] in self.rows:
            raise Duplicate(f"Image ID {document['id']} already exists!")
        image = make_image(**{"name": None, **document})
        self.rows[image.id] = image
        self.writes.append("create")
        return image

    def update(
        self, context: RequestContext, image_id: str, attempt: str, row_version: int, changes: dict[str, Any], *,
        limits: Limits | None,
    ) -> Image:
        image = self.get(context, image_id)
        if self.conflicts or row_version != image.row_version:
            self.conflicts -= 1
            raise VersionConflict("the image was changed in between")
        self.rows[image_id] = image._replace(row_version=row_version + 1, member=None, **changes)
        self.writes.append("update")
        return self.rows[image_id]

    def merge(self, context: RequestContext, image_id: str, attempt: str, wanted: ImageMerge) -> Image:
        image = self.get(context, image_id)
        changes = {**wanted.fields, "properties": wanted.applied(image.properties)}
        return self.update(context, image_id, attempt, image.row_version, changes, limits=None)

    def delete(
        self, context: RequestContext, image_id: str, attempt: str, *, delayed: bool, scrub_time: int
    ) -> Sequence[str]:
        image = self.rows.pop(image_id)
        self.writes.append("delete")
        return [] if delayed else [location.id for location in image.locations]

    def set_status(
        self, context: RequestContext, image_id: str, attempt: str, sources: Sequence[ImageStatus], target: ImageStatus
    ) -> Image:
        image = self.rows[image_id]
        if image.status not in sources:
            raise StatusConflict("the status changed", status=image.status, wanted=target)
        self.rows[image_id] = image._replace(status=target)
        self.writes.append("status")
        return self.rows[image_id]

    def add_tag(self, context: RequestContext, image_id: str, tag: str, attempt: str, *, quota: int) -> Image:
        image = self.rows[image_id]
        if tag not in image.tags and 0 <= quota <= len(image.tags):
            raise TooLarge(f"The limit of {quota} tags of an image is exceeded")
        self.rows[image_id] = image._replace(tags=[*image.tags, tag] if tag not in image.tags else image.tags)
        self.writes.append("tag")
        return self.rows[image_id]

    def remove_tag(self, context: RequestContext, image_id: str, tag: str, attempt: str) -> Image:
        image = self.rows[image_id]
        if tag not in image.tags:
            raise NotFound(f"the image has no tag {tag}")
        self.rows[image_id] = image._replace(tags=[old for old in image.tags if old != tag])
        self.writes.append("untag")
        return self.rows[image_id]


class FakeMembers:
    """The members of the images next door."""

    def __init__(self, images: FakeImages) -> None:
        self._images = images

    def list(self, context: RequestContext, image_id: str) -> list[Member]:
        members = self._images.members
        owns = context.is_admin or self._images.rows[image_id].owner == context.project_id
        return [
            row for (image, who), row in members.items() if image == image_id and (owns or who == context.project_id)
        ]

    def get(self, context: RequestContext, image_id: str, member: str) -> Member:
        for row in self.list(context, image_id):
            if row.member == member:
                return row
        raise NotFound(f"{member} is not a member of image {image_id}")

    def add(self, context: RequestContext, image_id: str, member: str, attempt: str, *, quota: int) -> Member:
        if (image_id, member) in self._images.members:
            raise Duplicate("the project is a member already")
        self._images.members[image_id, member] = row = Member(image_id, member, "pending", TIME, TIME)
        self._images.writes.append("share")
        return row

    def set_status(self, context: RequestContext, image_id: str, member: str, attempt: str, status: str) -> Member:
        row = replace(self.get(context, image_id, member), status=status)
        self._images.members[image_id, member] = row
        self._images.writes.append("member")
        return row

    def share(
        self, context: RequestContext, image_id: str, members: dict[str, bool | None], *, only: bool, quota: int
    ) -> Sequence[Member]:
        for name, can_share in members.items():
            row = Member(image_id, name, "pending", TIME, TIME, bool(can_share))
            self._images.members[image_id, name] = row
        self._images.writes.append("share")
        return self.list(context, image_id)

    def shared_with(
        self, context: RequestContext, member: str, *, limit: int | None = None, marker: str | None = None
    ) -> Sequence[Member]:
        return [row for (_, who), row in self._images.members.items() if who == member]

    def remove(self, context: RequestContext, image_id: str, member: str, attempt: str) -> None:
        self.get(context, image_id, member)
        del self._images.members[image_id, member]
        self._images.writes.append("unshare")


class FakeOperations:
    """Operations by id, in the order in which they were made; a live one of an image is its lock."""

    def __init__(self, images: FakeImages) -> None:
        self._images = images
        self.rows: dict[str, Operation] = {}
        self.made: list[dict[str, Any]] = []

    def create(
        self, context: RequestContext, operation_id: str, new: NewOperation, *, limits: Limits | None = None
    ) -> Operation:
        values = {**asdict(new), "limits": limits}
        if any(row.image_id == values["image_id"] is not None for row in self.rows.values()):
            raise Conflict("the image is being worked on")
        self.made.append(values)
        self._images.writes.append("operation")
        row = Operation(
            id=operation_id, kind=values["kind"], image_id=values["image_id"], owner=context.project_id,
            user_id=context.user_id, request_id=context.request_id, roles=context.roles, is_admin=context.is_admin,
            status=OperationStatus.PENDING, input=values["input"], signature=values["signature"],
            result=None, message="", host=values["host"], attempts=0, cancelled=False, created_at=MICROSECONDS,
            updated_at=MICROSECONDS, expires_at=None,
        )
        self.rows[operation_id] = row
        return row

    def get(self, context: RequestContext, operation_id: str) -> Operation:
        row = self.rows.get(operation_id)
        if row is None or not (context.is_admin or row.owner == context.project_id):
            raise NotFound(f"No task found with ID {operation_id}")
        return row

    def list(self, context: RequestContext, query: OperationQuery) -> list[Operation]:
        self._images.queries.append(asdict(query))
        return [row for row in self.rows.values() if context.is_admin or row.owner == context.project_id][
            : query.limit
        ]

    def of_image(self, context: RequestContext, image_id: str) -> Sequence[Operation]:
        return [row for row in self.list(context, OperationQuery(limit=1000)) if row.image_id == image_id]


class FakeRegistry(SimpleNamespace):
    """All of them, in the shape of the registry client."""

    def __init__(self) -> None:
        images = FakeImages()
        super().__init__(
            images=images, members=FakeMembers(images), operations=FakeOperations(images),
            metadefs=FakeMetadefs(images.writes),
        )
