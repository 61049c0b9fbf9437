"""Rows and files of a deployment at rest, which can be brought back after a test has damaged them."""

from __future__ import annotations

from pathlib import Path

from tests.support.deployment import INCOMING, SENTINEL, Deployment

_TABLES = ("images", "members", "locations", "operations")
"""In the order in which rows refer to each other."""


class Snapshot:
    """What a deployment held when this was made."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._files = {path: path.read_bytes() for path in self._everything()}
        for table in _TABLES:
            deployment.execute(f"DROP TABLE IF EXISTS kept_{table}; CREATE TABLE kept_{table} AS TABLE {table}")

    def bring_back(self) -> None:
        """Make rows and files what they were."""
        self._deployment.empty_tables()
        for table in _TABLES:
            columns = ", ".join(
                row["column_name"] for row in self._deployment.query(
                    "SELECT column_name FROM information_schema.columns"
                    " WHERE table_name = %s AND is_generated = 'NEVER'", table
                )
            )
            self._deployment.execute(f"INSERT INTO {table} ({columns}) SELECT {columns} FROM kept_{table}")
        for path in self._everything():
            if path not in self._files:
                path.unlink()
        for path, data in self._files.items():
            path.write_bytes(data)

    def _everything(self) -> list[Path]:
        directories = (*self._deployment.stores.values(), *self._deployment.stagings.values())
        found = [path for each in directories for path in (*each.iterdir(), *(each / INCOMING).glob("*"))]
        return [path for path in found if path.is_file() and path.name != SENTINEL]
