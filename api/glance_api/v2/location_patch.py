"""The operations of a PATCH that concern locations, read from the wire (API section 7.1)."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from glance_api.services.locations.check import ValidationData
from glance_api.services.locations.edit import AddLocation, GivenLocation, Operation, RemoveLocation, ReplaceLocations
from glance_api.v2.schemas import ImageSchema
from glance_common.model.errors import BadRequest

MAX_LOCATIONS = 100
"""Locations that one operation describes (S-59); the quota of an image is 10 unless it is changed."""
MAX_METADATA = 64 * 1024
"""Bytes of the metadata of one location, as JSON (S-59)."""

_POSITION = re.compile(r"0|[1-9][0-9]{0,3}")


def read(op: str, parts: Sequence[str], element: Mapping[str, Any], where: str, schema: ImageSchema) -> Operation:
    """Return the operation; ``parts`` is what follows ``/locations`` in its path.

    Raises BadRequest for a path that the operation does not have, and for what is no location.
    """
    if op == "replace":
        if parts:
            raise BadRequest(f"{where}: only the whole of /locations can be replaced")
        return ReplaceLocations(tuple(_given(each) for each in _checked(element, where, schema)))
    if len(parts) != 1:
        raise BadRequest(f"{where}: {op} needs a position, as in /locations/0")
    if op == "remove":
        return RemoveLocation(_position(parts[0], where))
    position = None if parts[0] == "-" else _position(parts[0], where)
    (given,) = _checked({**element, "value": [element.get("value")]} if "value" in element else element, where, schema)
    return AddLocation(_given(given), position)


def _position(text: str, where: str) -> int:
    if _POSITION.fullmatch(text) is None:
        raise BadRequest(f"{where}: {text[:40]!r} is no position in the list of locations")
    return int(text)


def _checked(element: Mapping[str, Any], where: str, schema: ImageSchema) -> list[dict[str, Any]]:
    if "value" not in element:
        raise BadRequest(f"{where}: {element.get('op', 'the operation')} needs a value")
    if isinstance(element["value"], list) and len(element["value"]) > MAX_LOCATIONS:
        raise BadRequest(f"{where}: describes more than {MAX_LOCATIONS} locations")
    schema.check_value("locations", element["value"])
    given: list[dict[str, Any]] = element["value"]
    for location in given:
        if len(orjson.dumps(location["metadata"])) > MAX_METADATA:
            raise BadRequest(f"{where}: the metadata of a location have at most {MAX_METADATA} bytes")
    return given


def _given(document: Mapping[str, Any]) -> GivenLocation:
    data = document.get("validation_data")
    validation = None if data is None else ValidationData(
        data["os_hash_algo"], data["os_hash_value"], data.get("checksum")
    )
    return GivenLocation(document["url"], document["metadata"], validation)
