"""The three daemons as ``run-local`` starts them: their settings and how one sees that they work."""

from __future__ import annotations

import http.client
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.local import configuration, processes
from deploy.local.place import Place
from deploy.local.supervisor import Program

PROGRAMS = Path(sys.executable).parent
METRICS_PORTS = {"glance-api": 9392, "glance-registry": 9391, "glance-scrubber": 9393}
"""The defaults of ``metrics_bind``."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the services listen on the loopback address; ``metrics`` by program."""

    api: int
    registry: int
    metrics: Mapping[str, int]

    @property
    def api_url(self) -> str:
        """The address that clients use."""
        return f"http://{processes.LOOPBACK}:{self.api}"

    def metrics_url(self, program: str) -> str:
        """Return the address of a program's metrics and detailed health."""
        return f"http://{processes.LOOPBACK}:{self.metrics[program]}"


def write_settings(place: Place, ports: Ports, database_url: str) -> None:
    """Write the configuration of all programs and the secret; everything not named keeps its default."""
    configuration.make_secret(place.secret)
    secret = {"registry": {"context_secret_file": place.secret}}
    database = {"database": {"connection": database_url}}
    common = configuration.merged(
        secret,
        {
            "DEFAULT": {
                "registry_host": processes.LOOPBACK,
                "registry_port": ports.registry,
                "transport_url": f"filesystem://{place.queue}",
            },
            "glance_store": {"stores": "file", "default_store": "file", "filesystem_store_datadir": place.images},
        },
    )
    # A machine with many cores would otherwise get as many workers, and more sessions than the database takes.
    workers = min(4, os.cpu_count() or 1)
    api = {
        "bind_host": processes.LOOPBACK,
        "bind_port": ports.api,
        "workers": workers,
        "node_staging_uri": place.staging.as_uri(),
    }
    settings: dict[str, configuration.Options] = {
        "glance-manage": database,
        "glance-registry": configuration.merged(
            secret,
            database,
            {"DEFAULT": {"bind_host": processes.LOOPBACK, "bind_port": ports.registry, "workers": 2}},
        ),
        "glance-scrubber": common,
        "glance-api": configuration.merged(common, {"DEFAULT": api}),
    }
    for program, options in settings.items():
        if program in ports.metrics:
            bind = f"{processes.LOOPBACK}:{ports.metrics[program]}"
            options = configuration.merged(options, {"DEFAULT": {"metrics_bind": bind}})
        configuration.write(place.settings / program, program, options)


def command(place: Place, program: str, *arguments: str) -> list[str | Path]:
    """Return the command that runs one of our programs with its settings."""
    return [PROGRAMS / program, "--config-dir", place.settings / program, *arguments]


def programs(place: Place, ports: Ports) -> list[Program]:
    """Return the daemons in the order in which they start; they stop the other way round."""
    return [
        Program(
            "glance-registry",
            command(place, "glance-registry"),
            ready=lambda: status(ports.registry, "/healthcheck") == http.client.OK,
        ),
        Program("glance-scrubber", command(place, "glance-scrubber", "--daemon")),
        Program(
            "glance-api",
            command(place, "glance-api"),
            ready=lambda: status(ports.api, "/healthcheck") == http.client.OK,
        ),
    ]


def status(port: int, path: str) -> int | None:
    """Return the HTTP status that a local address answers, or None when nobody does."""
    connection = http.client.HTTPConnection(processes.LOOPBACK, port, timeout=10)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
