"""The kinds of stores: drivers that installed packages offer as entry points, ours among them."""

import logging
from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint
from typing import Any

from stevedore import ExtensionManager

from glance_common.stores.settings import Driver

LOG = logging.getLogger(__name__)

NAMESPACE = "glance_services.stores"
"""Group of the entry points: the name is the kind, the object the class of the driver."""


@cache
def drivers() -> Mapping[str, type[Driver]]:
    """Return kind → driver of all kinds, by name.

    A driver that cannot be loaded is left out and logged: it must not keep others from their work.
    """
    manager: ExtensionManager[Driver] = ExtensionManager(NAMESPACE, on_load_failure_callback=_warn)
    return {found.name: found.plugin for found in sorted(manager, key=lambda found: found.name)}


def _warn(_manager: Any, point: EntryPoint, error: BaseException) -> None:
    LOG.error("the driver %s of the stores of kind %s cannot be loaded: %s", point.value, point.name, error)
