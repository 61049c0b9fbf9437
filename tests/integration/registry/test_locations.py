"""Locations that users register, describe and take away: what the rows become (API section 7.1)."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from tests.support.owners import OWNER, Owners, new_id

from glance_common.model import errors
from glance_common.model.context import RequestContext
from glance_common.model.image import NewLocation
from glance_common.model.operation import Held
from glance_registry.locations import edit as locations
from glance_registry.locations.edit import Edit
from glance_registry.operations import completion, lifecycle, steps, tasks
from glance_registry.operations import hashing as location_imports
from glance_registry.operations.hashing import Hashing

WEB = "http://mirror.example.org/one.img"
STRANGER = RequestContext("req-stranger", project_id="stranger")


def new(**values: Any) -> NewLocation:
    return NewLocation(**{
        "id": new_id(), "store": "web", "key": WEB, "size": 7, "metadata": {}, "external": True, **values,
    })


def edit(owners: Owners, image: str, attempt: str | None = None, context: RequestContext = OWNER, **values: Any) -> str:
    """Edit the image as it is now; the order is that of the rows, then of the new ones, unless it is given."""
    wanted = {
        "row_version": owners.image(image).row_version, "changes": {}, "data": {}, "add": (), "metadata": {},
        "remove": (), **values,
    }
    active = [row.id for row in owners.locations(image) if row.status == "active"]
    order = [one for one in active if one not in wanted["remove"]] + [one.id for one in wanted["add"]]
    asked = Edit(attempt=attempt or new_id(), **{"order": tuple(order), **wanted})
    document: str = owners.run(locations.edit, context, image, asked)
    return document


def two_copies(owners: Owners) -> tuple[str, str, str]:
    image, first = owners.active()
    return image, first, owners.add_copy(image, "slow", size=7)


def test_a_queued_image_becomes_active_in_one_step(owners: Owners):
    image, data = owners.create(), {"size": 7, "os_hash_algo": "sha512", "os_hash_value": "a" * 128}
    location = new(metadata={"rack": "4"})
    document = edit(owners, image, add=(location,), data=data, changes={"name": "renamed"})
    assert f'"key" : "{WEB}"' in document
    assert orjson.loads(document)["name"] == "renamed"
    assert owners.statuses(image) == ("active", ["active"])
    row, kept = owners.image(image), owners.location(location.id)
    assert (row.size, row.os_hash_algo, row.os_hash_value) == (7, "sha512", "a" * 128)
    assert (kept.key, kept.size, kept.metadata, kept.external, kept.on_fail) == (WEB, 7, {"rack": "4"}, True, None)


def test_an_edit_that_is_repeated_happens_once(owners: Owners):
    image, attempt, location = owners.create(), new_id(), new()
    version = owners.image(image).row_version
    for _ in range(2):
        edit(owners, image, attempt, add=(location,), order=(location.id,), row_version=version, data={"size": 7})
    assert owners.statuses(image) == ("active", ["active"])


@pytest.mark.parametrize("missing", ["disk_format", "container_format"])
def test_without_formats_nothing_becomes_active(owners: Owners, missing: str):
    image = owners.create(**{missing: None})
    with pytest.raises(errors.BadRequest, match=f"{missing} must be set"):
        edit(owners, image, add=(new(),), data={"size": 7})
    assert owners.statuses(image) == ("queued", [])
    edit(owners, image, add=(new(),), data={"size": 7}, changes={missing: "raw"})
    assert owners.image(image).status == "active"


def test_no_two_images_own_the_same_bytes(owners: Owners):
    """Neither an active image's, nor those that an upload is writing, nor those that wait for their removal."""
    victim, _ = owners.active()
    writing = owners.create()
    owners.start(writing)
    dying, _ = owners.active()
    owners.delete(dying)
    for key in (victim, writing, dying):
        image = owners.create()
        with pytest.raises(errors.Duplicate, match="belong to an image"):
            edit(owners, image, add=(new(store="fast", key=key, external=False),), data={"size": 7})
        assert owners.statuses(image) == ("queued", [])
    assert owners.statuses(victim) == ("active", ["active"])
    other = owners.create()
    edit(owners, other, add=(new(store="slow", key=victim, external=False),), data={"size": 7})
    assert owners.image(other).status == "active"


