"""``deploy/run-local`` once the project is installed: database, schema, daemons, health; then wait for Ctrl-C."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from deploy.local import accounts, arguments, place, processes, roundtrip, services
from deploy.local.embedded_postgres import DatabaseError, PostgresServer
from deploy.local.supervisor import StopRequestedError, Supervisor

CHECKOUT = Path(__file__).resolve().parents[2]
DATABASE = "glance"

_FAILURES = (
    accounts.AccountError,
    DatabaseError,
    place.PlaceError,
    processes.StartError,
    roundtrip.CheckError,
)

_COMMANDS = """\

Ready. Ctrl-C stops everything; the data stays in {root}, the logs are in {logs}.
Paste into another terminal (the clients: pip install python-openstackclient python-glanceclient):

    openstack --os-auth-type none --os-endpoint {url} image list
    openstack --os-auth-type none --os-endpoint {url} image create --disk-format qcow2 --file disk.qcow2 my-image
    glance --os-auth-token x --os-image-url {url} image-list

    curl -s {url}/v2/images -H 'Content-Type: application/json' \\
         -d '{{"name": "first", "disk_format": "raw", "container_format": "bare"}}'
    curl -T FILE -H 'Content-Type: application/octet-stream' {url}/v2/images/ID/file
    curl -o COPY {url}/v2/images/ID/file
    curl -X DELETE {url}/v2/images/ID
"""


def main() -> int:
    """Run until Ctrl-C or TERM (exit code 0), or until something fails (exit code 1, the reason on stderr)."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    asked = arguments.parse()
    # Not an Event: a handler that interrupts the thread waiting for it can hang on the event's own lock.
    signals: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: signals.append(number))
    try:
        return _run(asked, lambda: bool(signals))
    except StopRequestedError:
        return 0
    except _FAILURES as error:
        print(f"run-local: {error}", file=sys.stderr)
        return 1


def _run(asked: arguments.Arguments, stopping: Callable[[], bool]) -> int:
    account = accounts.server_account()
    here = place.choose(asked.data_dir, CHECKOUT, account)
    here.make()
    with here.locked():
        ports = services.Ports(
            api=place.port(asked.api_port, "--api-port"),
            registry=place.port(asked.registry_port, "--registry-port"),
            metrics={program: place.port_near(port) for program, port in services.METRICS_PORTS.items()},
        )
        database = PostgresServer(here.database)
        programs = Supervisor(here.logs, _environment(), _say, stopping)
        try:
            _start(here, ports, database, programs)
            if asked.check:
                _check(ports.api_url, here, programs)
                return 0
            _say(_COMMANDS.format(root=here.root, logs=here.logs, url=ports.api_url))
            died = programs.watch()
            if died is not None:
                raise processes.StartError(died)
            return 0
        finally:
            _say("stopping")
            programs.stop()
            database.stop()
            _say("stopped the database")


def _start(here: place.Place, ports: services.Ports, database: PostgresServer, programs: Supervisor) -> None:
    _say(f"data folder: {here.root}")
    database.start()
    if not database.has_database(DATABASE):
        database.create_database(DATABASE)
    _say(f"ready: database (process {database.pid})")
    services.write_settings(here, ports, database.url(DATABASE))
    programs.run_to_end("glance-manage", services.command(here, "glance-manage", "db", "sync"))
    for program in services.programs(here, ports):
        programs.start(program)
        _say(f"ready: {program.name} (process {programs.pid(program.name)})")
    for name, port in (("glance-registry", ports.registry), ("glance-api", ports.api)):
        address = f"http://{processes.LOOPBACK}:{port}/healthcheck"
        _say(f"health: {name} answers {services.status(port, '/healthcheck')} at {address}")
    for name in services.METRICS_PORTS:
        _say(f"metrics: {name} at {ports.metrics_url(name)}/metrics, details of its health at /healthcheck there")


def _check(url: str, here: place.Place, programs: Supervisor) -> None:
    try:
        roundtrip.run(url, here.images, _say)
    except roundtrip.CheckError as error:
        # A daemon that has died is the better explanation.
        raise roundtrip.CheckError(programs.died() or str(error)) from None


def _say(text: str) -> None:
    # Whoever read the output may be gone (a closed terminal, a pipe's end): everything must still be stopped.
    with suppress(OSError):
        sys.stdout.write(f"{text}\n")


def _environment() -> dict[str, str]:
    # The way this program itself is found would otherwise be taken for a place of the daemons' modules.
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


if __name__ == "__main__":
    sys.exit(main())
