"""A body that does not come is answered by what is wrong with it, not as a defect of the registry."""

import pytest
import sqlalchemy as sa

from glance_common.body import ClientDisconnected, ClientTooSlow
from glance_common.model.context import ContextSigner
from glance_registry.app import create_app


@pytest.mark.parametrize(("error", "status", "kind"), [
    (ClientTooSlow("the request did not come within 10 s"), 408, "RequestTimeout"),
    (ClientDisconnected("gone"), 400, "BadRequest"),
])
def test_a_body_that_does_not_come(error, status, kind):
    app = create_app(sa.create_engine("sqlite://"), ContextSigner([b"s" * 64]))
    with app.test_request_context("/v1/images", method="POST"):
        answer = app.handle_user_exception(error)
    assert answer.status_code == status
    assert kind in answer.get_data(as_text=True)
    assert str(error) in answer.get_data(as_text=True)
