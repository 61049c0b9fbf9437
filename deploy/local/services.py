"""The three daemons as ``run-local`` starts them: their settings and how one sees that they work."""

from __future__ import annotations

import http.client
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from deploy.local import configuration, processes
from deploy.local.place import Place
from deploy.local.ports import Ports
from deploy.local.supervisor import Program

PROGRAMS = Path(sys.executable).parent
SAMPLES = Path(__file__).resolve().parents[2] / "etc" / "glance"
"""The files of an installation that are not generated from options: image schema and metadata definitions."""

STORE = "file"
"""Id of the store that uploads go to. Location rows hold it: data folders of the time with one store have this name."""

SECOND_STORE = "archive"


def write_settings(place: Place, ports: Ports, database_url: str) -> None:
    """Write the configuration of all programs, the image schema and the secret; the rest keeps its defaults."""
    configuration.make_secret(place.secret)
    secret = {"registry": {"context_secret_file": place.secret}}
    database = {"database": {"connection": database_url}}
    stores = _stores(place)
    common = configuration.merged(
        secret,
        stores,
        {
            "DEFAULT": {
                "registry_host": processes.LOOPBACK,
                "registry_port": ports.registry,
                "transport_url": f"filesystem://{place.queue}",
            },
        },
    )
    # A machine with many cores would otherwise get as many workers, and more sessions than the database takes.
    workers = min(4, os.cpu_count() or 1)
    api = {"bind_host": processes.LOOPBACK, "bind_port": ports.api, "workers": workers}
    staging = {"node_staging_uri": place.staging.as_uri()}
    definitions = {"metadata_source_path": SAMPLES / "metadefs"}
    settings: dict[str, configuration.Options] = {
        "glance-manage": configuration.merged(database, stores, {"DEFAULT": {**staging, **definitions}}),
        "glance-registry": configuration.merged(
            secret,
            database,
            {"DEFAULT": {"bind_host": processes.LOOPBACK, "bind_port": ports.registry, "workers": 2}},
        ),
        "glance-scrubber": common,
        "glance-api": configuration.merged(common, {"DEFAULT": {**api, **staging}}),
    }
    for program, options in settings.items():
        if program in ports.metrics:
            bind = f"{processes.LOOPBACK}:{ports.metrics[program]}"
            options = configuration.merged(options, {"DEFAULT": {"metrics_bind": bind}})
        configuration.write(place.settings / program, program, options)
    # The API looks for it where its configuration is.
    shutil.copyfile(SAMPLES / "schema-image.json", place.settings / "glance-api" / "schema-image.json")


def _stores(place: Place) -> configuration.Options:
    return {
        "DEFAULT": {"enabled_backends": f"{STORE}:file, {SECOND_STORE}:file"},
        "glance_store": {"default_backend": STORE},
        STORE: {"filesystem_store_datadir": place.images, "store_description": "the store that uploads go to"},
        SECOND_STORE: {"filesystem_store_datadir": place.archive, "store_description": "a second one, for copies"},
    }


def command(place: Place, program: str, *arguments: str) -> list[str | Path]:
    """Return the command that runs one of our programs with its settings."""
    return [PROGRAMS / program, "--config-dir", place.settings / program, *arguments]


def prepare(place: Place, run: Callable[[str, list[str | Path]], None]) -> None:
    """Bring the schema up to date, and load the metadata definitions unless that was done before.

    ``run`` runs a named command to its end; its errors go up.
    """
    run("glance-manage", command(place, "glance-manage", "db", "sync"))
    if not place.definitions_loaded.exists():
        run("glance-manage", command(place, "glance-manage", "db", "load_metadefs"))
        place.definitions_loaded.touch()


def programs(place: Place, ports: Ports) -> list[Program]:
    """Return the daemons in the order in which they start; they stop the other way round."""
    return [
        Program(
            "glance-registry",
            command(place, "glance-registry"),
            ready=lambda: _answers(ports.registry, ports.metrics["glance-registry"]),
        ),
        Program("glance-scrubber", command(place, "glance-scrubber", "--daemon")),
        Program(
            "glance-api",
            command(place, "glance-api"),
            ready=lambda: _answers(ports.api, ports.metrics["glance-api"]),
        ),
    ]


def _answers(service: int, metrics: int) -> bool:
    """Return whether a service works, and the process beside it that shows its metrics."""
    return _status(service, "/healthcheck") == http.client.OK and _status(metrics, "/metrics") == http.client.OK


def _status(port: int, path: str) -> int | None:
    """Return the HTTP status that a local address answers, or None without an answer."""
    connection = http.client.HTTPConnection(processes.LOOPBACK, port, timeout=10)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
