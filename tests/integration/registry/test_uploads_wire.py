"""Uploads, deletions, restore and identities through the registry client and the real application."""

import dataclasses
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from tests.support.owners import ADMIN, LEASE, OWNER, Owners, new_id
from werkzeug.serving import make_server

from glance_common import failpoints
from glance_common.model import errors
from glance_common.model.context import ContextSigner, RequestContext
from glance_common.model.image import Deletion, Image
from glance_common.model.status import ImageStatus, LocationStatus
from glance_common.registry_client import RegistryClient, over
from glance_common.registry_client.http import Timeouts, connect_to
from glance_common.registry_client.uploads import UploadResult, UploadStart
from glance_registry.app import create_app

SIGNER = ContextSigner([b"s" * 64])
CONTENT = UploadResult(
    7, {"place": "/a"}, checksum="c" * 32, os_hash_algo="sha512", os_hash_value="h" * 128
)


@pytest.fixture(scope="module")
def port(owners_engine: sa.Engine) -> Iterator[int]:
    """The registry, serving on a port of its own."""
    server = make_server("127.0.0.1", 0, create_app(owners_engine, SIGNER), threaded=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server.port
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def registry(port: int, owners: Owners) -> Iterator[RegistryClient]:
    """A client of that registry, whose database is empty."""
    patient = Timeouts(read_deadline=60, write_deadline=60)
    client = over(connect_to(f"http://127.0.0.1:{port}", SIGNER, timeouts=patient))
    yield client
    client.close()


@pytest.fixture
def break_at(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[str], None]]:
    """A function that makes the registry fail once at a failpoint, which must be reached."""
    monkeypatch.setattr(failpoints, "_DIRECTORY", str(tmp_path))
    armed: list[Path] = []

    def arm(name: str) -> None:
        armed.append(tmp_path / name)
        armed[-1].write_text("raise")

    yield arm
    assert not any(path.exists() for path in armed), "the failpoint was not reached"


def start(registry: RegistryClient, image: str, attempt: str, context: RequestContext = OWNER) -> Any:
    return registry.uploads.start(context, image, attempt, UploadStart("fast", 7, LEASE))


def test_an_upload_from_start_to_removal(registry: RegistryClient, owners: Owners) -> None:
    image, attempt = owners.create(), new_id()
    begun = start(registry, image, attempt)
    assert (begun.attempt, begun.location.store, begun.location.key) == (attempt, "fast", image)
    assert (begun.image.id, begun.image.status, begun.image.disk_format) == (image, ImageStatus.SAVING, "raw")
    assert registry.uploads.renew(OWNER, attempt, lease=LEASE) == LEASE
    active = registry.uploads.commit(OWNER, attempt, CONTENT)
    assert isinstance(active, Image)
    assert (active.status, active.size, active.os_hash_value) == (ImageStatus.ACTIVE, 7, "h" * 128)
    assert registry.images.get(OWNER, image, locations=True).locations[0].metadata == {"place": "/a"}
    assert registry.images.delete(OWNER, image, new_id(), delayed=False, scrub_time=0) == [begun.location.id]
    due = registry.deletions.due(ADMIN, limit=10, stores=["fast"])
    assert due.locations == (begun.location.id,)
    assert 0 <= due.oldest < 60
    token = new_id()
    claim = registry.deletions.claim(ADMIN, begun.location.id, token, lease=LEASE, stores=["fast"])
    assert claim == Deletion(begun.location.id, image, "fast", image, token, 0, "req-owner")
    assert registry.deletions.renew(ADMIN, begun.location.id, token, lease=LEASE) == LEASE
    assert registry.deletions.done(ADMIN, begun.location.id, token) is True
    assert owners.statuses(image) == ("deleted", ["deleted"])


def test_an_aborted_upload(registry: RegistryClient, owners: Owners) -> None:
    image, attempt = owners.create(), new_id()
    begun = start(registry, image, attempt)
    claim = registry.uploads.abort(OWNER, attempt, error="x" * 5000)
    assert claim is not None
    assert (claim.location, claim.token, claim.key) == (begun.location.id, attempt, image)
    assert len(owners.location(begun.location.id).last_error) == 1000
    assert registry.deletions.done(OWNER, claim.location, claim.token) is False
    assert registry.uploads.abort(OWNER, attempt) is None
    with pytest.raises(errors.Gone) as caught:
        registry.uploads.renew(OWNER, attempt, lease=LEASE)
    assert caught.value.details == {"reason": "aborted"}
    with pytest.raises(errors.Gone):
        registry.uploads.commit(OWNER, attempt, CONTENT)


