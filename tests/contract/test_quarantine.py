"""Verify, quarantine, orphans and runs, from the client through the protocol to the rows and back."""

from __future__ import annotations

from uuid import uuid4

import pytest
import sqlalchemy as sa
from tests.support.registry_rows import ADMIN, OWNER

from glance_common.model import errors
from glance_common.model.status import ImageStatus, LocationStatus
from glance_common.registry_client import RegistryClient, quarantine
from glance_common.registry_client.uploads import UploadResult, UploadStart

RESULT = UploadResult(5, {}, "c" * 32, "sha512", "h" * 128, fingerprint="xxh3-128:aa")


def new_id() -> str:
    return str(uuid4())


def stored(client: RegistryClient, result: UploadResult) -> tuple[str, str]:
    """Return the ids of a new active image and of its location."""
    document = {
        "id": new_id(), "name": "one", "visibility": "private", "owner": "own", "disk_format": "raw",
        "container_format": "bare", "properties": {}, "tags": [],
    }
    image = client.images.create(OWNER, new_id(), document)
    attempt = new_id()
    begun = client.uploads.start(OWNER, image.id, attempt, UploadStart("fast", result.size, 60))
    client.uploads.commit(OWNER, attempt, result)
    return image.id, begun.location.id


def test_a_copy_from_page_to_quarantine_and_back(client: RegistryClient) -> None:
    image, location = stored(client, RESULT)
    (copy,) = client.quarantine.of_store(ADMIN, "fast")
    assert (copy.id, copy.image_id, copy.key, copy.status) == (location, image, image, LocationStatus.ACTIVE)
    assert (copy.image_status, copy.size, copy.image_size, copy.lent) == (ImageStatus.ACTIVE, 5, 5, False)
    assert (copy.fingerprint, copy.os_hash_algo, copy.os_hash_value) == ("xxh3-128:aa", "sha512", "h" * 128)
    assert client.quarantine.of_image(ADMIN, image) == [copy]
    assert client.quarantine.with_key(ADMIN, "fast", image) == copy
    assert client.quarantine.with_key(ADMIN, "slow", image) is None
    assert client.quarantine.of_store(ADMIN, "fast", image) == []
    assert client.quarantine.verified(ADMIN, location) is True
    put = client.quarantine.put(ADMIN, location, "x" * 5000)
    assert put is not None
    assert (put[0].id, put[0].copies, put[0].reason, put[1]) == (location, 0, "x" * 1000, True)
    again = client.quarantine.put(ADMIN, location, "y")
    assert again is not None
    assert again[1] is False
    assert client.quarantine.put(ADMIN, new_id(), "y") is None
    assert client.images.get(OWNER, image, locations=True).locations == ()
    assert [found.id for found in client.quarantine.listed(ADMIN)] == [location]
    with pytest.raises(errors.Conflict, match="last copy"):
        client.quarantine.discard(ADMIN, location)
    assert client.quarantine.release(ADMIN, location).id == location
    assert list(client.quarantine.listed(ADMIN)) == []
    with pytest.raises(errors.NotFound):
        client.quarantine.release(ADMIN, new_id())


def test_a_replacement_is_an_upload_of_its_own(client: RegistryClient) -> None:
    image, location = stored(client, RESULT)
    with pytest.raises(errors.Conflict):
        client.quarantine.replace(ADMIN, location, new_id(), lease=60)
    client.quarantine.put(ADMIN, location, "digest")
    attempt = new_id()
    begun = client.quarantine.replace(ADMIN, location, attempt, lease=60)
    assert (begun.location.store, begun.location.key, begun.image.status) == ("fast", f"{image}.1", ImageStatus.ACTIVE)
    client.uploads.renew(ADMIN, attempt, lease=60)
    client.uploads.commit(ADMIN, attempt, RESULT)
    assert [place.key for place in client.images.get(OWNER, image, locations=True).locations] == [f"{image}.1"]
    assert client.quarantine.discard(ADMIN, location).id == location
    assert client.deletions.due(ADMIN, limit=5).locations == (location,)


def test_everything_in_quarantine_is_listed_page_by_page(
    client: RegistryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quarantine, "PAGE", 2)
    wanted = set()
    for _ in range(5):
        _, location = stored(client, RESULT)
        client.quarantine.put(ADMIN, location, "digest")
        wanted.add(location)
    found = [copy.id for copy in client.quarantine.listed(ADMIN)]
    assert (len(found), set(found)) == (5, wanted)
    assert client.quarantine.record_orphans(ADMIN, "fast", [(new_id(), size) for size in range(5)]) == 5
    assert sorted(orphan.size for orphan in client.quarantine.orphans(ADMIN, "fast")) == [0, 1, 2, 3, 4]
    assert list(client.quarantine.orphans(ADMIN, "slow")) == []


