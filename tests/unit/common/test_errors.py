"""Errors survive the way through the registry protocol as the class they were."""

import pytest

from glance_common.model import errors


@pytest.mark.parametrize("cls", errors.BY_TITLE.values())
def test_an_error_comes_back_as_its_own_class(cls):
    error = cls("what happened", size=3)
    back = errors.from_document(cls.code, error.document())
    assert type(back) is cls
    assert (back.message, back.details) == ("what happened", {"size": 3})


@pytest.mark.parametrize("document", [None, [], "x", {}, {"error": 1}, {"error": {"title": "NoSuch"}}])
def test_an_answer_of_no_known_shape_is_our_own_defect(document):
    assert type(errors.from_document(502, document)) is errors.InternalError


def test_titles_are_unique():
    classes = list(errors.BY_TITLE.values())
    assert len({cls.title for cls in classes}) == len(classes) > 15


@pytest.mark.parametrize("length", [errors.MAX_MESSAGE, errors.MAX_MESSAGE + 1, 10**6])
def test_s59_a_message_has_a_bounded_length(length):
    error = errors.BadRequest("name: " + "x" * (length - 11) + " rule")
    assert str(error) == error.message == error.document()["error"]["message"]
    assert len(error.message) == errors.MAX_MESSAGE
    assert (error.message[:7], error.message[-6:]) == ("name: x", "x rule")