def test_errors_arrive_as_what_they_are(registry: RegistryClient, owners: Owners) -> None:
    image, attempt = owners.create(disk_format=None), new_id()
    with pytest.raises(errors.BadRequest) as bad:
        start(registry, image, attempt)
    assert bad.value.details == {"field": "disk_format"}
    with pytest.raises(errors.NotFound):
        start(registry, image, attempt, dataclasses.replace(OWNER, project_id="other"))
    image, location = owners.active()
    with pytest.raises(errors.StatusConflict) as conflict:
        start(registry, image, attempt)
    assert conflict.value.details["status"] == "active"
    with pytest.raises(errors.Conflict):
        registry.uploads.abort(OWNER, owners.location(location).attempt)


def test_claims_that_are_refused_are_none(registry: RegistryClient, owners: Owners) -> None:
    image, location = owners.active()
    for identifier in (location, new_id(), "no uuid"):
        assert registry.deletions.claim(ADMIN, identifier, new_id(), lease=LEASE) is None
    owners.delete(image, delayed=True, scrub_time=10)
    owners.pass_time(11)
    assert registry.deletions.claim(ADMIN, location, new_id(), lease=LEASE, scrub_time=600) is None
    assert registry.deletions.due(ADMIN, limit=10, scrub_time=600).locations == ()
    assert registry.deletions.claim(ADMIN, location, new_id(), lease=LEASE, scrub_time=5) is not None


def test_failures_are_counted_until_the_removal_is_given_up(registry: RegistryClient, owners: Owners) -> None:
    image, location = owners.active()
    owners.delete(image)
    retried: dict[str, Any] = {"error": "disk on fire", "delay": 0, "max_attempts": 2}
    for expected in (LocationStatus.DELETING, LocationStatus.FAILED):
        token = new_id()
        assert registry.deletions.claim(ADMIN, location, token, lease=LEASE) is not None
        assert registry.deletions.retry(ADMIN, location, token, **retried) is expected
    (failed,) = owners.failed()
    told = {name: failed[name] for name in ("location", "image_id", "status", "attempts", "last_error", "request_id")}
    assert told == {
        "location": location, "image_id": image, "status": "failed", "attempts": 2, "last_error": "disk on fire",
        "request_id": "req-owner",
    }
    assert registry.deletions.due(ADMIN, limit=1).locations == ()
    assert owners.replay(location)["status"] == "deleting"
    assert registry.deletions.due(ADMIN, limit=1).locations == (location,)
    with pytest.raises(errors.Gone):
        registry.deletions.done(ADMIN, location, new_id())


def test_restore_through_the_client(registry: RegistryClient, owners: Owners) -> None:
    image, location = owners.active()
    registry.images.delete(OWNER, image, new_id(), delayed=True, scrub_time=600)
    with pytest.raises(errors.NotFound):
        registry.images.restore(dataclasses.replace(OWNER, project_id="another"), image, new_id())
    assert registry.images.restore(ADMIN, image, new_id()).status is ImageStatus.ACTIVE
    assert [found.id for found in registry.images.get(OWNER, image, locations=True).locations] == [location]
    with pytest.raises(errors.Conflict):
        registry.images.restore(ADMIN, image, new_id())


def test_identities_are_registered_once_and_remembered(registry: RegistryClient, owners: Owners, port: int) -> None:
    first, second = new_id(), new_id()
    place = "/srv/ä b?c/%2e"
    assert registry.stores.known("fast", place) is None
    assert registry.stores.register("fast", place, first) == first
    other = over(connect_to(f"http://127.0.0.1:{port}", SIGNER))
    assert other.stores.known("fast", place) == first
    assert other.stores.register("fast", place, second) == first
    assert other.stores.known("slow", place) is None
    other.close()
    owners.clear()
    # What is known never changes, so it is not asked for again.
    assert registry.stores.known("fast", place) == first


def test_identity_registered_by_another_process_is_found(registry: RegistryClient, port: int) -> None:
    assert registry.stores.known("fast", "/a") is None
    other = over(connect_to(f"http://127.0.0.1:{port}", SIGNER))
    identity = other.stores.register("fast", "/a", new_id())
    other.close()
    assert registry.stores.known("fast", "/a") == identity


