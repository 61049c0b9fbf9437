"""The image properties that show an import to clients (API section 11): pure functions on the whole object.

``os_glance_importing_to_stores`` and ``os_glance_failed_import`` stay after the end, the first one empty: clients that
wait for a copy wait for exactly that.
"""

from collections.abc import Sequence

from glance_common.model.operation import FAILED_PROPERTY, IMPORTING_PROPERTY, STAGE_HOST_PROPERTY, TASK_PROPERTY

NAMES = (FAILED_PROPERTY, IMPORTING_PROPERTY, STAGE_HOST_PROPERTY, TASK_PROPERTY)
"""All of them."""

Properties = dict[str, str | None]


def begun(properties: Properties, operation_id: str, stores: Sequence[str]) -> Properties:
    """Return ``properties`` when the operation has taken the lock and has ``stores`` before it.

    The lists of an earlier operation go.
    """
    others = {name: value for name, value in properties.items() if name not in (IMPORTING_PROPERTY, FAILED_PROPERTY)}
    lists: Properties = {IMPORTING_PROPERTY: ",".join(stores), FAILED_PROPERTY: ""} if stores else {}
    return {**others, TASK_PROPERTY: operation_id, **lists}


def stored(properties: Properties, store: str) -> Properties:
    """Return ``properties`` when the data are in ``store``."""
    if IMPORTING_PROPERTY not in properties:
        return properties
    left = [each for each in _listed(properties, IMPORTING_PROPERTY) if each != store]
    return {**properties, IMPORTING_PROPERTY: ",".join(left)}


def failed(properties: Properties, stores: Sequence[str]) -> Properties:
    """Return ``properties`` when the data did not get into ``stores``."""
    if IMPORTING_PROPERTY not in properties:
        return properties
    left = [each for each in _listed(properties, IMPORTING_PROPERTY) if each not in stores]
    lost = list(dict.fromkeys((*_listed(properties, FAILED_PROPERTY), *stores)))
    return {**properties, IMPORTING_PROPERTY: ",".join(left), FAILED_PROPERTY: ",".join(lost)}


def ended(properties: Properties) -> Properties:
    """Return ``properties`` when the operation is over: stores that are still to come count as failed."""
    after = failed(properties, _listed(properties, IMPORTING_PROPERTY))
    return {name: value for name, value in after.items() if name not in (TASK_PROPERTY, STAGE_HOST_PROPERTY)}


def _listed(properties: Properties, name: str) -> list[str]:
    return [store for store in (properties.get(name) or "").split(",") if store]
