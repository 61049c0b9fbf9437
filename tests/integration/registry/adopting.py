"""What the tests of glance-manage adopt share: an old database beside ours, and the tool with a configuration."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from tests.support.old_database import OldDatabase

from glance_common.model.limits import Usage
from glance_registry.db.session import make_engine, read
from glance_registry.manage import main
from glance_registry.quota import usage

STORES = """
[DEFAULT]
enabled_backends = disk:file, web:http, bucket:s3
[glance_store]
default_backend = disk
[disk]
filesystem_store_datadir = {folder}
[bucket]
s3_store_host = http://s3.example.org:8080
s3_store_bucket = images
s3_store_access_key = new
s3_store_secret_key = newsecret
"""


@dataclass
class Adopting:
    """Our empty database with the schema, the other one, and the tool."""

    old: OldDatabase
    target: str
    folder: Path
    capsys: pytest.CaptureFixture[str]
    stores: str = STORES
    _engines: list[sa.Engine] = field(default_factory=list)

    @property
    def engine(self) -> sa.Engine:
        """Our database."""
        if not self._engines:
            self._engines.append(make_engine(self.target))
        return self._engines[0]

    def run(self, *arguments: str, expected: int = 0, source: str | None = None) -> str:
        """Run glance-manage adopt, and return what it printed."""
        configured = self.folder / "glance-manage.conf"
        configured.write_text(
            f"[database]\nconnection = {self.target}\n" + self.stores.format(folder=self.folder / "images")
        )
        self.capsys.readouterr()
        code = main.main(["--config-file", str(configured), "adopt", "--from", source or self.old.url, *arguments])
        said = self.capsys.readouterr()
        text = said.out + said.err
        assert code == expected, text
        return text

    def file(self, image: str) -> str:
        """Return the URL of an image in the store disk."""
        return (self.folder / "images" / image).as_uri()

    def rows(self, statement: str, **values: Any) -> list[Any]:
        """Return rows of our database."""
        with self.engine.connect() as connection:
            return list(connection.execute(sa.text(statement), values))

    def execute(self, statement: str, **values: Any) -> None:
        """Change rows of our database."""
        with self.engine.begin() as connection:
            connection.execute(sa.text(statement), values)

    def make_here(self, image: str) -> None:
        """Make an image here, as a user does."""
        columns = "id, status, visibility, create_attempt"
        self.execute(f"INSERT INTO images ({columns}) VALUES (:id, 'queued', 'private', :id)", id=image)

    def image(self, image: str) -> Any:
        """Return the row of an image here."""
        (row,) = self.rows("SELECT * FROM images WHERE id = :id", id=image)
        return row

    def locations(self, image: str) -> list[tuple[Any, ...]]:
        """Return store, key, status and size of the locations of an image here, as they are ordered."""
        found = self.rows(
            "SELECT store, key, status, size FROM locations WHERE image_id = :id ORDER BY position", id=image
        )
        return [tuple(row) for row in found]

    def usage(self, owner: str) -> Usage:
        """Return what an owner uses here."""
        return read(self.engine, usage.of_owner, owner)

    def contents(self) -> dict[str, list[Any]]:
        """Return all rows of our database, for comparing."""
        tables = ("images", "members", "locations", "operations", "metadef_namespaces", "metadef_properties")
        return {name: [tuple(row) for row in self.rows(f"SELECT * FROM {name} ORDER BY 1, 2")] for name in tables}

    def close(self) -> None:
        """Close the connections."""
        self.old.close()
        for engine in self._engines:
            engine.dispose()
