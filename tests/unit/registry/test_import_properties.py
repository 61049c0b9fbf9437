"""The properties that show an import to clients, step by step."""

from glance_registry.records import import_properties as steps

USER = {"os": "debian"}


def test_from_begin_to_end():
    begun = steps.begun(USER, "task", ["a", "b", "c"])
    assert begun["os_glance_import_task"] == "task"
    assert (begun["os_glance_importing_to_stores"], begun["os_glance_failed_import"]) == ("a,b,c", "")
    later = steps.failed(steps.stored(begun, "a"), ["b"])
    assert later["os_glance_importing_to_stores"] == "c"
    assert later["os_glance_failed_import"] == "b"
    assert steps.ended(later) == {**USER, "os_glance_importing_to_stores": "", "os_glance_failed_import": "b,c"}


def test_the_lists_of_an_earlier_task_go():
    earlier = steps.ended(steps.begun(USER, "old", ["a"]))
    assert steps.begun(earlier, "new", []) == {**USER, "os_glance_import_task": "new"}
    assert steps.begun(earlier, "new", ["b"])["os_glance_failed_import"] == ""


def test_without_several_stores_there_are_no_lists():
    begun = steps.begun(USER, "task", [])
    assert steps.stored(begun, "a") == begun
    assert steps.failed(begun, ["a"]) == begun
    assert steps.ended({**begun, "os_glance_stage_host": "http://here"}) == USER


def test_a_step_again_changes_nothing():
    once = steps.failed(steps.stored(steps.begun(USER, "task", ["a", "b"]), "a"), ["b"])
    assert steps.failed(steps.stored(once, "a"), ["b"]) == once
