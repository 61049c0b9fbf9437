"""os-brick: what makes a volume a device of this host, or a file-like object, and lets go of it again (S-20).

Its calls may hang whatever their own limits say, so each has a thread and a deadline. What needs privileges is done by
its helper alone (oslo.privsep), or in the process where that runs as root.
"""

import logging
import os
import platform
import shlex
import socket
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from glance_common.stores.calls import CallHangs, Calls
from glance_common.stores.ceph_modules import bindings
from glance_common.stores.drivers.cinder.disks import DeviceDisk, Disk, FileLikeDisk, RbdDisk
from glance_common.stores.drivers.cinder.errors import of_device
from glance_common.stores.drivers.cinder.options import BrickOptions

LOG = logging.getLogger(__name__)

_HELPER = "sudo"

_NO_HELPER = frozenset({"FailedToDropPrivileges", "FileNotFoundError", "PermissionError"})
"""What comes when the helper cannot be started."""

T = TypeVar("T")


class Brick:
    """os-brick for one store. Calls raise CinderFailed."""

    def __init__(self, options: BrickOptions, place: str) -> None:
        self.options = options
        self.host = options.host
        self.calls = Calls("os-brick")
        self.kept: set[Connected] = set()
        """What could not be let go, besides what is being let go."""
        self._place = place
        self._properties: dict[str, Any] | None = None

    def properties(self) -> Mapping[str, Any]:
        """Return what Cinder must know of this host."""
        found = self._properties
        if found is None:
            self._properties = found = self.ask("look at this host", self._look)
        return found

    def connect(self, info: Mapping[str, Any], *, writable: bool) -> "Connected":
        """Make the volume usable, as ``info`` of Cinder says."""
        return self.ask(
            "connect a volume", lambda: self._connect(info, writable), late=lambda made: made.disconnect()
        )

    def disconnect(self, info: Mapping[str, Any]) -> None:
        """Let go of a volume that a process of this host used which has died."""
        self.ask("disconnect a volume", lambda: _connector(self.options, info).disconnect_volume(
            info, None, force=True, ignore_errors=True
        ))

    def ask(self, operation: str, act: Callable[[], T], *, late: Callable[[T], object] | None = None) -> T:
        """Return what ``act`` returns, in time. Raises CinderFailed."""
        try:
            return self.calls.run(act, self.options.change, late=late)
        except (CallHangs, Exception) as error:
            raise of_device(error, operation, self._place) from None

    def _look(self) -> dict[str, Any]:
        options, library = self.options, _library(self.options)
        try:
            with _warnings_withheld():
                found: dict[str, Any] = library.get_connector_properties(
                    _HELPER, _address(), options.multipath, options.enforce_multipath, host=options.host
                )
        except Exception as error:
            if options.enforce_multipath or type(error).__name__ not in _NO_HELPER:
                raise
            LOG.warning(
                "os-brick's helper cannot be started (%s): until the next start of this process only volumes that need "
                "no privileges, those of Ceph, can be attached", type(error).__name__,
            )
            return {
                "platform": platform.machine(), "os_type": sys.platform, "ip": _address(), "host": options.host,
                "multipath": False, "do_local_attach": False,
            }
        return found

    def _connect(self, info: Mapping[str, Any], writable: bool) -> "Connected":
        connector = _connector(self.options, info)
        device = connector.connect_volume(dict(info))
        return Connected(connector, info, device, writable=writable)