def test_an_orphan_is_claimed_removed_and_forgotten(client: RegistryClient, engine: sa.Engine) -> None:
    client.quarantine.record_orphans(ADMIN, "fast", [(new_id(), 1), (new_id(), 2)])
    one, two = client.quarantine.orphans(ADMIN)
    token = new_id()
    with pytest.raises(errors.Conflict, match="minute"):
        client.quarantine.claim_orphan(ADMIN, one.id, token, lease=60)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE orphans SET found_at = now() - interval '1 hour'"))
    assert client.quarantine.claim_orphan(ADMIN, one.id, token, lease=60).key == one.key
    client.quarantine.orphan_done(ADMIN, one.id, token)
    assert client.quarantine.forget_orphan(ADMIN, two.id) is True
    assert client.quarantine.forget_orphan(ADMIN, two.id) is False
    assert list(client.quarantine.orphans(ADMIN)) == []


def test_runs_over_a_store(client: RegistryClient) -> None:
    one, two = new_id(), new_id()
    assert client.store_runs.start(ADMIN, "verify", "fast", one, lease=60) is None
    client.store_runs.renew(ADMIN, "verify", "fast", one, lease=60, cursor="k")
    with pytest.raises(errors.Conflict) as error:
        client.store_runs.start(ADMIN, "verify", "fast", two, lease=60)
    assert error.value.details["reason"] == "running"
    client.store_runs.end(ADMIN, "verify", "fast", one, finished=False)
    assert client.store_runs.start(ADMIN, "verify", "fast", two, lease=60) == "k"
    client.store_runs.end(ADMIN, "verify", "fast", two, finished=True)
    with pytest.raises(errors.Gone):
        client.store_runs.renew(ADMIN, "verify", "fast", one, lease=60)
    with pytest.raises(errors.NotFound):
        client.store_runs.start(ADMIN, "dance", "fast", one, lease=60)


def test_failed_purges_are_listed_and_replayed(client: RegistryClient, engine: sa.Engine) -> None:
    image, location = stored(client, RESULT)
    client.images.delete(OWNER, image, new_id(), delayed=False, scrub_time=0)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE locations SET status = 'failed', attempts = 9, last_error = 'on fire'"))
    (failed,) = client.deletions.failed(ADMIN)
    assert (failed.location, failed.image_id, failed.attempts, failed.last_error) == (location, image, 9, "on fire")
    assert client.deletions.replay(ADMIN, location, new_id()) is LocationStatus.DELETING
    assert list(client.deletions.failed(ADMIN)) == []
    assert client.deletions.due(ADMIN, limit=5).locations == (location,)


@pytest.mark.parametrize("query", ["", "[]", '{"limit": 1}', '{"limit": 0, "store": "fast"}', '{"limit": 1, "odd": 2}',
                                   f'{{"limit": 1, "store": "s", "image_id": "{uuid4()}"}}'])
def test_a_wrong_query_is_told(client: RegistryClient, query: str) -> None:
    for path in ("/v1/locations", "/v1/quarantine", "/v1/orphans", "/v1/deletions/failed"):
        if query == '{"limit": 1}' and path != "/v1/locations":
            continue
        with pytest.raises(errors.BadRequest):
            client.http.call(ADMIN, "GET", path, query={"q": query})


def test_wrong_bodies_are_told(client: RegistryClient) -> None:
    location = new_id()
    for path, body in (
        (f"/v1/locations/{location}/quarantine", {}),
        (f"/v1/locations/{location}/quarantine", {"reason": "x" * 1001}),
        (f"/v1/locations/{location}/verified", {"odd": 1}),
        (f"/v1/locations/{location}/replacement", {"attempt": "no-uuid", "lease": 60}),
        (f"/v1/locations/{location}/replacement", {"attempt": location, "lease": 10**9}),
        ("/v1/stores/fast/orphans", {"objects": []}),
        ("/v1/stores/fast/orphans", {"objects": [{"key": "", "size": 1}]}),
        ("/v1/stores/fast/runs/verify/start", {"token": location, "lease": 60}),
        ("/v1/stores/fast/runs/verify/end", {"token": location}),
        (f"/v1/orphans/{location}/claim", {"token": 5, "lease": 60}),
    ):
        with pytest.raises(errors.BadRequest):
            client.http.call(ADMIN, "POST", path, body)
