"""What the first version of the API shows of the images of the second one (v1 API sections 2, 4 and 9)."""

from __future__ import annotations

from tests.model.model import Model
from tests.model.records import Actor, Expected, Image, Refused


def show(model: Model, actor: Actor, image_id: str) -> Expected:
    """HEAD /v1/images/{id}: administrators see deleted images too."""
    if actor.is_admin and image_id in model.used_ids - model.images.keys():
        return Expected(200, headers={"x-image-meta-deleted": "True", "x-image-meta-status": "deleted"})
    return Expected(200, headers=_headers(model.find(actor, image_id)))


def download(model: Model, actor: Actor, image_id: str) -> Expected:
    """GET /v1/images/{id}: data of an active image only."""
    image = model.find(actor, image_id)
    if not actor.may_write:
        raise Refused(403)  # configuration section 10
    if image.status == "deactivated":
        raise Refused(403)
    if image.data is None:
        raise Refused(404)
    return Expected(200, body=image.data, headers=_headers(image))


def _headers(image: Image) -> dict[str, str]:
    """Return the headers of those fields that look the same whatever the caller."""
    document = image.document()
    headers = {f"x-image-meta-{name}": str(document[name]) for name in ("id", "status", "min_ram", "min_disk")}
    headers["x-image-meta-is_public"] = str(image.visibility == "public")
    headers["x-image-meta-protected"] = str(image.protected)
    present = ("size", "checksum", "disk_format", "container_format", "owner")
    headers |= {f"x-image-meta-{name}": str(document[name]) for name in present if document[name] is not None}
    return headers
