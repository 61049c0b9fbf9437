"""A document that does not come in time is answered 408, one that breaks off 400."""

import pytest

from glance_common.body import ClientDisconnected, ClientTooSlow


@pytest.mark.parametrize(("error", "status"), [
    (ClientTooSlow("the request did not come within 10 s"), 408), (ClientDisconnected("gone"), 400),
])
def test_a_document_that_does_not_come(make_api, error, status):
    app = make_api().app
    with app.test_request_context("/v2/images", method="POST"):
        answer = app.handle_user_exception(error)
    assert answer.status_code == status
    assert str(error) in answer.get_data(as_text=True)
