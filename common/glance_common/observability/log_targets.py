"""Where the lines go beside files and stderr: the system's log and systemd's journal."""

import errno
import fcntl
import logging
import logging.handlers
import os
import socket
import sys
import time
from contextlib import suppress

from glance_common.observability.log_context import request_id
from glance_common.observability.log_formats import extras, message, traceback_of

SYSLOG = "/dev/log"
JOURNAL = "/run/systemd/journal/socket"

_WAIT = 5.0
"""Seconds that a line waits for a log that takes nothing; then it is lost, the request goes on."""

_DEAF_SECONDS = 30.0
"""How long no line is sent after one that was lost so: all threads would wait for each other."""

_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))


class _Patient(logging.Handler):
    """A log that may take nothing for a while."""

    def __init__(self, *arguments: str) -> None:
        super().__init__(*arguments)
        self._deaf_until = 0.0

    @property
    def _is_deaf(self) -> bool:
        """Whether the log took nothing a short time ago; asked under the lock, where other threads wait."""
        return time.monotonic() < self._deaf_until

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name is that of logging
        """Note that the log takes nothing, and say so on stderr as logging does."""
        if isinstance(sys.exception(), (TimeoutError, BlockingIOError)):
            self._deaf_until = time.monotonic() + _DEAF_SECONDS
        super().handleError(record)


class SystemLog(_Patient, logging.handlers.SysLogHandler):
    """Sends each line to the system's log under the program's name. Raises OSError when there is none at first."""

    def __init__(self, facility: str, prog: str) -> None:
        # The library looks for it at the first line only.
        os.stat(SYSLOG)
        super().__init__(SYSLOG, facility)
        self.ident = f"{prog}: "

    def emit(self, record: logging.LogRecord) -> None:
        """Send one line."""
        if not self._is_deaf:
            super().emit(record)

    def _connect_unixsocket(self, address: str) -> None:
        """Do as the library, with a limit from the beginning. It sends a line that was not taken a second time."""
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            made = socket.socket(socket.AF_UNIX, kind | socket.SOCK_CLOEXEC)
            made.settimeout(_WAIT / 2)
            try:
                made.connect(address)
            except OSError:
                made.close()
                if kind == socket.SOCK_STREAM:
                    raise
            else:
                self.socket, self.socktype = made, kind
                return


class Journal(_Patient):
    """Sends each event to systemd's journal by its native protocol: a datagram of fields.

    Raises OSError when there is no journal at first.
    """

    def __init__(self, prog: str) -> None:
        self._prog = prog
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.settimeout(_WAIT)
        self._path = JOURNAL
        try:
            self._socket.connect(self._path)
        except OSError:
            self._socket.close()
            raise
        # Last, because from then on the library closes the handler at the end.
        super().__init__()

    def emit(self, record: logging.LogRecord) -> None:
        """Send one event."""
        if self._is_deaf:
            return
        try:
            data = b"".join(_field(name, value) for name, value in self._fields(record).items())
            try:
                self._socket.send(data)
            except ConnectionRefusedError:
                # The journal was started anew.
                self._socket.connect(self._path)
                self._socket.send(data)
            except OSError as error:
                if error.errno != errno.EMSGSIZE:
                    raise
                self._send_as_file(data)
        except Exception:  # logging answers for its own errors
            self.handleError(record)

    def close(self) -> None:
        """Close the socket; nothing may be logged any more."""
        with suppress(OSError):
            self._socket.close()
        super().close()

    def _fields(self, record: logging.LogRecord) -> dict[str, str]:
        text = message(record)
        if record.exc_info:
            text += f"\n{traceback_of(record)}"
        known = {
            "MESSAGE": text,
            "PRIORITY": str(next((number for level, number in _PRIORITIES if record.levelno >= level), 7)),
            "SYSLOG_IDENTIFIER": self._prog,
            "LOGGER": record.name,
            "REQUEST_ID": request_id.get(),
        }
        return {**{_name(key): str(value) for key, value in extras(record).items()}, **known}

    def _send_as_file(self, data: bytes) -> None:
        """Send what is too large for a datagram in a sealed file, as the protocol asks."""
        descriptor = os.memfd_create("glance-log", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            with os.fdopen(os.dup(descriptor), "wb") as file:
                file.write(data)
            seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
            socket.send_fds(self._socket, [b""], [descriptor])
        finally:
            os.close(descriptor)


def _name(key: str) -> str:
    """Return a name that the journal takes: upper case letters, digits and underscores, no underscore first."""
    return "".join(char if char.isascii() and char.isalnum() else "_" for char in key).upper().lstrip("_0123456789")


def _field(name: str, value: str) -> bytes:
    data = value.encode(errors="backslashreplace")
    if b"\n" in data:
        return name.encode() + b"\n" + len(data).to_bytes(8, "little") + data + b"\n"
    return name.encode() + b"=" + data + b"\n"
