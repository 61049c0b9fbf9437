"""What the events of the catalogue say of a namespace that goes, and of one that is emptied."""

from types import SimpleNamespace
from typing import Any

import pytest

from glance_api.services.events import metadefs
from glance_common.model.context import RequestContext
from glance_common.model.metadef import Namespace

CONTEXT = RequestContext("req-x", is_admin=True)


@pytest.fixture
def told() -> list[tuple[str, dict[str, Any]]]:
    return []


@pytest.fixture
def services(told: list[tuple[str, dict[str, Any]]]) -> Any:
    """Services that write down what they tell."""

    def send(_context: RequestContext, event_type: str, payload: dict[str, Any]) -> None:
        told.append((event_type, payload))

    return SimpleNamespace(notifications=SimpleNamespace(wants=lambda _type: True, send=send))


NAMESPACE = Namespace(
    "N", None, None, "private", protected=False, owner="own", created_at="2026-01-01T00:00:00Z",
    updated_at="2026-01-01T00:00:00Z",
)  # fmt: skip


@pytest.mark.parametrize("what", ["delete_objects", "delete_properties", "delete_tags"])
def test_an_emptied_namespace_is_still_there(services: Any, told: list[tuple[str, dict[str, Any]]], what: Any):
    metadefs.namespace_emptied(services, CONTEXT, NAMESPACE, what)
    ((event, payload),) = told
    assert event == f"metadef_namespace.{what}"
    assert (payload["namespace"], payload["deleted"], payload["deleted_at"]) == ("N", False, None)


def test_a_deleted_namespace_is_gone(services: Any, told: list[tuple[str, dict[str, Any]]]):
    metadefs.namespace_deleted(services, CONTEXT, NAMESPACE)
    ((event, payload),) = told
    assert (event, payload["namespace"], payload["deleted"]) == ("metadef_namespace.delete", "N", True)
    assert payload["deleted_at"] > NAMESPACE.created_at
