"""What systemd hears from a daemon (``Type=notify``)."""

import logging
import os
import socket

log = logging.getLogger(__name__)

PATIENCE = 5.0
"""Seconds that a supervisor which takes no messages is waited for: the kernel keeps only a few of them."""


class Notifier:
    """Tells systemd about the service's state; does nothing when systemd did not ask for it."""

    def __init__(self) -> None:
        # Taken out of the environment: workers and their children have nothing to tell.
        address = os.environ.pop("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address

    def send(self, *lines: str) -> None:
        """Send one message; a supervisor that does not listen, or takes nothing in time, is no reason to stop."""
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.settimeout(PATIENCE)
                sock.connect(self._address)
                sock.sendall("\n".join(lines).encode())
        except OSError as error:
            log.warning("systemd cannot be notified: %s", error)
