"""The options of a sheepdog store, and what is wrong with them (configuration section 1.7, S-07)."""

import re
import shutil
from collections.abc import Sequence

from oslo_config import cfg

from glance_common.stores.drivers.sheepdog.cluster import Cluster
from glance_common.stores.drivers.sheepdog.place import SheepdogPlace, plain_address
from glance_common.stores.drivers.sheepdog.program import PACKAGE
from glance_common.stores.settings import StoreSettings

OPTIONS: Sequence[cfg.Opt] = [
    cfg.StrOpt(
        "sheepdog_store_address", default="localhost",
        help="Host name or IP address of a node of the Sheepdog cluster. Kind sheepdog.",
    ),
    cfg.IntOpt("sheepdog_store_port", default=7000, min=1, max=65535, help="Port of the node."),
    cfg.IntOpt(
        "sheepdog_store_chunk_size", default=64, min=1, max=1024,
        help="MiB that one run of dog writes. An upload holds twice as much in memory.",
    ),
    cfg.FloatOpt(
        "sheepdog_store_timeout", default=60.0, min=0.1,
        help="Seconds that one run of dog may be waited for; then it is killed. One run writes "
        "sheepdog_store_chunk_size MiB or reads 64 MiB.",
    ),
    cfg.StrOpt(
        "sheepdog_store_program", default="dog",
        help="Name or absolute path of the program dog, for example of a wrapper that gives it the rights of root.",
    ),
]

_PROGRAM = re.compile(r"[A-Za-z0-9_.+][A-Za-z0-9_.+-]*")


def open_cluster(settings: StoreSettings) -> tuple[Cluster, SheepdogPlace]:
    """Return the cluster that the options name; nothing is run. Raises StoreConfigError."""
    place = configured_place(settings)
    name: str = settings.value("sheepdog_store_program")
    if not name.startswith("/") and not _PROGRAM.fullmatch(name):
        raise settings.refuse("sheepdog_store_program", "must be the name of a program or an absolute path")
    program = shutil.which(name)
    if program is None:
        raise settings.refuse("sheepdog_store_program", f"is no program here: install the package {PACKAGE}")
    return Cluster(program, place, settings.value("sheepdog_store_timeout")), place


def configured_place(settings: StoreSettings) -> SheepdogPlace:
    """Return the place that the options name. Raises StoreConfigError."""
    address = plain_address(settings.value("sheepdog_store_address"))
    if address is None:
        raise settings.refuse("sheepdog_store_address", "must be a host name or an IP address")
    return SheepdogPlace(address, settings.value("sheepdog_store_port"))