def test_many_images_may_point_at_what_is_not_ours(owners: Owners):
    for _ in range(2):
        image = owners.create()
        edit(owners, image, add=(new(),), data={"size": 7})
        assert owners.image(image).status == "active"
    assert owners.delete(image) == [owners.locations(image)[0].id]
    owners.purge(owners.locations(image)[0].id)
    assert owners.statuses(image) == ("deleted", ["deleted"])


def test_an_upload_takes_another_key_than_a_registered_one(owners: Owners):
    uploaded, thief = owners.create(), owners.create()
    edit(owners, thief, add=(new(store="fast", key=uploaded, external=False),), data={"size": 7})
    assert owners.start(uploaded).key == f"{uploaded}.1"


def test_s17_the_last_location_stays(owners: Owners):
    image, first, second = two_copies(owners)
    with pytest.raises(errors.Forbidden, match="last location"):
        edit(owners, image, remove=(first, second))
    edit(owners, image, remove=(first,))
    with pytest.raises(errors.Forbidden, match="last location"):
        edit(owners, image, remove=(second,))
    assert owners.statuses(image) == ("active", ["deleting", "active"])


def test_what_is_taken_away_is_due_at_once_and_never_restored(owners: Owners):
    image, first, second = two_copies(owners)
    edit(owners, image, remove=(first,))
    assert owners.due()[0] == [first]
    owners.delete(image, delayed=True, scrub_time=3600)
    owners.restore(image)
    assert owners.statuses(image) == ("active", ["deleting", "active"])
    assert owners.purge(first) is False
    owners.delete(image, delayed=True, scrub_time=3600)
    owners.restore(image)
    assert owners.statuses(image) == ("active", ["deleted", "active"])
    assert owners.location(second).status == "active"


def test_metadata_and_order_change_in_place(owners: Owners):
    image, first, second = two_copies(owners)
    edit(owners, image, metadata={second: {"rack": "4"}}, order=(second, first))
    assert [(row.id, row.metadata) for row in owners.locations(image)] == [
        (second, {"rack": "4"}), (first, {"place": "/a"}),
    ]
    added = new(store="third", key=image, external=False)
    edit(owners, image, add=(added,), order=(added.id, second, first))
    assert [row.id for row in owners.locations(image)] == [added.id, second, first]


def test_an_edit_of_an_old_state_is_refused(owners: Owners):
    image, first, _second = two_copies(owners)
    version = owners.image(image).row_version
    edit(owners, image, metadata={first: {"a": "b"}})
    unknown = new_id()
    changes: list[dict[str, Any]] = [
        {"row_version": version}, {"order": (first,)}, {"metadata": {unknown: {}}}, {"remove": (unknown,)},
    ]
    for outdated in changes:
        with pytest.raises(errors.VersionConflict):
            edit(owners, image, **outdated)
    assert owners.statuses(image) == ("active", ["active", "active"])


@pytest.mark.parametrize("status", ["deactivated", "killed", "uploading", "importing", "saving"])
def test_other_statuses_allow_no_edit(owners: Owners, status: str):
    image, first, _second = two_copies(owners)
    owners.set_status(image, status)
    changes: list[dict[str, Any]] = [{"remove": (first,)}, {"metadata": {first: {}}}, {"add": (new(),)}]
    for change in changes:
        with pytest.raises(errors.StatusConflict):
            edit(owners, image, **change)
    assert owners.statuses(image) == (status, ["active", "active"])


def test_s24_what_an_image_says_of_its_data_never_changes(owners: Owners):
    image, _ = owners.active()
    with pytest.raises(errors.Conflict, match="do not change"):
        edit(owners, image, add=(new(),), data={"size": 7, "checksum": "0" * 32})
    assert owners.image(image).checksum == "c" * 32


def test_s43_strangers_see_no_image(owners: Owners):
    image, first, _ = two_copies(owners)
    with pytest.raises(errors.NotFound):
        edit(owners, image, context=STRANGER, remove=(first,))


