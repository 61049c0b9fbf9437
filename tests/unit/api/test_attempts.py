"""What a failed attempt leaves: it purges what it wrote, or leaves that to the scrubber."""

from types import SimpleNamespace
from typing import Any

import pytest
from tests.unit.scrubber.fakes import FakeDeletions, FakeStore

from glance_api.services import attempts
from glance_api.services.attempts import Data, Formats
from glance_common.leases import LeaseKeeper
from glance_common.model.context import RequestContext
from glance_common.model.errors import GlanceError, OutcomeUnknown, TooLarge, Unavailable
from glance_common.model.image import Deletion
from glance_common.stores.contract import BlobExists, StoreUnavailable

CONTEXT = RequestContext("req-test")
ATTEMPT = "11111111-1111-4111-8111-111111111111"


class Cloud:
    """A registry that holds one attempt, and the store in which it writes; ``error`` is what writing it raises."""

    def __init__(self, error: Exception) -> None:
        self.deletions = FakeDeletions()
        store: Any = FakeStore()
        self.store = store
        self.aborted: list[Any] = []
        self.location = self.deletions.add(is_due=False, token=ATTEMPT, status="deleting")
        self.row = self.deletions.rows[self.location]
        self.store.keys.add(self.row.key)
        self._error = error
        self.store.add = self._add
        self.services = SimpleNamespace(
            registry=SimpleNamespace(
                uploads=SimpleNamespace(abort=self._abort, renew=lambda *_, **__: 60), deletions=self.deletions
            ),
            leases=LeaseKeeper(60),
            settings=SimpleNamespace(image_size_cap=100, format_rules=None),
        )

    def _add(self, key, pieces, size):
        raise self._error

    def _abort(self, context, attempt, *, error):
        self.aborted.append(error)
        return Deletion(self.location, "image", "one", self.row.key, ATTEMPT, 0, None)

    def write(self):
        begun = SimpleNamespace(
            attempt=ATTEMPT, image=SimpleNamespace(id="image", properties={}, owner="own"),
            location=SimpleNamespace(key=self.row.key, store="one"),
        )
        data = Data([b"data"], 4, Formats("raw", "bare"), ("sha512",))
        attempts.write(self.services, CONTEXT, begun, self.store, data, lambda *_: None)


def test_a_failed_attempt_purges_what_it_wrote():
    cloud = Cloud(TooLarge("more than was announced"))
    with pytest.raises(TooLarge):
        cloud.write()
    assert cloud.aborted == ["TooLarge: more than was announced"]
    assert cloud.store.keys == set()
    assert cloud.row.status == "deleted"
    assert cloud.deletions.asked == [("done", "req-test")]


def test_a_key_that_was_taken_holds_nothing_of_the_attempt():
    cloud = Cloud(BlobExists("key"))
    with pytest.raises(GlanceError):
        cloud.write()
    assert cloud.store.deleted == []
    assert cloud.row.status == "deleted"


@pytest.mark.parametrize("error", [StoreUnavailable("no sentinel"), OSError("disk")])
def test_what_cannot_be_purged_now_is_left_to_the_scrubber(error, caplog):
    cloud = Cloud(TooLarge("more than was announced"))
    cloud.store.error = error
    with pytest.raises(TooLarge):
        cloud.write()
    assert cloud.row.status == "deleting", "its claim ends with its lease"
    assert not cloud.deletions.calls
    assert f"what upload {ATTEMPT} left is removed later by the scrubber" in caplog.text


def test_a_registry_that_is_away_leaves_the_row_to_the_scrubber(caplog):
    cloud = Cloud(TooLarge("more than was announced"))
    cloud.deletions.broken["done"] = Unavailable("the registry does not answer")
    with pytest.raises(TooLarge):
        cloud.write()
    assert "is removed later by the scrubber: the registry does not answer" in caplog.text


def test_an_unknown_outcome_keeps_the_bytes():
    cloud = Cloud(OutcomeUnknown("no answer to the commit"))
    with pytest.raises(Unavailable):
        cloud.write()
    assert cloud.aborted == []
    assert cloud.store.deleted == []
