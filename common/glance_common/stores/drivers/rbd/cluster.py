"""The connection of one store in one process, and the calls that are made through it."""

import json
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from glance_common.stores.calls import CallHangs, Calls, Steps
from glance_common.stores.ceph_modules import bindings
from glance_common.stores.contract import StoreError
from glance_common.stores.drivers.rbd import errors
from glance_common.stores.drivers.rbd.options import RbdOptions

T = TypeVar("T")

PATIENCE = 1.5
"""Times a limit of Ceph's library that a call is waited for: the library is to give up first."""

_SHUT_SECONDS = 2.0
"""How long the end of a connection is waited for; it may end later."""


class Link:
    """A connection, and how many use it."""

    def __init__(self, rados: Any) -> None:
        self.rados = rados
        self.users = 0
        self.ended = False


class CephCluster:
    """Connects at the first call, in each process: a connection does not survive a fork."""

    def __init__(self, options: RbdOptions) -> None:
        self._options = options
        self._modules = bindings()
        self.place = options.place.name
        self._lock = threading.Lock()
        self._kept: list[object] = []
        self._renew()

    def _renew(self) -> None:
        self._pid = os.getpid()
        self._calls = Calls("rbd")
        self._link: Future[Link] | None = None
        self._current: Link | None = None

    @contextmanager
    def pool(self) -> Iterator["Pool"]:
        """Give the pool to the block. Raises StoreUnavailable."""
        pool = self.open_pool()
        try:
            yield pool
        finally:
            pool.close()

    def open_pool(self) -> "Pool":
        """Return the pool, which the caller closes: by its name, as it may be another one than at the last call."""
        link = self._used()
        try:
            return Pool(self, link, self.ask("open the pool", lambda: self._open(link.rados), link=link))
        except BaseException:
            self.leave(link)
            raise

    def _used(self) -> Link:
        """Return the connection, which ``leave`` gives back."""
        while True:
            link = self._linked()
            with self._lock:
                if not link.ended:
                    link.users += 1
                    return link

    def _open(self, rados: Any) -> Any:
        found = rados.open_ioctx(self._options.place.pool)
        # A full cluster answers at once then, and lets us delete. Otherwise it keeps every call waiting.
        found.set_osdmap_full_try()
        return found

    def ask(
        self, operation: str, act: Callable[[], T], *, link: Link | None = None, expected: tuple[Any, ...] = (),
        late: Callable[[T], object] | None = None, progress: Steps | None = None,
    ) -> T:
        """Return what ``act`` returns, in time. Raises StoreError, and errors of the classes ``expected`` unchanged."""
        seconds = PATIENCE * self._options.operation_seconds
        try:
            return self._calls.run(act, seconds, late=late, progress=progress)
        except CallHangs:
            raise errors.too_slow(operation, self.place) from None
        except expected:
            raise
        except self._modules.errors as error:
            raise self.judged(errors.meaning(error, operation, self.place), link) from error

    def begin(self, act: Callable[[], object]) -> None:
        """Begin a call and do not wait for it."""
        with suppress(CallHangs):
            self._calls.run(act, 0)

    def judged(self, failed: StoreError, link: Link | None) -> StoreError:
        """Return the error; a connection that is of no use is not used again."""
        if link is not None and isinstance(failed, errors.RbdFailed) and failed.lost:
            self._end(link)
        return failed

    def free(self) -> int | None:
        """Return the bytes that can still be written into the pool; None when the cluster does not tell."""
        with self.pool() as pool:
            answer = pool.ask("ask for the free space", lambda: pool.link.rados.mon_command(
                json.dumps({"prefix": "df", "detail": "detail", "format": "json"}), b""
            ))
        return free_bytes(answer, self._options.place.pool)

    def close(self) -> None:
        """End the connection when its last user is gone."""
        if self._current is not None:
            self._end(self._current)

    def _linked(self) -> Link:
        """Return the connection. One caller makes it, others wait for that one."""
        with self._lock:
            if self._pid != os.getpid():
                # The parent's: closing it would hang, and so would the end of its last reference.
                self._kept.append(self._current)
                self._renew()
            answer = self._link
            is_ours = answer is None
            if answer is None:
                answer = self._link = Future()
        seconds = PATIENCE * self._options.connect_seconds
        if not is_ours:
            try:
                return answer.result(seconds)
            except TimeoutError:
                raise errors.too_slow("connect", self.place) from None
        try:
            link = Link(self._calls.run(self._connect, seconds, late=_shut))
        except BaseException as error:
            failed = self._failed(error)
            with self._lock:
                self._link = None
            answer.set_exception(failed)
            raise failed from None
        self._current = link
        answer.set_result(link)
        return link

    def _failed(self, error: BaseException) -> BaseException:
        if isinstance(error, CallHangs):
            return errors.too_slow("connect", self.place)
        if isinstance(error, self._modules.errors):
            return errors.meaning(error, "connect", self.place)
        return error

    def _connect(self) -> Any:
        options = self._options
        rados = self._modules.rados.Rados(conffile=options.ceph_conf, rados_id=options.user, conf={
            "client_mount_timeout": str(options.connect_seconds),
            "rados_mon_op_timeout": str(options.operation_seconds),
            "rados_osd_op_timeout": str(options.operation_seconds),
            # When a client that waits for an OSD asks the monitors where it is now. After its operation has ended it
            # would never ask, and not find an OSD that was started again.
            "objecter_timeout": str(min(10, options.operation_seconds / 3)),
            "objecter_tick_interval": str(min(5, options.operation_seconds / 6)),
            # A write that is answered is on the disks of the OSDs.
            "rbd_cache": "false",
            "err_to_stderr": "false",
            "log_to_stderr": "false",
        })
        try:
            rados.connect()
            found = rados.get_fsid()
            if found != options.place.fsid:
                raise errors.RbdFailed(f"{self.place}: connect: the monitors belong to another cluster, {found}")
        except BaseException:
            _shut(rados)
            raise
        return rados

    def _end(self, link: Link) -> None:
        with self._lock:
            if self._current is link:
                self._current = self._link = None
            is_unused = link.users == 0 and not link.ended
            link.ended = True
        if is_unused:
            self._shut_down(link)

    def leave(self, link: Link) -> None:
        """Note that one user of the connection is gone; the last one of an ended connection closes it."""
        with self._lock:
            link.users -= 1
            is_unused = link.ended and link.users == 0
        if is_unused:
            self._shut_down(link)

    def _shut_down(self, link: Link) -> None:
        if self._calls.lost:
            # A call that hangs may be one through this connection.
            self._kept.append(link)
            return
        with suppress(CallHangs):
            self._calls.run(lambda: _shut(link.rados), _SHUT_SECONDS)


