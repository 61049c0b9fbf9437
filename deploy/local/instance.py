"""One run of the whole service in a data folder: database, schema, daemons, health; then wait for the end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from deploy.local import accounts, place, ports, processes, roundtrip, services, welcome
from deploy.local.arguments import Arguments
from deploy.local.embedded_postgres import DatabaseError, PostgresServer
from deploy.local.supervisor import Supervisor
from deploy.local.terminal import Terminal

CHECKOUT = Path(__file__).resolve().parents[2]
DATABASE = "glance"

FAILURES = (
    accounts.AccountError,
    DatabaseError,
    place.PlaceError,
    ports.PortError,
    processes.StartError,
    roundtrip.CheckError,
)
"""What ends a run with a text for the user."""


def run(asked: Arguments, stopping: Callable[[], bool], began: float) -> None:
    """Start everything, wait until ``stopping()`` is true, stop everything.

    ``began`` is the monotonic time of the start. Raises StopRequestedError when the end comes during the start, and one
    of FAILURES when something does not start, dies or fails the check.
    """
    terminal = Terminal(verbose=asked.verbose)
    account = accounts.server_account()
    here = place.choose(asked.data_dir, CHECKOUT, account)
    here.make()
    with here.locked(), ports.reserved(asked) as listening:
        database = PostgresServer(here.database, stopping=stopping)
        programs = Supervisor(here.logs, _environment(), terminal, stopping)
        try:
            terminal.say(f"starting in {here.root}")
            _start_database(database, here, listening, programs, terminal)
            _start_daemons(here, listening, programs, terminal)
            if asked.check:
                _check(listening.api_url, here, programs, terminal)
                return
            terminal.say(welcome.text(here, listening, time.monotonic() - began))
            died = programs.watch()
            if died is not None:
                raise processes.StartError(died)
        finally:
            terminal.say("stopping")
            programs.stop()
            database.stop()
            terminal.say("stopped the database")


def _start_database(
    database: PostgresServer, here: place.Place, listening: ports.Ports, programs: Supervisor, terminal: Terminal
) -> None:
    database.start()
    if not database.has_database(DATABASE):
        database.create_database(DATABASE)
    terminal.say(f"ready: database (process {database.pid})")
    services.write_settings(here, listening, database.url(DATABASE))
    services.prepare(here, programs.run_to_end)


def _start_daemons(here: place.Place, listening: ports.Ports, programs: Supervisor, terminal: Terminal) -> None:
    for program in services.programs(here, listening):
        programs.start(program)
        terminal.say(f"ready: {program.name} (process {programs.pid(program.name)})")


def _check(url: str, here: place.Place, programs: Supervisor, terminal: Terminal) -> None:
    try:
        roundtrip.run(url, here.images, terminal.say)
    except roundtrip.CheckError as error:
        # A daemon that has died is the better explanation.
        raise roundtrip.CheckError(programs.died() or str(error)) from None


def _environment() -> dict[str, str]:
    # The way this program itself is found would otherwise be taken for a place of the daemons' modules.
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
