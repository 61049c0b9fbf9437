"""A database of the original as an old release left it, made by hand: its tables, and rows that tests put there."""

from __future__ import annotations

import itertools
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import sqlalchemy as sa

_SCHEMA = Path(__file__).with_name("old_schema.sql")
YEAR = datetime(2016, 5, 17, 12, 30, 15)
"""The creation time of a row that has none. Times there are UTC without a zone."""


def now() -> datetime:
    """Return the time as that database has it."""
    return datetime.now(UTC).replace(tzinfo=None, microsecond=0)


class OldDatabase:
    """Writes rows as the original did; every method returns the id of its row."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg2://", 1))
        self._numbers = itertools.count(1)
        self._is_mysql = self.engine.dialect.name == "mysql"

    def make_tables(self) -> None:
        """Make the tables of Mitaka."""
        text = _SCHEMA.read_text().replace("{time}", "DATETIME" if self._is_mysql else "TIMESTAMP WITHOUT TIME ZONE")
        lines = "\n".join(line for line in text.splitlines() if not line.startswith("--"))
        self.run(*(statement for statement in lines.split(";") if statement.strip()))

    def add_columns(self, revision: str) -> None:
        """Make the tables those of Wallaby and later, at this revision."""
        self.run(
            "ALTER TABLE images DROP COLUMN is_public",
            "ALTER TABLE images ADD COLUMN visibility VARCHAR(20) DEFAULT 'shared' NOT NULL",
            "ALTER TABLE images ADD COLUMN os_hidden BOOLEAN DEFAULT false NOT NULL",
            "ALTER TABLE images ADD COLUMN os_hash_algo VARCHAR(64)",
            "ALTER TABLE images ADD COLUMN os_hash_value VARCHAR(128)",
            *(f"ALTER TABLE tasks ADD COLUMN {name} VARCHAR(64)" for name in ("image_id", "request_id", "user_id")),
            "DROP TABLE migrate_version",
            "CREATE TABLE alembic_version (version_num VARCHAR(32) PRIMARY KEY)",
            f"INSERT INTO alembic_version VALUES ('{revision}')",
        )

    def run(self, *statements: str) -> None:
        """Run statements in one transaction."""
        with self.engine.begin() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)

    def insert(self, table: str, **values: Any) -> None:
        """Write one row of these columns."""
        columns: list[sa.ColumnClause[Any]] = [sa.column(name) for name in values]
        with self.engine.begin() as connection:
            connection.execute(sa.insert(sa.table(table, *columns)).values(**values))

    def update(self, table: str, condition: str, **values: Any) -> None:
        """Change the rows that meet a condition."""
        columns: list[sa.ColumnClause[Any]] = [sa.column(name) for name in values]
        with self.engine.begin() as connection:
            connection.execute(sa.update(sa.table(table, *columns)).where(sa.text(condition)).values(**values))

    def image(self, **values: Any) -> str:
        """Write an active image unless the values say otherwise."""
        usual = {
            "id": str(uuid4()), "name": "old", "size": 3, "status": "active", "is_public": False, "created_at": YEAR,
            "updated_at": YEAR + timedelta(hours=1), "deleted": False, "disk_format": "raw", "container_format": "bare",
            "checksum": "0" * 32, "owner": "project", "min_disk": 1, "min_ram": 2, "protected": False,
        }
        row = {**usual, **values}
        self.insert("images", **row)
        return str(row["id"])

    def _child(self, table: str, image: str, **values: Any) -> None:
        usual = {"id": next(self._numbers), "image_id": image, "created_at": YEAR, "updated_at": YEAR, "deleted": False}
        self.insert(table, **{**usual, **values})

    def property(self, image: str, name: str, value: str | None, **values: Any) -> None:
        """Write a property."""
        self._child("image_properties", image, name=name, value=value, **values)

    def tag(self, image: str, value: str, **values: Any) -> None:
        """Write a tag."""
        self._child("image_tags", image, value=value, **values)

    def member(self, image: str, member: str, status: str = "pending", **values: Any) -> None:
        """Write a member."""
        self._child("image_members", image, member=member, status=status, **{"can_share": False, **values})

    def location(self, image: str, url: str, metadata: Any = None, **values: Any) -> None:
        """Write a location."""
        text = json.dumps(metadata if metadata is not None else {})
        self._child("image_locations", image, value=url, meta_data=text, **{"status": "active", **values})

    def task(self, status: str, *, task_input: Any = None, result: Any = None, message: str = "", **values: Any) -> str:
        """Write a task that is not expired."""
        usual = {
            "id": str(uuid4()), "type": "import", "status": status, "owner": "project", "created_at": now(),
            "updated_at": now(), "expires_at": now() + timedelta(hours=48), "deleted": False,
        }
        row = {**usual, **values}
        self.insert("tasks", **row)
        self.insert(
            "task_info", task_id=row["id"], input=json.dumps(task_input), result=json.dumps(result), message=message
        )
        return str(row["id"])

    def close(self) -> None:
        """Close its connections."""
        self.engine.dispose()
