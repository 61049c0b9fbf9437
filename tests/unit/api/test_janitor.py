"""The janitor purges what is due in the staging stores of its node, and never gives up."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.unit.scrubber.fakes import FakeDeletions, FakeStore

from glance_api.background import janitor as module
from glance_api.background.janitor import RETRY_AFTER, Janitor
from glance_api.imports.signals import WorkSignal
from glance_api.imports.work import work_folder
from glance_api.services.old_lists import OldLists
from glance_common.model.errors import ROW_HELD, Gone, Unavailable
from glance_common.stores.contract import StoreUnavailable


@pytest.fixture
def deletions():
    return FakeDeletions()


@pytest.fixture
def store(tmp_path: Path):
    made: Any = FakeStore("staging")
    made.directory, made.check = tmp_path, lambda: None
    return made


@pytest.fixture
def janitor(deletions, store):
    services = SimpleNamespace(
        registry=SimpleNamespace(deletions=deletions), staging=store, task_store=store, work=WorkSignal(),
        old_lists=OldLists(),
    )
    return Janitor(services, lambda: False)


def due(deletions, store, **values):
    location = deletions.add("staging", **values)
    store.keys.add(deletions.rows[location].key)
    return deletions.rows[location]


def test_what_is_due_is_purged(deletions, store, janitor):
    row = due(deletions, store, request_id="req-of-the-delete")
    other = deletions.add("fast")
    janitor()
    assert store.keys == set()
    assert (row.status, deletions.rows[other].status) == ("deleted", "pending_delete")
    assert ("done", "req-of-the-delete") in deletions.asked


def test_what_is_gone_already_counts_as_purged(deletions, store, janitor):
    row = due(deletions, store)
    store.keys.clear()
    janitor()
    assert row.status == "deleted"


@pytest.mark.parametrize("error", [StoreUnavailable("no sentinel"), OSError("disk")])
def test_what_fails_is_tried_again_however_often_it_failed(deletions, store, janitor, error, caplog):
    failing, next_one = due(deletions, store, attempts=5000), due(deletions, store)
    store.error = error
    janitor()
    for row in (failing, next_one):
        assert (row.status, row.delay) == ("deleting", RETRY_AFTER)
    assert "staged data of image image cannot be removed now" in caplog.text


def test_imp13_work_folders_of_processes_that_die_later_are_removed_too(janitor, store, monkeypatch):
    monkeypatch.setattr(module, "WORK_EVERY", 0.0)
    with work_folder(store.directory) as living:
        janitor()
        dead = living.with_name("of-a-worker-that-a-reload-replaced")
        dead.mkdir()
        janitor()
        assert living.exists()
        assert not dead.exists()


def test_work_folders_are_not_looked_for_all_the_time(janitor, store):
    with work_folder(store.directory) as living:
        janitor()
        dead = living.with_name("dead")
        dead.mkdir()
        janitor()
        assert dead.exists()


def test_a_directory_that_is_down_keeps_the_janitor_from_nothing(deletions, store, janitor, caplog):
    def check():
        raise StoreUnavailable("no sentinel")

    store.check = check
    row = due(deletions, store)
    janitor()
    assert row.status == "deleted"
    assert "work folders of dead imports cannot be looked for: no sentinel" in caplog.text


def test_a_work_folder_that_cannot_be_removed_is_told_once_until_the_reason_changes(
    janitor, store, caplog, monkeypatch
):
    monkeypatch.setattr(module, "WORK_EVERY", 0.0)
    with work_folder(store.directory) as folder:
        dead = folder.with_name("dead")
    dead.mkdir()
    lock = dead.with_name("dead.lock")
    lock.symlink_to("elsewhere")
    for _ in range(3):
        janitor()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "the work folder dead of a dead import" in caplog.text
    lock.unlink()
    lock.mkdir()
    janitor()
    assert "Is a directory" in caplog.records[1].getMessage()
    lock.rmdir()
    janitor()
    assert not dead.exists()
    assert len(caplog.records) == 2


def test_what_another_process_has_purged_is_no_failure(deletions, store, janitor, caplog):
    due(deletions, store)
    deletions.broken["done"] = Gone("another's")
    janitor()
    assert not caplog.records


def test_a_row_that_another_request_holds_does_not_end_the_round(deletions, store, janitor, caplog):
    deletions.poisoned = Unavailable("another request holds the row for too long", reason=ROW_HELD)
    held, free = due(deletions, store), due(deletions, store)
    deletions.poison.add(next(iter(deletions.rows)))
    janitor()
    assert (held.status, free.status) == ("pending_delete", "deleted")
    assert "another request holds the row" in caplog.text


def test_a_registry_that_is_away_ends_the_round(deletions, store, janitor):
    due(deletions, store)
    deletions.broken["claim"] = Unavailable("the registry does not answer")
    with pytest.raises(Unavailable):
        janitor()
    assert store.deleted == []
