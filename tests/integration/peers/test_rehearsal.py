"""What the rehearsal of a take-over makes its own, and what it says when it cannot begin."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from deploy.migrate import main, service
from deploy.migrate.service import Beside

from glance_common.config import loading
from glance_registry.config import list_opts
from glance_registry.wsgi import database_url, replica_url

INSTALLED = """
[database]
connection = postgresql://glance:hunter2@db.example.org/glance
slave_connection = postgresql://glance:hunter2@replica.example.org/glance
"""
FAILING = """#!/bin/sh
seq 50
echo "ERROR: postgresql://glance:hunt@er2@db.example.org/glance is away" >&2
exit 1
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that the user of the database reaches."""
    made = Path(tempfile.mkdtemp(prefix="glance-test-rehearsal-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The configuration of the other installation."""
    file = tmp_path / "glance-api.conf"
    file.write_text(INSTALLED)
    return file


def test_no_database_of_the_installation_is_used(folder: Path, installed: Path):
    with Beside(folder, [installed]) as beside:
        beside.prepare()
        own = str(folder / "etc" / "glance-registry.conf")
        files = ["--config-file", str(installed), "--config-file", own]
        conf = loading.load("glance-registry", files, list_opts())
        assert "example.org" not in database_url(conf)
        assert replica_url(conf) is None


def test_a_schema_that_cannot_be_made_is_told_without_credentials(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    program = tmp_path / "glance-manage"
    program.write_text(FAILING)
    program.chmod(0o755)
    monkeypatch.setattr(service, "PROGRAMS", tmp_path)
    monkeypatch.setenv("GLANCE_ADOPT_FROM", "postgresql://glance@other.example.org/glance")
    assert main.main(["--config", str(installed)]) == 1
    told = capsys.readouterr().err
    assert told.startswith("ERROR: glance-manage db sync failed:\n32\n33\n")
    assert told.endswith("\n50\nERROR: postgresql://***@db.example.org/glance is away\n")
    assert "hunt" not in told
