"""The options of an rbd store, and what ceph.conf says of the cluster (stores section 7)."""

from collections.abc import Sequence
from dataclasses import dataclass

from oslo_config import cfg

from glance_common.stores.ceph_modules import PACKAGES, bindings
from glance_common.stores.drivers.rbd.address import RbdPlace
from glance_common.stores.settings import StoreConfigError, StoreSettings

MIB = 1024 * 1024
NO_FSID = "00000000-0000-0000-0000-000000000000"

CONNECT_SECONDS = 30
"""To reach a monitor, where no option says it. Ceph's own default is 300 s."""

OPTIONS: Sequence[cfg.Opt] = [
    cfg.StrOpt("rbd_store_pool", default="images", help="Pool of the images. Kind rbd."),
    cfg.StrOpt("rbd_store_user", help="Ceph's user, without `client.`; by default admin."),
    cfg.StrOpt(
        "rbd_store_ceph_conf", default="",
        help="Ceph's configuration file, which must hold `fsid`; by default the one that Ceph's library finds.",
    ),
    cfg.IntOpt(
        "rbd_store_chunk_size", default=8, min=1, max=32,
        help="MiB of the objects that an image is cut into; a power of two.",
    ),
    cfg.BoolOpt("rbd_thin_provisioning", default=False, help="Do not write runs of zeros; they take no space then."),
    cfg.IntOpt(
        "rados_connect_timeout", default=-1,
        help=f"Seconds to reach a monitor of the cluster; 0 or less: {CONNECT_SECONDS}.",
    ),
    cfg.IntOpt(
        "rbd_store_operation_timeout", default=60, min=1,
        help="Seconds for each operation of the cluster; what takes longer counts as no answer.",
    ),
]


@dataclass(frozen=True, slots=True)
class RbdOptions:
    """The options, checked. Times are in seconds."""

    place: RbdPlace
    user: str | None
    ceph_conf: str
    order: int
    """Binary logarithm of the bytes of an object."""
    thin: bool
    connect_seconds: int
    operation_seconds: int


def parse(settings: StoreSettings) -> RbdOptions:
    """Return the options. Raises StoreConfigError."""
    size: int = settings.value("rbd_store_chunk_size")
    if size & (size - 1):
        raise settings.refuse("rbd_store_chunk_size", "must be a power of two, from 1 to 32 (MiB)")
    wanted: int = settings.value("rados_connect_timeout")
    return RbdOptions(
        place=parse_place(settings),
        user=settings.value("rbd_store_user") or None,
        ceph_conf=settings.value("rbd_store_ceph_conf"),
        order=(size * MIB).bit_length() - 1,
        thin=settings.value("rbd_thin_provisioning"),
        connect_seconds=wanted if wanted > 0 else CONNECT_SECONDS,
        operation_seconds=settings.value("rbd_store_operation_timeout"),
    )


def parse_place(settings: StoreSettings) -> RbdPlace:
    """Return cluster and pool; nothing is connected. Raises StoreConfigError."""
    pool: str = settings.value("rbd_store_pool")
    if not pool or "/" in pool:
        raise settings.refuse("rbd_store_pool", "must be the name of a pool")
    return RbdPlace(_fsid(settings), pool)


def _fsid(settings: StoreSettings) -> str:
    """Return the id of the cluster as ceph.conf has it, so that URLs are known while the cluster is away."""
    path: str = settings.value("rbd_store_ceph_conf")
    try:
        modules = bindings()
    except ImportError:
        raise StoreConfigError(
            settings.group, "rbd_store_pool", settings.value("rbd_store_pool"),
            f"needs Ceph's modules for this Python: install the packages {PACKAGES} of the distribution",
        ) from None
    try:
        # Reads the file and connects nothing; '' is where Ceph's library looks by itself.
        fsid = modules.rados.Rados(conffile=path, rados_id=settings.value("rbd_store_user") or None).conf_get("fsid")
    except modules.errors:
        raise settings.refuse("rbd_store_ceph_conf", "must be a configuration file of Ceph that can be read") from None
    if not fsid or fsid == NO_FSID:
        raise settings.refuse(
            "rbd_store_ceph_conf", "must be a file with fsid, as `ceph config generate-minimal-conf` writes it"
        )
    return str(fsid)
