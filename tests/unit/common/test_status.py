"""The status tables: complete, and exactly the transitions of the life cycle."""

from glance_common.model import status
from glance_common.model.status import ImageStatus, LocationStatus, OperationStatus


def test_every_status_has_its_row():
    assert set(status.IMAGE_TRANSITIONS) == set(ImageStatus)
    assert set(status.LOCATION_TRANSITIONS) == set(LocationStatus)
    assert set(status.OPERATION_TRANSITIONS) == set(OperationStatus)


def test_s17_what_was_active_never_takes_data_again():
    reached, todo = set(), [ImageStatus.ACTIVE]
    while todo:
        for new in status.IMAGE_TRANSITIONS[todo.pop()] - {ImageStatus.PENDING_DELETE}:
            if new not in reached:
                reached.add(new)
                todo.append(new)
    assert reached == {ImageStatus.ACTIVE, ImageStatus.DEACTIVATED, ImageStatus.DELETED}


def sources(target: ImageStatus) -> set[ImageStatus]:
    return {old for old in ImageStatus if status.may_become(old, target)}


def test_deleted_is_the_end_and_can_be_reached_from_everywhere():
    assert status.IMAGE_TRANSITIONS[ImageStatus.DELETED] == frozenset()
    assert status.LOCATION_TRANSITIONS[LocationStatus.DELETED] == frozenset()
    others = set(ImageStatus) - {ImageStatus.DELETED}
    assert sources(ImageStatus.PENDING_DELETE) == others - {ImageStatus.PENDING_DELETE}
    assert sources(ImageStatus.DELETED) == others


def test_only_live_attempts_become_active():
    assert sources(ImageStatus.SAVING) == {ImageStatus.QUEUED}
    assert not status.may_become(ImageStatus.KILLED, ImageStatus.ACTIVE)
    assert {old for old in LocationStatus if status.location_may_become(old, LocationStatus.ACTIVE)} == {
        LocationStatus.WRITING, LocationStatus.PENDING_DELETE, LocationStatus.QUARANTINED,
    }


def test_staged_data_never_become_data_of_an_image():
    assert status.location_sources(LocationStatus.STAGED) == {LocationStatus.WRITING}
    assert status.LOCATION_TRANSITIONS[LocationStatus.STAGED] == {LocationStatus.DELETING}


def test_tsk_03_a_task_ends_once():
    ended = {OperationStatus.SUCCESS, OperationStatus.FAILURE}
    assert all(status.OPERATION_TRANSITIONS[end] == frozenset() for end in ended)
    assert status.OPERATION_TRANSITIONS[OperationStatus.PENDING] == {
        OperationStatus.PROCESSING, OperationStatus.FAILURE,
    }
    assert ended < status.OPERATION_TRANSITIONS[OperationStatus.PROCESSING]


def test_work_on_an_image_can_always_fail():
    for old in (ImageStatus.IMPORTING, ImageStatus.SAVING):
        assert {ImageStatus.QUEUED, ImageStatus.KILLED, ImageStatus.DELETED} <= status.IMAGE_TRANSITIONS[old]
