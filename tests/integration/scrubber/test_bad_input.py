"""What an operator may mistype, and what may be away: one clear line on stderr, a non-zero exit, nothing changed."""

from __future__ import annotations

from collections.abc import Callable
from uuid import uuid4

import pytest
from deploy.local import processes
from tests.integration.scrubber.conftest import Cloud

UNKNOWN = str(uuid4())

TABLES = ("images", "locations", "orphans", "store_runs")


def everything(cloud: Cloud) -> list[object]:
    """Return all rows and files."""
    rows = [cloud.rows(f"SELECT * FROM {table} ORDER BY 1, 2") for table in TABLES]
    return [*rows, cloud.services.files()]


def refused(cloud: Cloud, *arguments: str) -> str:
    """Return what glance-scrubber says: one line on stderr, nothing on stdout, exit code 1."""
    done = cloud.services.scrub_once(*arguments)
    said = f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert done.returncode == 1, said
    assert done.stdout == "", said
    assert done.stderr.count("\n") == 1, said
    assert done.stderr.startswith("ERROR: "), said
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.fixture
def cloud(make_cloud: Callable[..., Cloud]) -> Cloud:
    """A cloud with an image, and one store of each: that can list and that cannot."""
    made = make_cloud(scrubber=False, shared={"glance_store": {"stores": "file, http"}})
    made.image()
    return made


def test_unknown_ids_and_wrong_states(cloud: Cloud) -> None:
    (active,) = cloud.rows("SELECT id::text, image_id::text AS image FROM locations")
    before = everything(cloud)
    for arguments, words in (
        (("--verify", "--store", "nowhere"), "there is no store 'nowhere'; configured are file, http"),
        (("--verify", "--image", UNKNOWN), f"image {UNKNOWN} has no data in a configured store"),
        (("--verify", "--image", "no-uuid"), "image_id must be a uuid"),
        (("--reconcile", "--store", "nowhere"), "there is no store 'nowhere'"),
        (("--reconcile", "--fix", "--store", "http"), "store http cannot list its objects"),
        (("--restore", UNKNOWN), UNKNOWN),
        (("--restore", "no-uuid"), "no-uuid"),
        (("--restore", active.image), "active"),
        (("--quarantine", "release", UNKNOWN), f"nothing in quarantine has the ID '{UNKNOWN}'"),
        (("--quarantine", "release", active.id), "nothing in quarantine has the ID"),
        (("--quarantine", "discard", active.id), "nothing in quarantine has the ID"),
        (("--quarantine", "discard"), "release and discard take one"),
        (("--quarantine", "list", UNKNOWN), "--quarantine list takes no ID"),
        (("--fix",), "--fix can only be used with --reconcile"),
        (("--verify", "--reconcile"), "--verify and --reconcile cannot be used together"),
        (("--verify", "--store", "file", "--image", UNKNOWN), "--store and --image cannot be used together"),
    ):
        assert words in refused(cloud, *arguments), arguments
    assert everything(cloud) == before


@pytest.mark.parametrize("kind", ["verify", "reconcile"])
def test_a_second_run_at_the_same_time(cloud: Cloud, kind: str) -> None:
    cloud.rows(
        "INSERT INTO store_runs (kind, store, token, lease_until)"
        " VALUES (:kind, 'file', :token, now() + interval '1 hour')", kind=kind, token=str(uuid4()),
    )
    (cloud.services.images / str(uuid4())).write_bytes(b"orphan")
    before = everything(cloud)
    arguments = ("--verify",) if kind == "verify" else ("--reconcile", "--fix")
    done = cloud.services.scrub_once(*arguments, "--store", "file")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr == f"ERROR: {kind} file: another process is at the {kind} run of store file\n"
    assert everything(cloud) == before


def test_the_registry_is_away(cloud: Cloud) -> None:
    cloud.services.registry.stop()
    before = everything(cloud)
    for arguments in (
        ("--verify", "--store", "file"), ("--reconcile", "--fix", "--store", "file"),
        ("--quarantine", "discard", UNKNOWN), ("--dead-letters", "replay"), ("--restore", UNKNOWN),
    ):
        done = cloud.services.scrub_once(*arguments)
        assert done.returncode == 1, arguments
        assert done.stderr.count("\n") == 1, done.stderr
        assert done.stderr.startswith("ERROR: "), done.stderr
        assert "the registry does not answer" in done.stderr
    assert everything(cloud) == before


def test_the_broker_is_away(make_cloud: Callable[..., Cloud]) -> None:
    url = f"amqp://user:s3cret-word@127.0.0.1:{processes.free_port()}//"
    cloud = make_cloud(scrubber=False, transport_url=url)
    cloud.delete(cloud.image())
    cloud.rows("UPDATE locations SET status = 'failed', attempts = 9, last_error = 'on fire'")
    before = everything(cloud)
    for action in ("list", "replay"):
        said = refused(cloud, "--dead-letters", action)
        assert said.startswith("ERROR: the delete queue at ")
        assert "s3cret-word" not in said
    assert everything(cloud) == before
