"""The unprivileged user as which root runs the embedded database, and what that user can reach."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import time
from pathlib import Path

NAME = "glance-local"


class AccountError(Exception):
    """No user exists, or can be made, that may run the database for root."""


def server_account() -> pwd.struct_passwd | None:
    """Return the user to drop to, or None when this process is not root and keeps its own.

    PostgreSQL refuses to run as root. The user is made when it is missing: it is not shared with any other service,
    so that no other user can read the data. Raises AccountError when it cannot be made.
    """
    if os.geteuid() != 0:
        return None
    for _ in range(20):
        try:
            return pwd.getpwnam(NAME)
        except KeyError:
            made = _make_account()
        if made.returncode:
            time.sleep(0.5)  # another process may hold the lock of /etc/passwd, or just make the same user
    raise AccountError(f"PostgreSQL does not run as root and user {NAME} could not be made: {made.stderr.strip()}")


def _make_account() -> subprocess.CompletedProcess[str]:
    useradd = shutil.which("useradd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if useradd is None:
        raise AccountError(f"PostgreSQL does not run as root; add a system user named {NAME} (useradd is not here)")
    options = ["--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
    return subprocess.run(
        [useradd, *options, "--shell", "/usr/sbin/nologin", NAME],
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,  # Ctrl-C must not end it half done
    )


def can_reach(folder: Path, account: pwd.struct_passwd | None) -> bool:
    """Return whether ``account`` may enter ``folder``, or the nearest part of its path that exists."""
    if account is None:
        return True
    existing = folder.resolve()
    while not existing.exists():
        existing = existing.parent
    # The kernel decides, not a reading of mode bits: access lists and read-only mounts count as well.
    probe = subprocess.run(
        ["/bin/sh", "-c", 'cd -- "$1"', "sh", str(existing)],
        user=account.pw_uid,
        group=account.pw_gid,
        extra_groups=(),
        cwd="/",
        stderr=subprocess.DEVNULL,
        check=False,
        start_new_session=True,  # one that Ctrl-C ended would say "no"
    )
    return probe.returncode == 0


def hand_over(folder: Path, account: pwd.struct_passwd | None) -> None:
    """Make ``folder`` when it is missing, closed to all users but ``account`` (or the caller)."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    if account is not None:
        os.chown(folder, account.pw_uid, account.pw_gid)