class Pool:
    """The pool as one operation sees it."""

    def __init__(self, cluster: CephCluster, link: Link, io: Any) -> None:
        self.io = io
        """What Ceph's library calls an I/O context. It ends with its last reference, as a call that hangs has one."""
        self.link = link
        self.place = cluster.place
        self._cluster = cluster
        self._id = io.get_pool_id()
        self._is_open = True

    def ask(
        self, operation: str, act: Callable[[], T], *, expected: tuple[Any, ...] = (),
        late: Callable[[T], object] | None = None, progress: Steps | None = None,
    ) -> T:
        """Make a call, as ``CephCluster.ask``."""
        return self._cluster.ask(
            operation, act, link=self.link, expected=expected, late=late, progress=progress
        )

    def begin(self, act: Callable[[], object]) -> None:
        """Begin a call and do not wait for it; where too many hang it is not even begun."""
        self._cluster.begin(act)

    def failed(self, error: Exception, operation: str) -> StoreError:
        """Return what an error of the library means."""
        return self.judged(errors.meaning(error, operation, self.place))

    def judged(self, failed: StoreError) -> StoreError:
        """Return the error, as ``CephCluster.judged``."""
        return self._cluster.judged(failed, self.link)

    def require(self) -> None:
        """Raise StoreUnavailable when the pool was deleted: its images read as zeros then. Asks no server."""
        try:
            self.link.rados.pool_reverse_lookup(self._id)
        except bindings().errors as error:
            raise self.failed(error, "look for the pool") from error

    def close(self) -> None:
        """Let go of the pool; calling it again does nothing."""
        if self._is_open:
            self._is_open = False
            self._cluster.leave(self.link)


def _shut(rados: Any) -> None:
    with suppress(*bindings().errors):
        rados.shutdown()


def free_bytes(answer: tuple[int, bytes, str], pool: str) -> int | None:
    """Return the free bytes of a pool from the monitor's answer to ``df``, None when it does not tell.

    Without a manager all numbers are 0 or missing.
    """
    code, text, _ = answer
    if code:
        return None
    for entry in json.loads(text).get("pools", ()):
        if entry["name"] == pool:
            facts = entry["stats"]
            quota = facts.get("quota_bytes") or 0
            free: int = facts.get("max_avail") or 0
            left = max(quota - (facts.get("stored") or 0), 0) if quota else free
            return min(free, left) or None
    return None
