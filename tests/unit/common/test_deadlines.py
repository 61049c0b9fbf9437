"""Scopes: the shortest time counts, and every check."""

from contextvars import copy_context

import pytest

from glance_common.fetch import deadlines


def test_an_inner_scope_never_prolongs_the_outer_one():
    with deadlines.within(10) as outer:
        with deadlines.within(1000):
            assert deadlines.current().ends_at == outer.ends_at
        with deadlines.within(1):
            assert deadlines.current().ends_at < outer.ends_at
        assert deadlines.current() == outer
    assert deadlines.current().ends_at == deadlines.NEVER


def test_the_checks_of_all_scopes_are_kept_and_follow_into_threads():
    called = []
    with deadlines.within(still_wanted=lambda: called.append("outer")):
        with deadlines.within(5, still_wanted=lambda: called.append("inner")):
            for check in copy_context().run(deadlines.current).checks:
                check()
        assert called == ["outer", "inner"]
        assert len(deadlines.current().checks) == 1
    assert deadlines.current().checks == ()


def test_a_scope_ends_with_its_block_also_by_an_error():
    with pytest.raises(ValueError, match="meant"), deadlines.within(1):
        raise ValueError("meant")
    assert deadlines.current().ends_at == deadlines.NEVER
