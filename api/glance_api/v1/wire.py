"""The only translator between v1 documents and headers and the values of the services (v1 API sections 2, 7 and 9)."""

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from glance_api.services.image_changes import ImageChanges
from glance_api.services.images import NewImage
from glance_api.settings import Settings
from glance_api.v1.headers import Metadata
from glance_common.model.errors import BadRequest, Forbidden
from glance_common.model.image import Image, Member
from glance_common.model.property_names import OWN
from glance_common.model.status import ImageStatus

BRIEF = ("id", "name", "size", "disk_format", "container_format", "checksum")

_MACHINE_FORMATS = frozenset({"ami", "aki", "ari"})
_FORMATS = frozenset({"disk_format", "container_format"})
_PLAIN = ("name", "disk_format", "container_format", "owner", "min_ram", "min_disk", "protected")
_FIXED = (ImageStatus.ACTIVE, ImageStatus.DEACTIVATED)
_TOKEN = "!#$&'*+^`|"  # noqa: S105 - what a header's name may hold beside letters and digits
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def image_document(image: Image) -> dict[str, Any]:
    """Return an image as a detailed list and the answer to a write show it: never its location (S-03)."""
    deleted = image.status in (ImageStatus.DELETED, ImageStatus.PENDING_DELETE)
    properties = {name: value for name, value in image.properties.items() if name not in OWN}
    return {
        **{name: getattr(image, name) for name in BRIEF},
        "status": image.status,
        "created_at": image.created_at,
        "updated_at": image.updated_at,
        "deleted_at": image.deleted_at,
        "deleted": deleted,
        "min_disk": image.min_disk,
        "min_ram": image.min_ram,
        "is_public": image.visibility == "public",
        "owner": image.owner,
        "protected": image.protected,
        "virtual_size": image.virtual_size,
        "properties": properties,
    }


def brief_document(image: Image) -> dict[str, Any]:
    """Return an image as a list shows it."""
    return {name: getattr(image, name) for name in BRIEF}


def image_headers(image: Image) -> list[tuple[str, str]]:
    """Return an image as response headers, custom properties included; a field without value is empty.

    Names that are no header names are percent-encoded, so are control characters of values: none of them begins a new
    header (S-58).
    """
    document = image_document(image)
    properties = document.pop("properties")
    headers = [(f"x-image-meta-{name}", _header(value)) for name, value in document.items()]
    # Names that are equal in headers are sent once, in capitals: a client would take either of two.
    spelled = {name.lower().replace("_", "-"): name for name in sorted(properties, reverse=True)}
    return headers + [
        (f"x-image-meta-property-{quote(name.lower(), safe=_TOKEN)}", _header(properties[name]))
        for name in spelled.values()
    ]


def _header(value: Any) -> str:
    text = _CONTROL.sub(lambda found: quote(found[0]), "" if value is None else str(value))
    # A server sends Latin-1: these are the bytes of UTF-8.
    return text.encode().decode("latin-1")


def member_document(member: Member) -> dict[str, Any]:
    """Return a member of an image."""
    return {"member_id": member.member, "can_share": member.can_share}


def shared_document(member: Member) -> dict[str, Any]:
    """Return an image that a project is a member of."""
    return {"image_id": member.image_id, "can_share": member.can_share}


def new_image(metadata: Metadata, settings: Settings, *, is_admin: bool) -> NewImage:
    """Return the image that a create request describes. What clients do not set is ignored, status too (S-15)."""
    fields = _fields(metadata, settings, is_admin=is_admin)
    if metadata.fields.get("id"):
        fields["id"] = metadata.fields["id"]
    fields["visibility"] = "public" if metadata.fields.get("is_public") else "shared"
    fields = _with_both_formats(fields)
    _check_formats(fields)
    return NewImage(fields, metadata.properties, ())


def changes(metadata: Metadata, settings: Settings, *, purge: bool, is_admin: bool) -> Callable[[Image], ImageChanges]:
    """Return what an update request makes of an image. ``purge``: properties that are not named are removed.

    The function raises Forbidden for fields that are not the client's (S-15).
    """
    fields = _fields(metadata, settings, is_admin=is_admin)

    def change(image: Image) -> ImageChanges:
        _refuse_fixed(image, metadata.fields)
        wanted = dict(fields)
        if "is_public" in metadata.fields and bool(metadata.fields["is_public"]) != (image.visibility == "public"):
            wanted["visibility"] = "public" if metadata.fields["is_public"] else "shared"
        formats = {name: getattr(image, name) for name in ("disk_format", "container_format")}
        wanted = _with_both_formats({**formats, **wanted})
        if _FORMATS & fields.keys():
            _check_formats(wanted)
        # Purging is about what clients have set.
        kept = {n: v for n, v in image.properties.items() if not purge or n in OWN}
        properties = {**kept, **metadata.properties}
        return ImageChanges(
            {name: value for name, value in wanted.items() if getattr(image, name) != value},
            properties if properties != image.properties else None,
        )

    return change


def _refuse_fixed(image: Image, fields: Mapping[str, Any]) -> None:
    for name in ("id", "status"):
        if fields.get(name) not in (None, getattr(image, name)):
            raise Forbidden(f"{name} cannot be changed")
    if image.status in _FIXED:
        for name in ("size", "checksum"):
            if fields.get(name) not in (None, getattr(image, name)):
                raise Forbidden(f"{name} of an {image.status} image cannot be changed")


def _fields(metadata: Metadata, settings: Settings, *, is_admin: bool) -> dict[str, Any]:
    """Return the fields that are written as they are. Raises BadRequest for an unknown format."""
    given = {name: metadata.fields[name] for name in _PLAIN if name in metadata.fields}
    if not is_admin:
        given.pop("owner", None)
    for name, known in (("disk_format", settings.disk_formats), ("container_format", settings.container_formats)):
        if given.get(name) is not None and given[name] not in known:
            raise BadRequest(f"Invalid {name} {given[name][:40]!r}: it is one of {', '.join(known)}")
    without_null = ("min_ram", "min_disk", "protected")
    return {name: value for name, value in given.items() if value is not None or name not in without_null}


def _with_both_formats(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields with the missing format of a machine image, its kernel or RAM disk: it is the other one."""
    for name, other in (("disk_format", "container_format"), ("container_format", "disk_format")):
        if fields.get(name) in _MACHINE_FORMATS and fields.get(other) is None:
            return {**fields, other: fields[name]}
    return fields


def _check_formats(fields: dict[str, Any]) -> None:
    """Raise BadRequest for a machine image, kernel or RAM disk in another container (IMG-29); v2 takes any mix."""
    both = {fields.get("disk_format"), fields.get("container_format")}
    if None not in both and len(both) > 1 and both & _MACHINE_FORMATS:
        names = ", ".join(sorted(_MACHINE_FORMATS))
        raise BadRequest(
            f"Invalid mix of disk and container formats: {names} as disk_format or container_format need the same in "
            f"the other; given are {fields['disk_format']} and {fields['container_format']}"
        )