class Connected:
    """A volume that this process can use."""

    def __init__(self, connector: Any, info: Mapping[str, Any], device: Mapping[str, Any], *, writable: bool) -> None:
        self._connector = connector
        self._info = info
        self._device = device
        self._owner: tuple[str, int] | None = None
        try:
            self.disk = self._open(device["path"], writable)
        except BaseException:
            self.disconnect()
            raise

    @property
    def is_shared(self) -> bool:
        """Say whether other processes of this host use the same device."""
        return isinstance(self._device["path"], str | bytes | os.PathLike)

    def extend(self) -> None:
        """Notice that the volume has become larger."""
        self._connector.extend_volume(dict(self._info))

    def disconnect(self) -> None:
        """Let go of the device, with force: none may stay (S-20)."""
        if self._owner is not None:
            _own(*self._owner)
        self._connector.disconnect_volume(dict(self._info), dict(self._device), force=True, ignore_errors=True)

    def _open(self, path: Any, writable: bool) -> Disk:
        if not self.is_shared:
            return RbdDisk(path) if hasattr(path, "rbd_image") else FileLikeDisk(path)
        path = os.fsdecode(path)
        if not os.access(path, os.R_OK | (os.W_OK if writable else 0)):
            self._owner = (path, os.stat(path).st_uid)
            _own(path, os.getuid())
        return DeviceDisk(path, writable=writable)


def _own(path: str, user: int) -> None:
    """Give the device to a user, by os-brick's helper."""
    from os_brick.privileged import rootwrap

    rootwrap.execute("chown", str(user), path, run_as_root=True, root_helper=_HELPER)


def _connector(options: BrickOptions, info: Mapping[str, Any]) -> Any:
    return _library(options).InitiatorConnector.factory(
        info["driver_volume_type"], _HELPER, use_multipath=options.multipath, conn=dict(info),
        nfs_mount_point_base=options.mount_base, nfs_mount_options=info.get("options"),
    )


_lock = threading.Lock()
_ready: tuple[int, Any] | None = None


def library(lock_path: str, helper: str | None = None) -> Any:
    """Return os-brick's module of connectors, which is set up once in each process. Raises ImportError."""
    global _ready
    with _lock:
        if _ready is None or _ready[0] != os.getpid():
            _ready = (os.getpid(), _set_up(lock_path, helper))
        return _ready[1]


def _library(options: BrickOptions) -> Any:
    return library(options.lock_path, options.helper)


def load() -> None:
    """Load os-brick, so that its absence is known at the start. Raises ImportError."""
    with _without_eventlet(), warnings.catch_warnings():
        # Parts of it are announced to end, which is its own business.
        warnings.simplefilter("ignore")
        from oslo_service import backend

        if backend.get_backend_type() is None:
            backend.init_backend(backend.BackendType.THREADING)
        try:
            bindings()
        except ImportError:
            LOG.debug("Ceph's modules are not there: volumes of Ceph cannot be attached")
        import os_brick.initiator.connector  # noqa: F401 - as below
        import oslo_privsep.daemon  # noqa: F401 - it would come later


@contextmanager
def _warnings_withheld() -> Iterator[None]:
    """Keep os-brick from warning, in the block, of each kind of storage that this host has no tools for."""
    logger = logging.getLogger("os_brick")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def _without_eventlet() -> Iterator[None]:
    """Let the libraries in the block do without eventlet, which they take when it is there.

    Its loops belong to a process that is all eventlet's, and it complains of every fork.
    """
    if "eventlet" in sys.modules:
        yield
        return
    sys.modules["eventlet"] = None  # type: ignore[assignment]  # Python's way to say: not there
    try:
        yield
    finally:
        del sys.modules["eventlet"]


def _set_up(lock_path: str, helper: str | None) -> Any:
    load()
    import os_brick
    from os_brick import privileged
    from os_brick.initiator import connector
    from oslo_concurrency import lockutils
    from oslo_config import cfg
    from oslo_privsep import priv_context

    Path(lock_path).mkdir(mode=0o755, parents=True, exist_ok=True)
    conf = cfg.CONF  # noqa: TID251 - os-brick and its libraries know no other
    conf([], project="glance", default_config_files=[], default_config_dirs=[])
    lockutils.set_defaults(lock_path)
    os_brick.setup(conf)
    contexts = (privileged.default, privileged.brick_privsep_hide_output)
    if os.geteuid() == 0:
        for context in contexts:
            context.set_client_mode(False)
    else:
        priv_context.init(root_helper=shlex.split(_HELPER))
        if helper:
            conf.set_override("helper_command", helper, group="privsep_osbrick")
    return connector


def _address() -> str:
    try:
        return socket.gethostbyname(socket.gethostname())
    except OSError:
        return "127.0.0.1"
