"""One operation of a PATCH: what is wrong with it, and what it does (API section 7)."""

from __future__ import annotations

from tests.model import fields
from tests.model.records import V20, Image, Operation


def field_of(operation: Operation) -> str:
    """Return the name of the field or property that the path of an operation points to."""
    return str(operation["path"])[1:].replace("~1", "/").replace("~0", "~")


def operation_faults(image: Image, operation: Operation, name: str, media: str) -> set[int]:
    """Return the faults of one operation that do not depend on the caller (API section 7)."""
    how = operation["op"]
    is_base = name in fields.BASE and name != "id"
    if name == "id" or (fields.fault(name, "x") == 403 and not is_base):
        return {403}
    if not fields.is_text(name, 1):
        return {400}
    if how == "remove":
        return {403} if is_base else set() if name in image.properties else {409}
    faults = {status} if (status := fields.fault(name, operation["value"])) else set()
    exists = is_base or name in image.properties
    if how == "replace" and not exists:
        faults.add(409)
    if how == "add" and exists and media == V20:
        faults.add(409)
    return faults


def apply(image: Image, operation: Operation, name: str) -> None:
    """Change the image as an operation without faults says."""
    if operation["op"] == "remove":
        del image.properties[name]
    elif name == "tags":
        image.tags = set(operation["value"])
    elif name in fields.BASE:
        setattr(image, name, operation["value"])
    else:
        image.properties[name] = operation["value"]