def test_the_place_of_another_store_is_refused(registry: RegistryClient) -> None:
    identity = registry.stores.register("fast", "/a", new_id())
    with pytest.raises(errors.Conflict, match="/link is the place of the store fast"):
        registry.stores.register("slow", "/link", identity)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("registry.upload.after-commit", ("saving", ["writing"])),
        ("registry.commit.before-commit", ("active", ["active"])),
        ("registry.commit.after-commit", ("active", ["active"])),
        ("registry.abort.after-commit", ("queued", ["reaping"])),
        ("registry.delete.after-commit", ("pending_delete", ["pending_delete"])),
        ("registry.restore.after-commit", ("active", ["active"])),
        ("registry.claim.after-commit", ("pending_delete", ["deleting"])),
        ("registry.done.after-commit", ("deleted", ["deleted"])),
    ],
)
def test_a_lost_answer_is_answered_by_the_repetition(
    registry: RegistryClient, owners: Owners, break_at: Callable[[str], None], name: str,
    expected: tuple[str, list[str]],
) -> None:
    """The registry fails between commit and answer; the client repeats the call, and the result is the same."""
    image, attempt, token = owners.create(), new_id(), new_id()
    kind = name.split(".")[1]
    if kind != "upload":
        location = owners.start(image, attempt).id
    if kind in ("delete", "restore", "claim", "done"):
        owners.commit(attempt)
    if kind in ("restore", "claim", "done"):
        owners.delete(image)
    if kind == "done":
        owners.claim(location, token)
    break_at(name)
    match kind:
        case "upload":
            assert start(registry, image, attempt).location.key == image
        case "commit":
            assert registry.uploads.commit(OWNER, attempt, CONTENT).status is ImageStatus.ACTIVE
        case "abort":
            assert registry.uploads.abort(OWNER, attempt) is not None
        case "delete":
            assert registry.images.delete(OWNER, image, new_id(), delayed=False, scrub_time=0) == [location]
        case "restore":
            assert registry.images.restore(ADMIN, image, new_id()).status is ImageStatus.ACTIVE
        case "claim":
            assert registry.deletions.claim(ADMIN, location, token, lease=LEASE) is not None
        case "done":
            assert registry.deletions.done(ADMIN, location, token) is True
    assert owners.statuses(image) == expected


BAD = [
    ("POST", "/v1/images/{image}/uploads", {"store": "fast", "lease": 60, "on_fail": "queued"}, "attempt"),
    ("POST", "/v1/images/{image}/uploads",
     {"attempt": "{id}", "store": "fast", "size": -1, "lease": 60, "on_fail": "queued"}, "size"),
    ("POST", "/v1/images/{image}/uploads",
     {"attempt": "{id}", "store": "fast", "size": 2**63, "lease": 60, "on_fail": "queued"}, "size"),
    ("POST", "/v1/images/{image}/uploads",
     {"attempt": "{id}", "store": "fast", "size": None, "lease": 60, "on_fail": "active"}, "on_fail"),
    ("POST", "/v1/images/{image}/uploads",
     {"attempt": "{id}", "store": "", "size": None, "lease": 60, "on_fail": "queued"}, "store"),
    ("POST", "/v1/uploads/{id}/renew", {"lease": 1e9}, "lease"),
    ("POST", "/v1/uploads/{id}/renew", {"lease": True}, "lease"),
    ("POST", "/v1/uploads/{id}/commit", {"size": 1.5}, "size"),
    ("POST", "/v1/uploads/{id}/commit", {"size": 1, "metadata": []}, "metadata"),
    ("POST", "/v1/uploads/{id}/abort", {"lease": 60, "error": 7}, "error"),
    ("POST", "/v1/deletions/{id}/claim", {"token": "x", "lease": 60, "scrub_time": 0}, "token"),
    ("POST", "/v1/deletions/{id}/claim", {"token": "{id}", "lease": 60, "stores": "fast", "scrub_time": 0}, "stores"),
    ("POST", "/v1/deletions/{id}/claim", {"token": "{id}", "lease": 60, "scrub_time": -1}, "scrub_time"),
    ("POST", "/v1/deletions/{id}/retry", {"token": "{id}", "error": "", "delay": 1, "max_attempts": 1}, "error"),
    ("POST", "/v1/deletions/{id}/retry",
     {"token": "{id}", "error": "e", "delay": 1, "max_attempts": 0}, "max_attempts"),
    ("POST", "/v1/deletions/{id}/done", {"token": None}, "token"),
    ("DELETE", "/v1/images/{image}", {"attempt": "{id}", "delayed": "yes", "scrub_time": 0}, "delayed"),
    ("POST", "/v1/images/{image}/restore", {}, "attempt"),
    ("POST", "/v1/stores/fast/identities", {"place": "/a", "identity": "no uuid"}, "identity"),
]


@pytest.mark.parametrize(("method", "path", "body", "field"), BAD)
def test_wrong_fields_are_named(
    registry: RegistryClient, owners: Owners, method: str, path: str, body: dict[str, Any], field: str
) -> None:
    image, identifier = owners.create(), new_id()
    filled = {name: identifier if value == "{id}" else value for name, value in body.items()}
    with pytest.raises(errors.BadRequest) as caught:
        registry.http.call(ADMIN, method, path.format(image=image, id=identifier), filled)
    assert caught.value.details == {"field": field}
    assert owners.statuses(image) == ("queued", [])


def test_unknown_fields_and_missing_queries_are_refused(registry: RegistryClient) -> None:
    with pytest.raises(errors.BadRequest, match="unknown fields: surprise"):
        registry.http.call(ADMIN, "POST", f"/v1/deletions/{new_id()}/done", {"token": new_id(), "surprise": 1})
    with pytest.raises(errors.BadRequest, match="q is not JSON"):
        registry.http.call(ADMIN, "GET", "/v1/deletions")
