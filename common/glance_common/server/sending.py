"""One answer that is sent from a file as its client takes it, and as the file grows."""

import logging
import os
import time
from enum import Enum
from typing import Any

from glance_common.body import BYTES_SENT, STATUS_SENT, ClientGone, DataFailed, FileBody
from glance_common.model.errors import GlanceError
from glance_common.server.connection import Connection, ShortFile
from glance_common.server.intake import RequestRefused
from glance_common.server.response import TransferResponse
from glance_common.stores.contract import StoreError

log = logging.getLogger(__name__)

STEP = 1024 * 1024
"""Most bytes that one client gets before it is the next one's turn."""

_UNREADABLE = RequestRefused("503 Service Unavailable", "the data cannot be read now, try again later")


def refuse_unreadable(conn: Connection, environ: dict[str, Any]) -> None:
    """Answer 503 instead of a body that failed before its first byte."""
    environ[STATUS_SENT] = _UNREADABLE.status.partition(" ")[0]
    conn.reject(_UNREADABLE)


def log_failure(text: str, request: Any, error: Exception) -> None:
    """Log ``text`` with the request and the error; what is no defect of the program needs no traceback."""
    is_told = isinstance(error, OSError | DataFailed | StoreError | GlanceError)
    log.error(f"{text}: %s", request.method, request.path, error, exc_info=None if is_told else error)


class SendStep(Enum):
    """What became of one step."""

    MORE = "more"
    """The client may take more at once."""

    FULL = "full"
    """The client takes nothing now."""

    NOTHING = "nothing"
    """The file holds nothing new."""

    REST = "rest"
    """The file cannot give the rest."""

    DONE = "done"
    """The client has all."""


class Sending:
    """An answer on its way: ``body`` goes to ``conn`` without a thread of its own."""

    def __init__(
        self, conn: Connection, request: Any, response: TransferResponse, environ: dict[str, Any], body: FileBody
    ) -> None:
        self.conn = conn
        self.request = request
        self.response = response
        self.body = body
        self.error: Exception | None = None
        """Why it ended early."""
        self.left_at = 0.0
        """When the file could not go on, in monotonic seconds."""
        self._environ = environ
        self._head = memoryview(response.take_head())
        self._length = response.response_length or 0
        self._is_begun = False
        self._moved_at = self._counted_at = 0.0

    def proceed(self) -> SendStep:
        """Send what the client takes at once, at most ``STEP`` bytes.

        Raises ClientDisconnected, ShortFile, and OSError of the file.
        """
        if self.response.sent >= self._length and not self._head:
            return SendStep.DONE
        part = self.body.ready()
        if part is None:
            return SendStep.REST
        offset, count = part
        if not count and self.response.sent < self._length:
            # The header waits for the first byte: until then an error can have a status of its own.
            return SendStep.NOTHING
        if self._head:
            if not self._is_begun and (error := self._error_at(offset)) is not None:
                return self._cannot_read(error)
            sent = self.conn.send_some(self._head)
            self._is_begun = self._is_begun or sent > 0
            self._head = self._head[sent:]
            if self._head:
                return SendStep.FULL
        return self._send(offset, min(count, STEP, self._length - self.response.sent))

    def _send(self, offset: int, count: int) -> SendStep:
        try:
            sent = self.conn.send_some_of_file(self.body.descriptor, offset, count) if count else 0
        except (OSError, ShortFile) as error:
            return self._cannot_read(error)
        self.response.sent += sent
        self.body.sent(sent)
        if self.response.sent >= self._length:
            return SendStep.DONE
        return SendStep.MORE if sent == count else SendStep.FULL

    def _error_at(self, offset: int) -> OSError | ShortFile | None:
        """Return why the file does not give the byte at an offset, None when it does."""
        try:
            is_there = bool(os.pread(self.body.descriptor, 1, offset))
        except OSError as error:
            return error
        return None if is_there else ShortFile("the file ends before its first byte")

    def _cannot_read(self, error: OSError | ShortFile) -> SendStep:
        """Say that a thread gives the rest. Raises ``error`` where none can."""
        if self.body.failed(error):
            return SendStep.REST
        raise error

    def blocked(self) -> None:
        """Note that the client takes nothing from now on."""
        self._moved_at = self._counted_at = time.monotonic()

    def check_wait(self) -> None:
        """Note that the client has taken nothing yet. Raises ClientTooSlow."""
        now = time.monotonic()
        since, self._counted_at = self._counted_at, now
        self.conn.note_wait(now - since, now - self._moved_at)

    def give_rest(self) -> None:
        """Send the rest in a thread. Raises ClientGone, and what the body raises."""
        self.response.give_head(bytes(self._head))
        for piece in self.body:
            self._is_begun = True
            self.response.write(piece)
        self.response.close()

    def end(self) -> None:
        """Tell the application that the answer is over; one that failed before its first byte is refused."""
        if self.error is not None and not self._is_begun and not isinstance(self.error, ClientGone):
            refuse_unreadable(self.conn, self._environ)
        self._environ[BYTES_SENT] = self.response.sent
        self.body.close()

    @property
    def keeps_connection(self) -> bool:
        """Whether the next request may follow on the connection."""
        return self.error is None and not self.response.should_close() and self.conn.drain()
