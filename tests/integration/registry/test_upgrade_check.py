"""glance-status upgrade check on real databases and stores (TOO-05)."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from deploy.local import configuration
from deploy.local.configuration import Options, merged
from tests.servers.rabbitmq import RabbitMQ
from tests.support.daemons import PROGRAMS
from tests.support.registry_rows import insert_image

from glance_common.delete_queue.broker import DEAD_QUEUE
from glance_common.messaging.connection import open_amqp, parse_broker
from glance_common.upgrade.contract import FINE, Severity
from glance_registry import upgrade_checks
from glance_registry.db import schema
from glance_registry.db.schema import Phase
from glance_registry.db.session import make_engine

pytestmark = pytest.mark.timeout(300)

NAMES = (
    "Policy file", "Sheepdog store", "Owners are projects", "Names of options", "Secret of the registry",
    "Message broker", "Database and schema", "Stores", "Orphan work",
)
QUEUE = "queue"
UNCHECKED = "not checked: that needs the database with a schema that this code can work with."


@dataclass
class Installation:
    """The files of a host where nothing runs."""

    folder: Path
    database: str

    def check(self, *more: str, options: Options | None = None) -> subprocess.CompletedProcess[str]:
        """Run the tool with these options changed in glance-api.conf."""
        own: Options = {
            "DEFAULT": {"transport_url": f"filesystem://{self.folder / QUEUE}", "bind_port": 19292},
            "registry": {"context_secret_file": self.folder / "secret"},
            "glance_store": {"stores": "file", "filesystem_store_datadir": self.folder / "images"},
        }
        etc = self.folder / "etc"
        configuration.write(etc, "glance-api", merged(own, options or {}))
        configuration.write(etc, "glance-registry", {"database": {"connection": self.database}})
        return subprocess.run(
            [PROGRAMS / "glance-status", *(more or ("upgrade", "check", "--json"))], capture_output=True, text=True,
            env={"PATH": "/usr/bin:/bin", "HOME": str(self.folder), "OS_GLANCE_CONFIG_DIR": str(etc)}, timeout=120,
            check=False,
        )

    def found(self, code: int, **how: Any) -> dict[str, tuple[str, str]]:
        """Return result and details of what is not a success, of a check that ends with ``code``."""
        done = self.check(**how)
        assert done.returncode == code, done.stdout + done.stderr
        document = json.loads(done.stdout)
        assert tuple(each["check"] for each in document["checks"]) == NAMES
        assert document["result"] == ("success", "warning", "failure")[code]
        return {
            each["check"]: (each["result"], each["details"]) for each in document["checks"]
            if each["result"] != "success"
        }


@pytest.fixture
def installation(tmp_path: Path, database: str) -> Installation:
    """An installation on which there is nothing to remark."""
    for name in ("images", QUEUE):
        (tmp_path / name).mkdir()
    configuration.make_secret(tmp_path / "secret")
    return Installation(tmp_path, database)


def test_too05_all_is_well(installation: Installation):
    assert installation.found(0) == {}
    shown = installation.check("upgrade", "check")
    assert shown.returncode == 0
    assert shown.stderr == ""
    lines = shown.stdout.splitlines()
    assert "Upgrade Check Results" in lines[1]
    assert sum(line.startswith("| Check: ") for line in lines) == len(NAMES)
    assert sum("Result: Success" in line for line in lines) == len(NAMES)
    assert len(set(map(len, lines))) == 1


def test_too05_what_the_original_checks(installation: Installation):
    etc = installation.folder / "etc"
    etc.mkdir()
    (etc / "policy.json").write_text('{"publicize_image": "role:admin"}')
    stores = {"stores": "file,sheepdog", "sheepdog_store_address": "127.0.0.1", "sheepdog_store_port": 1}
    found = installation.found(2, options={
        "DEFAULT": {"owner_is_tenant": False}, "glance_store": stores,
        "oslo_policy": {"policy_file": etc / "policy.json"},
    })
    assert found["Policy file"][0] == "warning"
    assert "rename it to policy.yaml" in found["Policy file"][1]
    assert found["Owners are projects"][0] == "failure"
    assert found["Sheepdog store"][0] == "warning"
    assert found["Stores"][0] == "failure"
    assert "sheepdog" in found["Stores"][1]  # its program, or its cluster, is not here


def test_too05_a_broken_policy_file(installation: Installation):
    (installation.folder / "policy.yaml").write_text("publicize_image: 'role:admin or ('\n")
    found = installation.found(2, options={"oslo_policy": {"policy_file": installation.folder / "policy.yaml"}})
    assert found["Policy file"][0] == "failure"
    assert "publicize_image" in found["Policy file"][1]


def test_too05_the_mode_of_the_secret_and_names_in_the_files(installation: Installation):
    (installation.folder / "secret").chmod(0o644)
    options = {"DEFAULT": {"data_api": "x", "data_bind": 1, "sql_min_pool_size": 2}}
    found = installation.found(2, options=options)
    assert found["Secret of the registry"][0] == "failure"
    assert "chmod 0640" in found["Secret of the registry"][1]
    assert found["Names of options"][0] == "warning"
    assert "data_bind is not a known option" in found["Names of options"][1]
    (installation.folder / "secret").chmod(0o600)
    found = installation.found(1, options={"DEFAULT": {"data_api": "x", "sql_min_pool_size": 2}})
    assert found["Names of options"][1].startswith("2 options without effect: ")


def test_too05_only_the_files(installation: Installation):
    words = ("--check-config", "--explain", "upgrade", "check")
    done = installation.check(*words)
    assert done.returncode == 0, done.stderr
    assert "[DEFAULT] bind_port = 19292  (" in done.stdout
    done = installation.check(*words, options={"DEFAULT": {"data_bind": 1}})
    assert done.returncode == 1
    assert "data_bind is not a known option" in done.stderr


def test_too05_a_database_without_schema_or_away(installation: Installation, empty_database: str):
    installation.database = empty_database
    found = installation.found(2)
    assert found["Database and schema"][0] == "failure"
    assert found["Database and schema"][1].startswith("the schema is at revision none, this code needs ")
    assert "glance-manage db sync" in found["Database and schema"][1]
    assert "glance-manage db expand" in found["Database and schema"][1]
    assert found["Stores"] == ("failure", UNCHECKED)
    installation.database = "postgresql://glance:hush-hush@127.0.0.1:1/glance"
    found = installation.found(2)
    assert found["Database and schema"][0] == "failure"
    assert "hush-hush" not in str(found)


def ran(database: str, statement: str) -> None:
    """Do one statement."""
    engine = make_engine(database)
    with engine.begin() as connection:
        connection.execute(sa.text(statement))
    engine.dispose()


def marked(database: str, revision: str) -> None:
    """Let the database have this revision, whatever it holds."""
    ran(database, f"UPDATE alembic_version SET version_num = '{revision}'")


def test_too05_a_schema_without_what_this_release_adds(installation: Installation):
    marked(installation.database, "0015")
    found = installation.found(2)
    severity, text = found["Database and schema"]
    assert severity == "failure"
    assert "next is glance-manage db expand, or, while the service is stopped, glance-manage db sync" in text
    assert found["Stores"] == found["Orphan work"] == ("failure", UNCHECKED)


def test_too05_a_schema_of_the_next_release(installation: Installation):
    marked(installation.database, "9999")
    (installation.folder / "images").rename(installation.folder / "unmounted")
    found = installation.found(2)
    assert found.keys() == {"Database and schema", "Stores"}
    severity, text = found["Database and schema"]
    assert severity == "warning"
    assert "revision 9999, which is newer than " in text
    assert found["Stores"][1].startswith("file: ")
    # When it has taken away what this release needs, this one does not work any more.
    ran(installation.database, "ALTER TABLE images DROP COLUMN min_ram")
    found = installation.found(2)
    assert found["Database and schema"][0] == "failure"
    assert "it has no images.min_ram any more: install" in found["Database and schema"][1]
    assert found["Stores"] == ("failure", UNCHECKED)


@pytest.mark.parametrize("phase", [Phase.MIGRATE, Phase.CONTRACT])
def test_too05_only_a_late_phase_is_left(database: str, phase: Phase, monkeypatch: pytest.MonkeyPatch):
    marked(database, "0015")
    monkeypatch.setattr(schema, "_step", lambda revision, _module: schema.Step(revision, phase, None))
    conf: Any = SimpleNamespace(database=SimpleNamespace(connection=database), orphan_hours=24)
    outcome = upgrade_checks.database(conf)
    assert outcome.severity is Severity.WARNING
    assert f"next is glance-manage db {phase}" in outcome.details
    assert upgrade_checks.orphan_work(conf) == FINE


def test_too05_stores_that_are_away(installation: Installation):
    (installation.folder / "images").rename(installation.folder / "unmounted")
    found = installation.found(2)
    assert found.keys() == {"Stores"}
    assert found["Stores"][1].startswith("file: ")


def test_too05_orphan_work(installation: Installation):
    engine = make_engine(installation.database)
    image = insert_image(engine, status="queued")
    ids = {"id": str(uuid4()), "image": image, "attempt": str(uuid4()), "location": str(uuid4())}
    with engine.begin() as connection:
        connection.execute(sa.text(
            "INSERT INTO operations (id, kind, image_id, status, deadline, on_fail, ttl, updated_at) VALUES "
            "(:id, 'import', :image, 'processing', now(), 'queued', 48, now() - interval '30 hours')"
        ), ids)
        connection.execute(sa.text(
            "INSERT INTO locations (id, image_id, store, key, status, attempt, attempts) VALUES "
            "(:location, :image, 'file', 'k', 'failed', :attempt, 100)"
        ), ids)
    engine.dispose()
    severity, text = installation.found(1)["Orphan work"]
    assert severity == "warning"
    assert "1 removals of data were given up" in text
    assert "1 operations on images have not moved for 24 hours" in text
    done = installation.check("--orphan-hours", "48", "upgrade", "check")
    assert "have not moved" not in done.stdout


def test_too05_messages_that_could_not_be_read(installation: Installation):
    (installation.folder / QUEUE / f"1_x.{DEAD_QUEUE.name}.msg").write_text("?")
    severity, text = installation.found(1)["Message broker"]
    assert (severity, text.split(" in ")[0]) == ("warning", "1 messages")
    (installation.folder / QUEUE).rename(installation.folder / "away")
    assert installation.found(2)["Message broker"][0] == "failure"
    assert not (installation.folder / QUEUE).exists()  # a check makes nothing


def test_too05_rabbitmq(installation: Installation, rabbitmq: RabbitMQ):
    options = {"DEFAULT": {"transport_url": rabbitmq.url}}
    with open_amqp(parse_broker(rabbitmq.url)) as connection:
        queue = DEAD_QUEUE(connection.default_channel)
        queue.delete()
        assert installation.found(0, options=options) == {}
        queue.declare()
        with connection.Producer() as producer:
            producer.publish("?", exchange=queue.exchange, routing_key=queue.routing_key)
        try:
            assert installation.found(1, options=options).keys() == {"Message broker"}
        finally:
            queue.delete()
    away = {"DEFAULT": {"transport_url": "amqp://glance:hush-hush@127.0.0.1:1/"}}
    found = installation.found(2, options=away)
    assert found["Message broker"][0] == "failure"
    assert "hush-hush" not in str(found)


@pytest.mark.parametrize(
    ("words", "options", "text"), [
        ((), {}, "usage"),
        (("upgrade",), {}, "required"),
        (("upgrade", "check", "--yaml"), {}, "unrecognized arguments"),
        (("upgrade", "check"), {"DEFAULT": {"bind_port": "none"}}, "ERROR: "),
    ],
)
def test_too05_what_cannot_be_found_out(installation: Installation, words: Any, options: Options, text: str):
    done = installation.check(*words, options=options) if words else installation.check("--nothing")
    assert done.returncode == 255
    assert text in done.stderr
    assert "Traceback" not in done.stderr
