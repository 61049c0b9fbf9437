"""The API of the vCenter or ESX host: one session a process, tasks that are waited for, and what a datastore is."""

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

from glance_common.fetch.deadlines import current, pause, within
from glance_common.stores.contract import StoreError
from glance_common.stores.drivers.vmware.errors import BROKEN, EXPIRED, MISSING, TAKEN, VmwareFailed
from glance_common.stores.drivers.vmware.options import VmwareOptions
from glance_common.stores.drivers.vmware.place import Datastore, DatastoreFile
from glance_common.stores.drivers.vmware.transport import HttpsClient

if TYPE_CHECKING:
    from glance_common.stores.drivers.vmware.soap import SoapLine

_FIRST_PAUSE = 0.02
_PAUSES = (0.1, 1.0)
"""Seconds before a question for the state of a task is asked again."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Reference:
    """A datastore and its datacenter by their ids, which hold for all sessions."""

    datacenter: str
    datastore: str


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file that a search found: its name in the directory, bytes, seconds of the epoch."""

    name: str
    size: int
    modified: float


class VCenter:
    """Calls raise StoreUnavailable, mostly VmwareFailed, and StoreFull or InUse where the server says so."""

    def __init__(self, options: VmwareOptions, transport: HttpsClient) -> None:
        self._options = options
        self._transport = transport
        self._lock = threading.Lock()
        self._line: tuple[int, SoapLine] | None = None
        self._references: dict[Datastore, Reference] = {}

    def line(self) -> "SoapLine":
        """Return the line of this process's session, which begins now when there is none."""
        made = self._line
        return made[1] if made is not None and made[0] == os.getpid() else self.renewed(None)

    def renewed(self, expired: "SoapLine | None") -> "SoapLine":
        """Return a line of a session that began after ``expired``, maybe for another thread."""
        from glance_common.stores.drivers.vmware.soap import SoapLine, log_in

        left = min(current().ends_at - monotonic(), self._options.call_timeout)
        if not self._lock.acquire(timeout=max(left, 0)):
            raise VmwareFailed(f"{self._options.place.host}: the login of another call takes too long", "login")
        try:
            made = self._line
            if made is not None and made[0] == os.getpid() and made[1] is not expired:
                return made[1]
            line = SoapLine(self._transport, self._options.place.host)
            log_in(line, self._options.user, self._options.password)
            self._line = (os.getpid(), line)
            return line
        finally:
            self._lock.release()

    def is_live(self, line: "SoapLine") -> bool:
        """Say whether the session of the line is still there. Raises StoreUnavailable when that cannot be asked."""
        from glance_common.stores.drivers.vmware.soap import content

        try:
            return content(line).sessionManager.currentSession is not None
        except VmwareFailed as error:
            if error.code in EXPIRED:
                return False
            raise

    def call(self, act: Callable[["SoapLine"], T]) -> T:
        """Return what ``act`` returns; a session that expired is renewed."""
        with within(self._options.call_timeout):
            line = self.line()
            for _ in range(self._options.logins):
                try:
                    return act(line)
                except VmwareFailed as error:
                    if error.code not in EXPIRED:
                        raise
                line = self.renewed(line)
            return act(line)

    def _on(self, datastore: Datastore, act: Callable[[Reference], T]) -> T:
        """Return what ``act`` returns with the ids of a datastore, which are asked for once.

        They are asked for again when the server does not know them any more.
        """
        known = self._references.get(datastore)
        if known is not None:
            try:
                return act(known)
            except VmwareFailed as error:
                if error.code != "ManagedObjectNotFound":
                    raise
        self._references[datastore] = found = self.call(lambda line: self._look_up(line, datastore))
        return act(found)

    def _look_up(self, line: "SoapLine", datastore: Datastore) -> Reference:
        from glance_common.stores.drivers.vmware.soap import content, datastores_below

        host = self._options.place.host
        datacenter = content(line).searchIndex.FindByInventoryPath(datastore.datacenter)
        if datacenter is None or not hasattr(datacenter, "datastoreFolder"):
            raise VmwareFailed(f"{host}: there is no datacenter {datastore.datacenter}", "datacenter")
        found = datastores_below(datacenter.datastoreFolder).get(datastore.name)
        if found is None:
            raise VmwareFailed(f"{host}: {datastore.datacenter} has no datastore {datastore.name}", "datastore")
        return Reference(datacenter._moId, found)  # noqa: SLF001 - the library has no public way

    def free(self, datastore: Datastore) -> int | None:
        """Return the free bytes of a datastore, None for one that cannot be reached or is in maintenance."""
        summary = self._on(
            datastore,
            lambda reference: self.call(lambda line: _bound("Datastore", reference.datastore, line).summary),
        )
        usable = summary.accessible and summary.maintenanceMode in (None, "normal")
        return int(summary.freeSpace) if usable else None

    def make_directory(self, file: DatastoreFile) -> None:
        """Make a directory with those above it; one that is there is left alone."""

        def act(reference: Reference) -> None:
            self.call(lambda line: _files(line).MakeDirectory(file.name, _datacenter(reference, line), True))

        try:
            self._on(file.datastore, act)
        except VmwareFailed as error:
            if error.code not in TAKEN:
                raise

    def move(self, source: DatastoreFile, target: DatastoreFile, *, replace: bool = False) -> None:
        """Give a file another name in its datastore. Raises VmwareFailed with a code of TAKEN, MISSING."""

        def act(reference: Reference) -> None:
            def start(line: "SoapLine") -> Any:
                datacenter = _datacenter(reference, line)
                return _files(line).MoveDatastoreFile_Task(source.name, datacenter, target.name, datacenter, replace)

            self._done(start, f"renaming to {target.name}")

        self._on(source.datastore, act)

    def delete(self, file: DatastoreFile) -> bool:
        """Delete a file; return False when there was none."""

        def act(reference: Reference) -> None:
            self._done(
                lambda line: _files(line).DeleteDatastoreFile_Task(file.name, _datacenter(reference, line)),
                f"deleting {file.name}",
            )

        try:
            self._on(file.datastore, act)
        except VmwareFailed as error:
            if error.code in MISSING:
                return False
            raise
        return True

    def search(self, directory: DatastoreFile, pattern: str) -> list[FoundFile]:
        """Return the files of a directory whose names match. A directory that is missing is an error."""

        def act(reference: Reference) -> Any:
            from glance_common.stores.drivers.vmware.soap import search_spec

            def start(line: "SoapLine") -> Any:
                browser = _bound("Datastore", reference.datastore, line).browser
                return browser.SearchDatastore_Task(directory.name, search_spec(pattern))

            return self._done(start, f"listing {directory.name}")

        result = self._on(directory.datastore, act)
        return [
            FoundFile(each.path, int(each.fileSize or 0), _seconds(each.modification)) for each in result.file or ()
        ]

    def close(self) -> None:
        """End the session of this process."""
        from glance_common.stores.drivers.vmware.soap import content

        made, self._line = self._line, None
        if made is not None and made[0] == os.getpid():
            # A session that cannot be ended now expires by itself.
            with suppress(StoreError), within(min(self._options.call_timeout, 5.0)):
                content(made[1]).sessionManager.Logout()

    def _done(self, start: Callable[["SoapLine"], Any], what: str) -> Any:
        """Start a task, wait until it is done, and return its result. Raises StoreError of its fault."""
        from glance_common.stores.drivers.vmware.soap import fault_error

        text = f"{self._options.place.host}, {what}"
        with within(self._options.task_timeout) as scope:
            task = str(self.call(start)._moId)  # noqa: SLF001 - the library has no public way
            seconds = _FIRST_PAUSE
            while True:
                info = self._info(task)
                if info.state == "success":
                    return info.result
                if info.state == "error":
                    raise fault_error(info.error, text)
                if monotonic() >= scope.ends_at:
                    raise VmwareFailed(f"{text}: took more than {self._options.task_timeout:g} seconds", "task")
                pause(seconds)
                seconds = min(2 * seconds, self._options.poll_interval)

    def _info(self, task: str) -> Any:
        """Return the state of a task, which goes on when a connection breaks: so the question is asked again."""
        for seconds in _PAUSES:
            try:
                return self.call(lambda line: _bound("Task", task, line).info)
            except VmwareFailed as error:
                if error.code != BROKEN:
                    raise
                pause(seconds)
        return self.call(lambda line: _bound("Task", task, line).info)


def _bound(kind: str, identity: str, line: "SoapLine") -> Any:
    from glance_common.stores.drivers.vmware.soap import bound

    return bound(kind, identity, line)


def _files(line: "SoapLine") -> Any:
    from glance_common.stores.drivers.vmware.soap import content

    return content(line).fileManager


def _datacenter(reference: Reference, line: "SoapLine") -> Any:
    return _bound("Datacenter", reference.datacenter, line)


def _seconds(modified: datetime | None) -> float:
    return modified.timestamp() if modified is not None else 0.0
