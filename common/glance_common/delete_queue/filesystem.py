"""The queue as a directory: kombu's ``filesystem://`` transport, made safe for several processes.

As it comes, that transport writes messages under their final names, so a consumer may take half a message; keeps
bindings in a file that is empty for a moment while it is made; and moves what it takes through the system's temporary
directory. Here a message appears complete, the process that removes its file is the one that has it, and bindings are
kept in memory, as every connection declares them anyhow.

Limits: the directory must be on a local disk of one machine, and be shared by one user only. A consumer that is killed
loses the message in its hands. Both are fine for nudges.
"""

import os
import time
import uuid
from collections import deque
from pathlib import Path
from queue import Empty
from typing import Any

from kombu.transport import filesystem, virtual
from kombu.utils.json import dumps, loads

from glance_common.delete_queue.broker import DEAD_QUEUE, MAX_LENGTH

_RECOUNT_SECONDS = 10.0
_COUNT_AHEAD = 1000


class Channel(filesystem.Channel):
    """The transport's channel with files that appear and vanish in one step."""

    get_table = virtual.Channel.get_table

    def __init__(self, connection: Any, **options: Any) -> None:
        super().__init__(connection, **options)
        self._names: deque[str] = deque()
        self._room = 0
        self._full_until = 0.0

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        """Do nothing: the channel has noted the binding in memory already."""

    def _put(self, queue: str, payload: Any, **_options: Any) -> None:  # type: ignore[override] # kombu's bases disagree
        if not self._has_room(queue):
            return
        folder = Path(self.data_folder_out)
        # One name for each writer, so that killed writers leave no more than that behind.
        unfinished = folder / f".{os.getpid()}-{id(self)}.unfinished"
        with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(dumps(payload))
        unfinished.rename(folder / f"{time.time_ns()}_{uuid.uuid4()}.{queue}.msg")

    def _has_room(self, queue: str) -> bool:
        """Tell whether the bound allows one more; listing a large directory is slow, so it is not done each time."""
        if self._room == 0:
            if time.monotonic() < self._full_until:
                return False
            self._room = max(0, min(_COUNT_AHEAD, MAX_LENGTH - self._size(queue)))
        if self._room == 0:
            self._full_until = time.monotonic() + _RECOUNT_SECONDS
            return False
        self._room -= 1
        return True

    def _get(self, queue: str, timeout: float | None = None) -> Any:  # noqa: ARG002 - files need no waiting
        """Return the oldest message; the process that removes the file owns it. Raises Empty."""
        while True:
            path = Path(self.data_folder_in) / self._next_name(queue)
            try:
                text = path.read_bytes()
                payload = self._read(text)
                if payload is None:
                    path.rename(path.with_name(f"{path.name.partition('.')[0]}.{DEAD_QUEUE.name}.msg"))
                    continue
                path.unlink()
            except FileNotFoundError:
                continue
            return payload

    def _next_name(self, queue: str) -> str:
        if not self._names:
            suffix = f"{queue}.msg"
            found = (name for name in os.listdir(self.data_folder_in) if name.partition(".")[2] == suffix)
            self._names.extend(sorted(found))
        if not self._names:
            raise Empty
        return self._names.popleft()

    def _read(self, text: bytes) -> Any:
        """Return the message in a file, or None when it is none."""
        try:
            payload = loads(text.decode("utf-8"))
            is_message = isinstance(self.Message(payload, channel=self).body, bytes)
        except Exception:  # whatever is wrong in it, it can only be put aside
            return None
        return payload if is_message else None


class DirectoryTransport(filesystem.Transport):
    """The transport with such channels and with bindings of its own."""

    Channel = Channel

    def __init__(self, client: Any, **options: Any) -> None:
        super().__init__(client, **options)
        self.state = virtual.BrokerState()
