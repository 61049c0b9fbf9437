"""The servers that glance-control knows, and the words of its command line for them."""

from collections.abc import Mapping
from dataclasses import dataclass

ALL = "all"
START_ORDER = ("registry", "api", "scrubber")
"""What others depend on comes first; they stop in the opposite order."""


class ControlError(Exception):
    """What glance-control cannot do; the text is for its user."""


@dataclass(frozen=True, slots=True)
class ControlledServer:
    """One daemon. ``patience``: seconds that its graceful end may take, as in its systemd unit."""

    program: str
    patience: float
    arguments: tuple[str, ...] = ()
    can_reload: bool = False

    @property
    def unit(self) -> str:
        """The name of its systemd unit."""
        return f"{self.program}.service"


SERVERS: Mapping[str, ControlledServer] = {
    "registry": ControlledServer("glance-registry", patience=60, can_reload=True),
    "api": ControlledServer("glance-api", patience=60, can_reload=True),
    "scrubber": ControlledServer("glance-scrubber", patience=300, arguments=("--daemon",)),
}

WORDS = (ALL, *SERVERS, *(server.program for server in SERVERS.values()))


def named(word: str) -> list[ControlledServer]:
    """Return the servers that a word of the command line means, in the order in which they start."""
    if word == ALL:
        return [SERVERS[name] for name in START_ORDER]
    return [SERVERS[word.removeprefix("glance-")]]
