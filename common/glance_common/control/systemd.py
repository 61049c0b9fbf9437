"""Hosts where systemd runs the servers: their units are asked instead."""

import shutil
import subprocess
from pathlib import Path

from glance_common.control.servers import ControlledServer

BOOTED = Path("/run/systemd/system")
"""Exists where systemd is the init process (sd_booted)."""

ANSWER_SECONDS = 30
"""For questions; what changes a unit may take as long as the unit allows."""

VERBS = {
    "start": "start", "stop": "stop", "shutdown": "stop", "restart": "restart", "reload": "reload",
    "force-reload": "reload", "status": "status",
}
"""Commands of glance-control and what systemctl calls them. Its stop is graceful as well: TERM, and the unit's time."""


def is_unit(server: ControlledServer) -> bool:
    """Tell whether systemd runs on this host and knows the unit of the server."""
    if not BOOTED.is_dir() or shutil.which("systemctl") is None:
        return False
    return _property(server, "LoadState") == "loaded"


def act(server: ControlledServer, command: str) -> int:
    """Let systemctl do a command; return its exit code. Its output goes to the terminal."""
    return subprocess.run(["systemctl", VERBS[command], server.unit], stdin=subprocess.DEVNULL, check=False).returncode


def main_pid(server: ControlledServer) -> int | None:
    """Return the id of the unit's main process, None when it is stopped."""
    text = _property(server, "MainPID")
    return int(text) if text.isdigit() and text != "0" else None


def _property(server: ControlledServer, name: str) -> str:
    command = ["systemctl", "show", "--property", name, "--value", server.unit]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
