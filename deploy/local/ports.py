"""The TCP ports of one ``run-local``: asked for by the user or free, and never those of another ``run-local``."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from deploy.local import processes
from deploy.local.arguments import Arguments

METRICS = {"glance-api": 9392, "glance-registry": 9391, "glance-scrubber": 9393}
"""The defaults of ``metrics_bind``, which are taken while they are free."""


class PortError(Exception):
    """A port cannot be had; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the services listen on the loopback address; ``metrics`` by program."""

    api: int
    registry: int
    metrics: Mapping[str, int]

    @property
    def api_url(self) -> str:
        """The address that clients use."""
        return _url(self.api)

    @property
    def registry_url(self) -> str:
        """The address that the other daemons use."""
        return _url(self.registry)

    def metrics_url(self, program: str) -> str:
        """Return the address of a program's metrics and detailed health."""
        return _url(self.metrics[program])


@contextmanager
def reserved(asked: Arguments) -> Iterator[Ports]:
    """Choose the ports and keep them from other run-locals within the block, also before a daemon listens there.

    Raises PortError when a port that was asked for cannot be had.
    """
    with ExitStack() as held:
        yield Ports(
            api=_asked(asked.api_port, "--api-port", held),
            registry=_asked(asked.registry_port, "--registry-port", held),
            metrics={program: _near(port, held) for program, port in METRICS.items()},
        )


def _url(port: int) -> str:
    return f"http://{processes.LOOPBACK}:{port}"


def _asked(port: int, option: str, held: ExitStack) -> int:
    """Return ``port``, or a free one for 0."""
    if port == 0:
        return _free(held)
    try:
        taken = _take(port, held)
    except OSError as error:
        raise PortError(f"port {port}: {error.strerror}; choose another with {option}") from None
    if not taken:
        raise PortError(f"port {port} is in use; stop what listens there, or choose another with {option}")
    return port


def _near(port: int, held: ExitStack) -> int:
    """Return ``port`` when it is free, else any free one."""
    return port if _take(port, held) else _free(held)


def _free(held: ExitStack) -> int:
    while not _take(port := processes.free_port(), held):
        pass
    return port


def _take(port: int, held: ExitStack) -> bool:
    """Reserve a port and return whether it was free. Raises OSError as ``port_is_free`` does.

    A second run-local may choose its ports before the daemons of the first one listen. So the name of an abstract
    socket, which the kernel gives to one process of the machine and takes back at its end, stands for the port.
    """
    name = socket.socket(socket.AF_UNIX)
    try:
        name.bind(f"\0glance-services-local/port/{port}")
        free = processes.port_is_free(port)
    except OSError as error:
        name.close()
        if error.errno == errno.EADDRINUSE:
            return False
        raise
    if not free:
        name.close()
        return False
    held.enter_context(name)
    return True
