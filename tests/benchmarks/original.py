"""The original service as it is measured: 2 processes with 8 threads each, under one of two servers.

No authentication, one store, no cache: the plainest it can be. Its own documentation names both servers.
"""

import signal
from pathlib import Path

from deploy.local import processes
from deploy.local.configuration import Options, merged

from tests.servers import original
from tests.servers.original import Original

NAME = "measured-original"
SERVERS = ("gunicorn", "uwsgi")

CALLER = {
    "X-Identity-Status": "Confirmed", "X-User-Id": "benchmark", "X-Project-Id": "benchmark", "X-Roles": "admin",
}
"""Headers that it believes when it is ``told`` who calls."""


class MeasuredOriginal(Original):
    """One of it, under one server, with its files in ``folder``."""

    workers = 2

    def __init__(
        self, folder: Path, server: str, database_url: str, stores: Options | None = None, *, told: bool = False
    ) -> None:
        """``told``: the headers CALLER tell who calls. Without a project of the caller it writes no volumes."""
        self.server = server
        policy = folder / "policy.yaml"
        own: Options = {
            "database": {"max_pool_size": 16, "max_overflow": 32},
            # Without Keystone no caller has a role; its default rules then refuse every write.
            "oslo_policy": {"policy_file": policy},
        }
        if told:
            own = merged(own, {"paste_deploy": {"config_file": folder / "paste.ini"}})
        super().__init__(folder, database_url, merged(own, stores or {}), NAME)
        policy.write_text('"context_is_admin": "@"\n')
        if told:
            usual = (self.programs.parent / "etc/glance/glance-api-paste.ini").read_text()
            (folder / "paste.ini").write_text(usual.replace(" unauthenticated-context ", " context "))

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it, with all its workers."""
        super().stop(signal.SIGINT if self.server == "uwsgi" else how)

    def command(self) -> list[str | Path]:
        """Return the command line of the server."""
        if self.server == "gunicorn":
            return super().command()
        return [
            self.programs / "uwsgi", "--http-socket", f"{processes.LOOPBACK}:{self.port}", "--module", original.MODULE,
            "--master", "--lazy-apps", "--need-app", "--enable-threads", "--thunder-lock",
            "--processes", str(self.workers), "--threads", str(self.threads), "--http-chunked-input",
            "--http-auto-chunked", "--buffer-size", "65535", "--socket-timeout", "60", "--listen", "100",
            "--disable-logging",
            # Without it a client keeps a connection that this server closes after each answer.
            "--add-header", "Connection: close",
        ]
