"""What a deployment owns: files in its store, and rows of the table that owns every byte."""

from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
from tests.support.daemons import Services
from tests.support.files import files_below
from tests.support.waiting import wait_for

SENTINEL = ".glance-store"


def rows(services: Services, statement: str, *values: object) -> list[tuple[Any, ...]]:
    """Return the rows of a query to the deployment's database."""
    with closing(_connected(services)) as connection, connection.cursor() as cursor:
        cursor.execute(statement, values or None)
        return cursor.fetchall()


def change(services: Services, statement: str, *values: object) -> None:
    """Change rows of the deployment's database, for example to let time pass."""
    with closing(_connected(services)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(statement, values or None)


def hasten(services: Services, image: str) -> None:
    """Cut short the pause of the scrubber before its next try to remove data of an image."""
    waits = "not_before > now() AND status <> 'deleted' AND lease_until IS NULL"
    change(services, f"UPDATE locations SET not_before = now() WHERE image_id = %s AND {waits}", image)


def wait_until_purged(services: Services, image: str, store: str | None = None) -> None:
    """Wait until the scrubber has removed the data of an image, in one store or in all, and said so.

    Its pause after a try that found them in use is cut short: the test waits no minute for it.
    """
    states = "SELECT DISTINCT status FROM locations WHERE image_id = %s AND store = coalesce(%s, store)"

    def is_purged() -> bool:
        hasten(services, image)
        return rows(services, states, image, store) == [("deleted",)]

    wait_for(is_purged, f"the end of the data of {image}", seconds=180)


def _connected(services: Services) -> Any:
    url = str(services.registry.options["database"]["connection"]).replace("+psycopg2", "")
    return psycopg2.connect(url, connect_timeout=60)


def files(folder: Path) -> set[str]:
    """Return the names of all files in a store's folder, unfinished ones too, except the store's own mark."""
    return {path.name for path in files_below(folder)} - {SENTINEL}


def left_behind(services: Services, image: str) -> list[str]:
    """Return what a refused upload of a queued image has left, each in words; nothing is right."""
    (status,) = rows(services, "SELECT status FROM images WHERE id = %s", image)[0]
    owners = rows(services, "SELECT status FROM locations WHERE image_id = %s AND status <> 'deleted'", image)
    left = [f"file {name}" for name in files(services.images) if name.startswith(image)]
    left += [f"location {owner}" for (owner,) in owners]
    return left if status == "queued" else [*left, f"status {status}"]