def begin(owners: Owners, image: str, location: NewLocation, *, before_active: bool, attempt: str | None = None,
          operation: str | None = None, version: int | None = None, is_done: bool = False) -> str:
    """Register a location whose data are to be hashed; return the operation."""
    hashing = Hashing(operation or new_id(), {"loc_url": WEB}, 48, before_active, is_done)
    wanted = Edit(
        attempt=attempt or new_id(), row_version=version or owners.image(image).row_version, changes={},
        data={"size": 7, "os_hash_algo": "sha512"}, add=(location,), metadata={}, remove=(), order=(location.id,),
    )
    owners.run(location_imports.begin, OWNER, image, wanted, hashing)
    return hashing.id


def claim_hashing(owners: Owners, operation: str) -> Held:
    token = new_id()
    claimed = owners.run(lifecycle.claim, lifecycle.OperationClaim(token, "host", 60))
    assert (claimed["id"], claimed["kind"]) == (operation, "location_import")
    return Held(operation, token)


def test_an_image_waits_for_its_digests(owners: Owners):
    image, location, attempt, operation = owners.create(), new(), new_id(), new_id()
    version = owners.image(image).row_version
    for _ in range(2):
        begin(owners, image, location, before_active=True, attempt=attempt, operation=operation, version=version)
    assert owners.statuses(image) == ("importing", ["active"])
    assert owners.image(image).properties["os_glance_import_task"] == operation
    assert owners.image(image).os_hash_algo == "sha512"
    held = claim_hashing(owners, operation)
    owners.run(steps.update, held, {"os_hash_algo": "sha512", "os_hash_value": "a" * 128}, {})
    owners.run(completion.finish, held, True, "", None)
    assert owners.statuses(image) == ("active", ["active"])
    row = owners.image(image)
    assert (row.size, row.os_hash_value, row.properties) == (7, "a" * 128, {})


def test_wrong_digests_take_the_location_back(owners: Owners):
    image = owners.create()
    held = claim_hashing(owners, begin(owners, image, new(), before_active=True))
    owners.run(completion.finish, held, False, "another digest", None)
    assert owners.statuses(image) == ("queued", ["deleting"])
    row = owners.image(image)
    assert (row.size, row.os_hash_algo, row.properties) == (None, None, {})
    begin(owners, image, new(), before_active=True)
    assert owners.statuses(image) == ("importing", ["deleting", "active"])


def test_an_active_image_stays_so_whatever_becomes_of_the_hashing(owners: Owners):
    image = owners.create()
    held = claim_hashing(owners, begin(owners, image, new(), before_active=False))
    assert owners.statuses(image) == ("active", ["active"])
    assert owners.image(image).os_hash_algo == "sha512"
    owners.run(completion.finish, held, False, "the server is away", None)
    assert owners.statuses(image) == ("active", ["active"])
    assert owners.image(image).os_hash_algo is None, "an algorithm without digest says nothing"


def test_an_operation_of_which_nothing_is_left_to_do(owners: Owners):
    image, location, attempt, operation = owners.create(), new(), new_id(), new_id()
    version = owners.image(image).row_version
    for _ in range(2):
        begin(owners, image, location, before_active=False, attempt=attempt, operation=operation, version=version,
              is_done=True)
    assert owners.statuses(image) == ("active", ["active"])
    assert owners.image(image).properties == {}
    (task,) = owners.run(tasks.of_image, OWNER, image, 10**6)
    assert (task["id"], task["status"], task["result"]) == (operation, "success", {"image_id": image})
    assert task["expires_at"] is not None
    assert owners.run(lifecycle.claim, lifecycle.OperationClaim(new_id(), "host", 60)) is None


def test_s13_a_delete_ends_the_hashing(owners: Owners):
    image = owners.create()
    held = claim_hashing(owners, begin(owners, image, new(), before_active=True))
    owners.delete(image)
    assert owners.run(lifecycle.renew, held, 60, None) is False
    assert owners.statuses(image) == ("pending_delete", ["deleting"])


def test_a_refused_location_leaves_no_operation(owners: Owners):
    victim, _ = owners.active()
    for before_active in (True, False):
        image = owners.create()
        with pytest.raises(errors.Duplicate):
            begin(owners, image, new(store="fast", key=victim, external=False), before_active=before_active)
        assert owners.statuses(image) == ("queued", [])
        assert owners.run(lifecycle.claim, lifecycle.OperationClaim(new_id(), "host", 60)) is None
    active, _ = owners.active()
    with pytest.raises(errors.StatusConflict):
        begin(owners, active, new(), before_active=True)
