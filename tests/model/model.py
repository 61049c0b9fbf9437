"""A plain model of the Images API: what each call answers and what it leaves behind.

The model does no input or output and shares no code with the services. It is written from the rules that the
documentation names, and cites them. A call that is refused raises ``Refused``; a call that works changes the model and
returns the ``Expected`` answer.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from tests.model import fields, patches
from tests.model.records import (
    MEMBER_STATUSES,
    OCTETS,
    V21,
    Actor,
    Document,
    Expected,
    Image,
    Limits,
    Operation,
    Refused,
)


class Model:
    """All images of one life of the service, and the rules of the calls."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.images: dict[str, Image] = {}
        self.used_ids: set[str] = set()
        """Ids that no new image gets: a deleted image keeps its id (S-25)."""

    # who sees and changes what

    def sees(self, actor: Actor, image: Image) -> bool:
        """Say who sees an image by its id (lifecycle section 9)."""
        return (
            actor.is_admin
            or image.visibility in ("public", "community")
            or image.owner in (None, actor.project)
            or (image.visibility == "shared" and actor.project in image.members)
        )

    def find(self, actor: Actor, image_id: str, faults: Collection[int] = ()) -> Image:
        """Return the image; an image that the caller may not see is like a missing one (S-43).

        ``faults`` are those that the request has whatever the image: they may be told first.
        """
        image = self.images.get(image_id)
        if image is None or not self.sees(actor, image):
            raise Refused(404, *faults)
        return image

    def _owned(self, actor: Actor, image_id: str, faults: Collection[int] = ()) -> Image:
        """Return the image for a caller that may change it (lifecycle section 9, S-46)."""
        image = self.find(actor, image_id, faults)
        if not (actor.is_admin or (actor.may_write and actor.project == image.owner)):
            raise Refused(403, *faults)
        return image

    def used(self, project: str | None) -> int:
        """Return the bytes that a project uses: the data of its images (I5)."""
        return sum(len(image.data or b"") for image in self.images.values() if image.owner == project)

    # images

    def create(self, actor: Actor, document: Any, new_id: str) -> Expected:
        """POST /v2/images; ``new_id`` is the id that the service chose when the request has none (API section 4)."""
        unreadable = fields.unreadable(document)
        if not actor.may_write:
            raise Refused(403, *unreadable)  # before the document is checked in full (S-59)
        if not isinstance(document, dict):
            raise Refused(400)
        faults = unreadable | {status for name, value in document.items() if (status := fields.fault(name, value))}
        if not actor.is_admin:
            if document.get("owner", actor.project) != actor.project:
                faults.add(403)  # S-46
            if document.get("visibility") == "public":
                faults.add(403)  # lifecycle section 9
        if document.get("id") in self.used_ids:
            faults.add(409)
        properties = {name: value for name, value in document.items() if name not in fields.BASE}
        faults |= self._above_quota(len(properties), document.get("tags", ()))
        if faults:
            raise Refused(*faults)
        base = {name: value for name, value in document.items() if name in fields.BASE}
        values = {"owner": actor.project, **base, "id": new_id, "tags": set(base.get("tags", ()))}
        image = Image(number=len(self.used_ids), properties=properties, **values)
        self.images[new_id] = image
        self.used_ids.add(new_id)
        return Expected(201, image.document(), headers={"Location": f"/v2/images/{new_id}"})

    def _above_quota(self, properties: int, tags: Any) -> set[int]:
        distinct = len(set(map(str, tags))) if isinstance(tags, (list, tuple, set)) else 0
        return {413} if properties > self.limits.properties or distinct > self.limits.tags else set()

    def show(self, actor: Actor, image_id: str) -> Expected:
        """GET /v2/images/{id} (API section 5)."""
        return Expected(200, self.find(actor, image_id).document())

    def delete(self, actor: Actor, image_id: str) -> Expected:
        """DELETE /v2/images/{id} (API section 8): visibility, then policy, then protection."""
        if self._owned(actor, image_id).protected:
            raise Refused(403)
        del self.images[image_id]
        return Expected(204)

    def patch(self, actor: Actor, image_id: str, operations: Sequence[Operation], media: str = V21) -> Expected:
        """PATCH /v2/images/{id}: all operations in order, or none of them (API section 7)."""
        faults = fields.unreadable(operations)
        image = self._owned(actor, image_id, faults)
        changed = replace(image, tags=set(image.tags), properties=dict(image.properties))
        for operation in operations:
            name = patches.field_of(operation)
            faults |= patches.operation_faults(changed, operation, name, media)
            faults |= self._may_not(actor, image, operation, name)
            if not faults:
                patches.apply(changed, operation, name)
        if len(changed.tags) > self.limits.tags and any(one["path"] == "/tags" for one in operations):
            faults.add(413)
        # The number of properties counts when there are new names (API section 7).
        if changed.properties.keys() - image.properties.keys() and len(changed.properties) > self.limits.properties:
            faults.add(413)
        # Policy judges what all operations together come to (API section 7).
        wanted = [one.get("value") for one in operations if patches.field_of(one) == "visibility"]
        if wanted and wanted[-1] == "public" != image.visibility and not actor.is_admin:
            faults.add(403)
        faults |= self._does_not_fit(image, changed.owner)
        if faults:
            raise Refused(*faults)
        self.images[image_id] = changed
        return Expected(200, changed.document())

    def _may_not(self, actor: Actor, image: Image, operation: Operation, name: str) -> set[int]:
        """Return the faults of an operation that only this caller, or this status, makes (API section 7)."""
        if name == "owner" and not actor.is_admin:
            return {403}
        if name not in ("disk_format", "container_format") or image.status == "queued":
            return set()
        # The formats say what the data are: they stay when there are data (lifecycle section 10).
        return {403} if operation.get("value") != getattr(image, name) else set()

    def _does_not_fit(self, image: Image, owner: str | None) -> set[int]:
        """An image takes room in the quota of its owner, also when it gets another one (configuration section 1.1)."""
        if owner in (image.owner, None):
            return set()
        size = len(image.data or b"")
        return {413} if size and self.used(owner) + size > self.limits.project_size else set()

    # tags (API section 13)

    def add_tag(self, actor: Actor, image_id: str, tag: str) -> Expected:
        """PUT /v2/images/{id}/tags/{tag}; a tag that is there may be added again."""
        faults = {400} if fields.fault("tags", [tag]) else set()
        image = self._owned(actor, image_id, faults)
        if faults:
            raise Refused(*faults)
        if len(image.tags | {tag}) > max(self.limits.tags, len(image.tags)):
            raise Refused(413)
        image.tags.add(tag)
        return Expected(204)

    def remove_tag(self, actor: Actor, image_id: str, tag: str) -> Expected:
        """DELETE /v2/images/{id}/tags/{tag}."""
        faults = {400} if fields.fault("tags", [tag]) else set()
        image = self._owned(actor, image_id, faults)
        if tag not in image.tags:
            raise Refused(404, *faults)
        image.tags.remove(tag)
        return Expected(204)

    # members (API section 13, lifecycle section 8)

    def members(self, actor: Actor, image_id: str) -> Expected:
        """GET /v2/images/{id}/members: a member sees its own row only (S-44)."""
        image = self.find(actor, image_id)
        if image.visibility != "shared":
            raise Refused(403)
        everything = actor.is_admin or actor.project == image.owner
        shown = [member for member in sorted(image.members) if everything or member == actor.project]
        if not (everything or shown):
            raise Refused(403)
        rows = [_member(image, member) for member in shown]
        return Expected(200, {"members": rows, "schema": "/v2/schemas/members"})

    def add_member(self, actor: Actor, image_id: str, document: Any) -> Expected:
        """POST /v2/images/{id}/members."""
        member: Any = document.get("member") if isinstance(document, dict) else None
        faults = set() if fields.is_text(member, 1) else {400}
        image = self._owned(actor, image_id, faults)
        if image.visibility != "shared":
            raise Refused(403, *faults)
        if faults:
            raise Refused(*faults)
        if member in image.members:
            raise Refused(409)
        if len(image.members) >= self.limits.members:
            raise Refused(413)
        image.members[member] = "pending"
        return Expected(200, _member(image, member))

    def show_member(self, actor: Actor, image_id: str, member: str) -> Expected:
        """GET /v2/images/{id}/members/{member}: each refusal looks like a missing one."""
        image = self.find(actor, image_id)
        allowed = actor.is_admin or actor.project in (image.owner, member)
        if image.visibility != "shared" or not allowed or member not in image.members:
            raise Refused(404)
        return Expected(200, _member(image, member))

    def answer_member(self, actor: Actor, image_id: str, member: str, document: Any) -> Expected:
        """PUT /v2/images/{id}/members/{member}: the member accepts or rejects, the owner does not."""
        is_good = isinstance(document, dict) and document.get("status") in MEMBER_STATUSES
        faults = set() if is_good else {400}
        image = self.find(actor, image_id, faults)
        if member not in image.members:
            faults.add(404)
        elif image.visibility != "shared":
            faults.add(403)
        if not (actor.is_admin or (actor.may_write and actor.project == member)):
            # A member does not learn who else is one (S-44).
            faults.add(403 if actor.project in (image.owner, member) else 404)
        if faults:
            raise Refused(*faults)
        image.members[member] = document["status"]
        return Expected(200, _member(image, member))

    def remove_member(self, actor: Actor, image_id: str, member: str) -> Expected:
        """DELETE /v2/images/{id}/members/{member}."""
        image = self._owned(actor, image_id)
        if image.visibility != "shared":
            raise Refused(403)
        if member not in image.members:
            raise Refused(404)
        del image.members[member]
        return Expected(204)

    # actions (API section 12)

    def act(self, actor: Actor, image_id: str, action: str) -> Expected:
        """POST /v2/images/{id}/actions/{action}: it can be repeated; a queued image has nothing to close."""
        image = self._owned(actor, image_id)
        if image.status not in ("active", "deactivated"):
            raise Refused(403)
        image.status = {"deactivate": "deactivated", "reactivate": "active"}[action]
        return Expected(204)

    # data (API section 10)

    def upload(self, actor: Actor, image_id: str, data: bytes, size: str | None, media: str = OCTETS) -> Expected:
        """PUT /v2/images/{id}/file; ``size`` is the size that the client names (API section 10.1)."""
        header = set() if media == OCTETS else {415}
        named = len(data) if size is None else int(size) if re.fullmatch(r"\d+", size) else -1
        if named != len(data):
            header.add(400)
        if max(named, len(data)) > self.limits.image_size:
            header.add(413)  # the request tells its size
        image = self._owned(actor, image_id, header)
        if image.status != "queued":
            raise Refused(409, *header)  # data are written once (S-17)
        faults = header
        if image.disk_format is None or image.container_format is None:
            faults.add(400)
        if self.used(image.owner) + max(named, len(data)) > self.limits.project_size:
            faults.add(413)
        if image.disk_format not in fields.WITHOUT_HEADER:
            faults.add(415)  # the data here have no header of any format (S-35)
        if faults:
            raise Refused(*faults)
        image.data, image.status = data, "active"
        return Expected(204)

    def download(self, actor: Actor, image_id: str, wanted: str | None = None) -> Expected:
        """GET /v2/images/{id}/file, with the header Range (API section 10.3)."""
        image = self.find(actor, image_id)
        if not actor.may_write or (image.status == "deactivated" and not actor.is_admin):
            raise Refused(403)  # lifecycle section 9, S-49
        if image.data is None:
            return Expected(204, body=b"")
        digest = {"Content-MD5": hashlib.md5(image.data).hexdigest()}
        if wanted is None:
            return Expected(200, body=image.data, headers=digest)
        begin, end = _range(wanted, len(image.data))
        span = {"Content-Range": f"bytes {begin}-{end - 1}/{len(image.data)}"}
        return Expected(206, body=image.data[begin:end], headers={**digest, **span})


def _member(image: Image, member: str) -> Document:
    return {
        "member_id": member, "image_id": image.id, "status": image.members[member], "schema": "/v2/schemas/member",
    }


def _range(wanted: str, size: int) -> tuple[int, int]:
    """Return begin and end of the bytes that a Range names (S-55)."""
    if "," in wanted:
        raise Refused(400)
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", wanted)
    if not match or match[0] == "bytes=-":
        raise Refused(416)
    first, last = match.groups()
    if not first:
        begin, end = max(size - int(last), 0), size
    else:
        begin, end = int(first), min(int(last) + 1, size) if last else size
    if begin >= size or begin >= end:
        raise Refused(416)
    return begin, end
