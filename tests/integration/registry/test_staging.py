"""Staged data: owned like all bytes, seen by no download, gone with the import or the image (lifecycle section 5)."""

import json

import pytest
from tests.support.owners import LEASE, OWNER, Owners, new_id
from tests.support.owners_imports import HOST, Imports

from glance_common.model import errors
from glance_common.model.operation import Held
from glance_registry.db.session import read
from glance_registry.images import crud
from glance_registry.locations.purge import ABANDONED, LATE_PASSES
from glance_registry.operations import steps


def test_stage_takes_the_image_to_uploading_and_keeps_the_data_apart(owners: Owners, imports: Imports) -> None:
    image = owners.create(disk_format=None, container_format=None)
    row = owners.start(image, store="staging", staging=True)
    assert owners.statuses(image) == ("uploading", ["writing"])
    for _ in range(2):
        owners.commit(row.attempt, 9, stage_host="http://here:9292")
    assert owners.statuses(image) == ("uploading", ["staged"])
    found = owners.image(image)
    assert (found.size, found.checksum, found.os_hash_value) == (9, None, None)
    assert found.properties == {"os_glance_stage_host": "http://here:9292"}
    assert json.loads(read(owners.engine, crud.get, OWNER, image, locations=True))["locations"] == []


def test_staged_data_wait_as_long_as_the_user_does(owners: Owners, imports: Imports) -> None:
    image = owners.create()
    imports.stage(image)
    owners.pass_time(10**6)
    assert owners.due()[0] == []
    assert owners.statuses(image) == ("uploading", ["staged"])


@pytest.mark.parametrize("end", ["abort", "death"])
def test_a_failed_stage_frees_the_image(owners: Owners, end: str) -> None:
    image = owners.create()
    row = owners.start(image, store="staging", staging=True)
    if end == "abort":
        owners.abort(row.attempt)
    else:
        owners.pass_time(LEASE + 1)
        owners.claim(row.id)
    assert owners.statuses(image) == ("queued", ["reaping"])
    assert owners.image(image).size is None


def test_a_stage_whose_host_is_gone_frees_the_image(owners: Owners, imports: Imports) -> None:
    """I7: only that host reaps its staging store, but the image does not wait for it."""
    image = owners.create()
    row = owners.start(image, store="staging", staging=True)
    owners.pass_time(ABANDONED)
    imports.claim()
    assert owners.statuses(image) == ("uploading", ["writing"])
    owners.pass_time(LEASE + 1)
    imports.claim()
    assert owners.statuses(image) == ("queued", ["reaping"])
    with pytest.raises(errors.Gone) as caught:
        owners.commit(row.attempt)
    assert caught.value.details == {"reason": "reaped"}
    # Its writer may still wake up, so the key has its late passes when the host is back.
    assert owners.due(stores=["staging"])[0] == [row.id]
    owners.purge(row.id)
    assert owners.location(row.id).late_passes == LATE_PASSES


def test_second_stage_or_upload_is_refused(owners: Owners, imports: Imports) -> None:
    image = owners.create()
    imports.stage(image)
    for staging in (True, False):
        with pytest.raises(errors.StatusConflict):
            owners.start(image, staging=staging)
    assert owners.statuses(image) == ("uploading", ["staged"])


def test_import_waits_for_complete_data(owners: Owners, imports: Imports) -> None:
    image = owners.create()
    row = owners.start(image, store="staging", staging=True)
    with pytest.raises(errors.Conflict) as caught:
        imports.create(image)
    assert caught.value.details == {"reason": "staging"}
    owners.commit(row.attempt)
    imports.create(image)
    assert owners.statuses(image) == ("importing", ["staged"])


def test_import_of_staged_data(owners: Owners, imports: Imports) -> None:
    image = owners.create()
    staged = imports.stage(image, "http://here:9292")
    imports.create(image, host=HOST)
    token = new_id()
    found = imports.claim(token)
    assert found is not None
    assert found["staged"] == [{"location": staged, "store": "staging", "key": image, "size": 7}]
    held = Held(found["id"], token)
    imports.copy(image, held)
    assert imports.finish(held)["status"] == "success"
    assert owners.statuses(image) == ("active", ["deleting", "active"])
    assert owners.image(image).properties == {}
    assert owners.due(stores=["staging"])[0] == [staged]
    owners.purge(staged)
    assert owners.statuses(image) == ("active", ["deleted", "active"])


def test_data_that_an_operation_stages_leave_the_image_alone(owners: Owners, imports: Imports) -> None:
    image = owners.create()
    held = imports.begun(image)
    row = owners.start(image, store="staging", staging=True, operation=held)
    assert owners.statuses(image) == ("importing", ["writing"])
    owners.commit(row.attempt, operation=held)
    assert owners.statuses(image) == ("importing", ["staged"])
    assert owners.image(image).size is None
    for _ in range(2):
        owners.run(steps.unstage, held)
        assert owners.statuses(image) == ("importing", ["deleting"])
    assert owners.due()[0] == [row.id]


def test_failure_of_the_import_drops_what_was_staged(owners: Owners, imports: Imports) -> None:
    image = owners.create()
    staged = imports.stage(image, "http://here:9292")
    imports.create(image)
    imports.finish(imports.claimed(), success=False)
    assert owners.statuses(image) == ("queued", ["deleting"])
    assert owners.image(image).properties == {}
    owners.purge(staged)
    assert imports.stage(image) != staged


@pytest.mark.parametrize("delayed", [True, False])
def test_delete_drops_staged_data_at_once(owners: Owners, imports: Imports, delayed: bool) -> None:
    image = owners.create()
    staged = imports.stage(image)
    assert owners.delete(image, delayed=delayed, scrub_time=600) == [staged]
    assert owners.statuses(image) == ("pending_delete", ["deleting"])
    assert owners.purge(staged) is True


def test_restore_of_a_staged_image_is_queued_and_drops_the_data(owners: Owners, imports: Imports) -> None:
    image = owners.create()
    staged = imports.stage(image, "http://here:9292")
    owners.delete(image)
    owners.restore(image)
    assert owners.statuses(image) == ("queued", ["deleting"])
    assert (owners.image(image).size, owners.image(image).properties) == (None, {})
    owners.purge(staged)
    assert owners.statuses(image) == ("queued", ["deleted"])


def test_delete_while_staging_leaves_the_bytes_with_their_owner(owners: Owners) -> None:
    image = owners.create()
    row = owners.start(image, store="staging", staging=True)
    assert owners.delete(image) == []
    with pytest.raises(errors.Gone) as caught:
        owners.commit(row.attempt)
    assert caught.value.details == {"reason": "deleted"}
    claim = owners.abort(row.attempt)
    assert claim is not None
    assert owners.done(row.id, claim["token"]) is True


def test_staged_data_of_a_copy_never_come_back_as_data(owners: Owners, imports: Imports) -> None:
    """A copy of an active image stages it: deleted and restored, the image has its own location and no other."""
    image, _ = owners.active()
    held = imports.copying(image)
    row = owners.start(image, store="staging", staging=True, operation=held)
    owners.commit(row.attempt, operation=held)
    owners.delete(image, delayed=True, scrub_time=600)
    owners.restore(image)
    assert owners.statuses(image) == ("active", ["active", "deleting"])
