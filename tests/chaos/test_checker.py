"""The checker itself: each damage that it looks for is found and named."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import pytest
from deploy.local.processes import wait_until
from tests.chaos.storm import place
from tests.chaos.storm.usage_watch import UsageWatch
from tests.servers.web import Page, WebServer, web_server
from tests.support.deployment import INCOMING, Deployment
from tests.support.image_client import ImageClient
from tests.support.ledger import COPY, DIRECT, WEB, Content, Ledger, Outcome
from tests.support.promises import check_promises
from tests.support.promises_views import served
from tests.support.snapshot import Snapshot
from tests.support.state import look

DATA, STAGED, FETCHED = b"whole" * 1000, b"staged" * 1000, b"fetched" * 1000
OTHER = Content.of(b"other")
OWNER, MEMBER = place.PROJECTS[:2]


class Scene(NamedTuple):
    """A deployment at rest, and its images.

    ``image`` was uploaded, copied to both stores and shared; ``imported`` came from the web, after an import that
    failed; ``staged`` waits for its import.
    """

    deployment: Deployment
    ledger: Ledger
    image: str
    imported: str
    staged: str

    def execute(self, statement: str, *values: object) -> None:
        """Change rows behind the back of the service."""
        assert self.deployment.execute(statement, *values), "nothing was damaged"

    def file(self, store: str, image: str) -> Path:
        """Return the file of an image."""
        return self.deployment.stores[store] / image

    def staged_file(self) -> Path:
        """Return the file that waits for its import."""
        row = self.deployment.query("SELECT store, key FROM locations WHERE status = 'staged'")[0]
        return self.deployment.stagings[row["store"]] / str(row["key"])


@pytest.fixture(scope="module")
def web() -> Iterator[WebServer]:
    with web_server() as server:
        server.pages["/image"] = Page(FETCHED)
        yield server


@pytest.fixture(scope="module")
def running(make_deployment: Callable[..., Deployment], web: WebServer) -> Deployment:
    deployment: Deployment = make_deployment(layout=place.LAYOUT, api=place.api_options(web))
    deployment.web = web
    return deployment


@pytest.fixture(scope="module")
def undamaged(running: Deployment, web: WebServer) -> tuple[Snapshot, Scene]:
    """The scene, and how to set it again."""
    ledger = Ledger()
    client = running.client(ledger, project=OWNER)
    image = client.created(DATA)
    assert client.download(image).status == 200
    assert client.share(image, MEMBER).status == 200
    assert running.client(ledger, project=MEMBER).answer_share(image, MEMBER, "accepted").status == 200
    assert client.copy(image, "slow").status == 202
    imported = client.created()
    assert client.import_web(imported, web.url("/nothing"), None).status == 202
    wait_until(lambda: failed(client, imported), what="the end of the import that fails")
    assert client.import_web(imported, web.url("/image"), Content.of(FETCHED)).status == 202
    staged = client.created()
    assert client.stage(staged, STAGED).status == 204
    running.settle()
    client.tasks(imported)
    check_promises(running, ledger)
    return Snapshot(running), Scene(running, ledger, image, imported, staged)


@pytest.fixture
def scene(undamaged: tuple[Snapshot, Scene]) -> Scene:
    snapshot, first = undamaged
    snapshot.bring_back()
    return first._replace(ledger=first.ledger.copy())


@pytest.fixture
def deployment(running: Deployment) -> Deployment:
    """The deployment of the scene, which is not emptied."""
    return running


def test_nothing_is_damaged(scene: Scene):
    check_promises(scene.deployment, scene.ledger)


def failed(client: ImageClient, image: str) -> bool:
    return "failure" in (client.tasks(image) or {}).values()


Damage = Callable[[Scene], object]

FILES: dict[str, tuple[str, Damage]] = {
    "a missing file": ("I1: .* in fast", lambda scene: scene.file("fast", scene.image).unlink()),
    "a missing copy": ("I1: .* in slow", lambda scene: scene.file("slow", scene.image).unlink()),
    "a changed byte": ("I1: ", lambda scene: scene.file("slow", scene.image).write_bytes(b"W" + DATA[1:])),
    "a lost location": (
        "owns no data", lambda scene: scene.execute("DELETE FROM locations WHERE image_id = %s", scene.image)
    ),
    "right data in quarantine": (
        "I8: .* the right data", lambda scene: scene.execute(
            "UPDATE locations SET status = 'quarantined' WHERE store = 'slow' AND image_id = %s", scene.image
        ),
    ),
    "a file without an owner": ("has 0 owners", lambda scene: scene.file("slow", "foreign").touch()),
    "an unfinished file": ("unfinished", lambda scene: (scene.deployment.images / INCOMING / "left").touch()),
    "staged data without an owner": (
        "the file left in os_glance_staging_store.* has 0 owners",
        lambda scene: scene.staged_file().with_name("left").touch(),
    ),
    "an unfinished stage": ("unfinished", lambda scene: (scene.staged_file().parent / INCOMING / "left").touch()),
    "changed staged data": ("staged, the client knows", lambda scene: scene.staged_file().write_bytes(b"other")),
    "lost staged data": ("with None staged", lambda scene: scene.staged_file().unlink()),
    "a stage without data": (
        "nothing of it is staged",
        lambda scene: scene.execute("UPDATE images SET status = 'uploading' WHERE id = %s", scene.image),
    ),
    "staged data that were left": (
        "staged data of image",
        lambda scene: scene.execute("UPDATE images SET status = 'queued' WHERE id = %s", scene.staged),
    ),
    "a copy that is only lent": (
        "is lent to", lambda scene: scene.execute("UPDATE locations SET operation = gen_random_uuid()")
    ),
    "a delete that did not end": (
        "I6: ", lambda scene: scene.execute(
            "UPDATE images SET status = 'pending_delete', delayed = false WHERE id = %s", scene.image
        ),
    ),
    "a removal that did not end": (
        "I7: location .* is deleting",
        lambda scene: scene.execute("UPDATE locations SET status = 'deleting' WHERE store = 'slow'"),
    ),
    "a dead upload": (
        "I7: ", lambda scene: scene.execute("UPDATE images SET status = 'saving' WHERE id = %s", scene.image)
    ),
}

TOLD: dict[str, tuple[str, Damage]] = {
    "an answer that is never given": ("a traceback", lambda scene: scene.ledger.defects.append("a traceback")),
    "an image that no client created": (
        "no client created", lambda scene: scene.execute(
            "INSERT INTO images (id, status, visibility, create_attempt)"
            " SELECT gen_random_uuid(), 'queued', visibility, create_attempt FROM images WHERE id = %s", scene.image
        ),
    ),
    "a lost create": ("exists: False", lambda scene: scene.ledger.created("other", Outcome.DONE, None)),
    "a lost upload": (
        "holds .*, the client knows", lambda scene: scene.ledger.uploaded(scene.image, Outcome.DONE, OTHER)
    ),
    "a lost stage": ("staged, the client knows", lambda scene: scene.ledger.staged(scene.staged, Outcome.DONE, OTHER)),
    "a lost delete": ("hidden", lambda scene: scene.ledger.deleted(scene.image, Outcome.DONE)),
    "a lost name": ("is named", lambda scene: scene.ledger.renamed(scene.image, Outcome.DONE, "other")),
    "a lost tag": ("has the tag one: False", lambda scene: scene.ledger.tagged(scene.image, Outcome.DONE, "one", True)),
    "a tag that no client set": (
        "has the tag one: True", lambda scene: scene.execute("UPDATE images SET tags = '{one}'")
    ),
    "a lost property": (
        "colour is None", lambda scene: scene.ledger.described(scene.image, Outcome.DONE, "colour", "red")
    ),
    "a property that no client set": (
        "colour is red", lambda scene: scene.execute("""UPDATE images SET properties = '{"colour": "red"}'""")
    ),
    "a lost deactivation": (
        "is deactivated: False", lambda scene: scene.ledger.deactivated(scene.image, Outcome.DONE, True)
    ),
    "a deactivation of no client": (
        "is deactivated: True",
        lambda scene: scene.execute("UPDATE images SET status = 'deactivated' WHERE id = %s", scene.image),
    ),
    "a deleted copy that came back": (
        "has a copy in slow, where it was deleted", lambda scene: scene.ledger.images()[scene.image].absent.add("slow")
    ),
    "a lost namespace": (
        "the namespace here is answered 404", lambda scene: scene.ledger.namespace_told("here", Outcome.DONE, True)
    ),
    "a changed download": ("I2: ", lambda scene: scene.ledger.downloaded(scene.image, OTHER)),
    "a lost member": ("as a member is None", lambda scene: scene.ledger.shared(scene.image, Outcome.DONE, "friend")),
    "a member that no client added": (
        "as a member is accepted", lambda scene: scene.execute("UPDATE members SET member = 'friend'")
    ),
    "a lost acceptance": (
        "as a member is pending", lambda scene: scene.execute("UPDATE members SET status = 'pending'")
    ),
    "a member that came back": (
        "as a member is accepted", lambda scene: scene.ledger.shared(scene.image, Outcome.DONE, MEMBER, None)
    ),
    "a member without a view": (
        f"{MEMBER}, a member of image .*, is answered 404",
        lambda scene: scene.execute("UPDATE images SET visibility = 'private' WHERE id = %s", scene.image),
    ),
    "a list that lacks an image": (
        f"the list of {MEMBER} lacks ..",
        lambda scene: scene.execute("UPDATE images SET visibility = 'private' WHERE id = %s", scene.image),
    ),
    "a view of a stranger": (
        "a stranger who asks", lambda scene: scene.execute("UPDATE images SET visibility = 'public'")
    ),
    "a list with too much": (
        f"the list of {MEMBER} .* too much", lambda scene: scene.execute("UPDATE images SET visibility = 'public'")
    ),
}


def task_of(scene: Scene, image: str, status: str) -> str:
    """Return the request of the task of an image that ended so."""
    (row,) = scene.deployment.query(
        "SELECT request_id FROM operations WHERE image_id = %s AND status = %s", image, status
    )
    return str(row["request_id"])


def use(scene: Scene, image: str, content: Content) -> None:
    """Write that the data of an image are others, of which the client knows as well."""
    scene.ledger.imported(image, Outcome.UNCLEAR, f"req-{uuid4()}", WEB, content)
    scene.execute(
        "UPDATE images SET size = %s, os_hash_value = %s WHERE id = %s", content.size, content.sha512, image
    )


IMPORTS: dict[str, tuple[str, Damage]] = {
    "a lost import": (
        "answered done and has 0 tasks",
        lambda scene: scene.execute("DELETE FROM operations WHERE status = 'failure'"),
    ),
    "a refused import": (
        "answered refused and has 1 tasks", lambda scene: scene.ledger.imported(
            scene.imported, Outcome.REFUSED, task_of(scene, scene.imported, "success"), WEB, Content.of(FETCHED)
        ),
    ),
    "an import that no client asked for": (
        "no client asked for the tasks",
        lambda scene: scene.execute("UPDATE operations SET request_id = 'req-x' WHERE status = 'failure'"),
    ),
    "an import that was done twice": (
        "has 2 tasks", lambda scene: scene.execute(
            "UPDATE operations SET request_id = %s WHERE status = 'failure'",
            task_of(scene, scene.imported, "success"),
        ),
    ),
    "a failure without a reason": (
        "failed without a reason",
        lambda scene: scene.execute("UPDATE operations SET message = '' WHERE status = 'failure'"),
    ),
    "a success without data": (
        "succeeded, the image holds None", lambda scene: scene.execute(
            "UPDATE images SET status = 'queued', size = NULL, checksum = NULL, os_hash_value = NULL WHERE id = %s",
            scene.imported,
        ),
    ),
    "a success of a broken source": (
        "imports of image .* succeeded",
        lambda scene: scene.execute("UPDATE operations SET status = 'success' WHERE status = 'failure'"),
    ),
    "a success with other data": (
        "succeeded, the image holds", lambda scene: use(scene, scene.imported, OTHER)
    ),
    "data of an import that failed": (
        "no import of them succeeded", lambda scene: scene.execute(
            "UPDATE operations SET status = 'failure', message = 'no' WHERE image_id = %s", scene.imported
        ),
    ),
    "a task that ended otherwise": (
        "a client saw success", lambda scene: scene.execute(
            "UPDATE operations SET status = 'failure', message = 'no' WHERE image_id = %s", scene.imported
        ),
    ),
    "a copy that is not there": (
        f"{COPY} of image .* to slow succeeded", lambda scene: scene.execute(
            "UPDATE locations SET store = 'fast', key = key || '.1' WHERE store = 'slow' AND image_id = %s",
            scene.image,
        ),
    ),
    "a task that is not shown": (
        "the tasks of image", lambda scene: scene.execute(
            "UPDATE operations SET expires_at = now() - interval '1 s' WHERE status = 'success'"
        ),
    ),
    "work without end": (
        "has no end", lambda scene: scene.execute(
            # Of another host, so that nobody here takes it up.
            "INSERT INTO operations (id, kind, image_id, status, host, deadline, on_fail, ttl)"
            " SELECT gen_random_uuid(), 'import', id, 'pending', 'elsewhere', now() + interval '1 h', 'queued', 1"
            " FROM images"
        ),
    ),
    "usage that no file explains": (
        f"I5: the project {OWNER}", lambda scene: scene.file("slow", scene.image).write_bytes(DATA + b"!")
    ),
    "usage of the staging area": (
        f"I5: the project {OWNER}", lambda scene: scene.staged_file().write_bytes(STAGED + b"!")
    ),
    "usage by an image that is hidden from it": (
        "I5: the project other",
        lambda scene: scene.execute("UPDATE images SET owner = 'other', visibility = 'public', status = 'killed'"),
    ),
}


@pytest.mark.parametrize(
    ("finding", "damage"), [pytest.param(*case, id=name) for name, case in (FILES | TOLD | IMPORTS).items()]
)
def test_found(scene: Scene, finding: str, damage: Damage):
    damage(scene)
    with pytest.raises(AssertionError, match=finding):
        check_promises(scene.deployment, scene.ledger)


def test_a_deleted_image_that_is_served(scene: Scene):
    state = look(scene.deployment)
    state.images[scene.image]["status"] = "deleted"
    assert f"I4: GET of the deleted image {scene.image} is answered 200" in served(
        scene.deployment, state, scene.ledger
    )


def test_a_project_above_its_limit(scene: Scene):
    watch = UsageWatch(scene.deployment, place.LIMIT)
    watch.look()
    assert watch.most == {OWNER: 2 * len(DATA) + len(FETCHED)}
    assert not watch.above()
    scene.execute("UPDATE locations SET size = %s WHERE store = 'slow'", place.LIMIT)
    watch.look()
    used = place.LIMIT + len(DATA) + len(FETCHED)
    assert watch.above() == [f"I5: the project {OWNER} used {used} of {place.LIMIT} bytes"]


@pytest.mark.parametrize("method", [WEB, DIRECT])
def test_an_import_for_an_image_with_data(ledger: Ledger, method: str):
    ledger.created("one", Outcome.DONE, None)
    ledger.uploaded("one", Outcome.DONE, OTHER)
    assert not ledger.defects
    ledger.imported("one", Outcome.DONE, "req-1", method, OTHER)
    assert "that has data" in ledger.defects[0]


def test_a_stage_for_an_image_with_data(ledger: Ledger):
    ledger.uploaded("one", Outcome.DONE, OTHER)
    ledger.staged("one", Outcome.DONE, OTHER)
    assert "that has data" in ledger.defects[0]


def test_a_task_that_changes_its_mind(ledger: Ledger):
    ledger.task_seen("one", "req-1", "success", "")
    ledger.task_seen("one", "req-1", "failure", "no")
    assert "was success and is failure" in ledger.defects[0]


def test_a_task_that_fails_without_a_reason(ledger: Ledger):
    ledger.task_seen("one", "req-1", "failure", "")
    assert "without a reason" in ledger.defects[0]


def test_a_member_that_is_shown_with_another_status(ledger: Ledger):
    ledger.shared("one", Outcome.DONE, "friend")
    ledger.members_seen("one", {"friend": "pending"})
    ledger.members_seen("one", None)
    assert not ledger.defects
    ledger.members_seen("one", {})
    assert "friend was shown as None" in ledger.defects[0]


def test_a_part_of_other_data(ledger: Ledger):
    ledger.sample(b"0123456789", lambda: b"0123456789")
    ledger.sending("one", Content.of(b"0123456789"))
    ledger.part_received("one", 3, b"345", 10)
    ledger.sending("one", Content.of(b"of another sample, which no test can make again"))
    ledger.part_received("one", 3, b"345", 47)
    assert not ledger.defects
    ledger.part_received("one", 3, b"346", 10)
    ledger.part_received("one", 3, b"345", 11)
    assert [defect.split(":")[1] for defect in ledger.defects] == [
        " 3 bytes from 3 of 10 were never sent for it", " 3 bytes from 3 of 11 were never sent for it"
    ]


def test_a_copy_is_surely_absent_when_no_task_may_still_write_it(ledger: Ledger):
    ledger.copied("one", Outcome.DONE, "req-1", "slow")
    ledger.dropped("one", Outcome.DONE, "slow")
    assert ledger.images()["one"].absent == set()
    ledger.task_seen("one", "req-1", "success", "")
    ledger.dropped("one", Outcome.DONE, "slow")
    assert ledger.images()["one"].absent == {"slow"}
    ledger.copied("one", Outcome.UNCLEAR, "req-2", "slow")
    assert ledger.images()["one"].absent == set()


def test_a_page_that_is_not_what_was_registered(scene: Scene, web: WebServer):
    web.pages["/registered"] = Page(DATA)
    client = scene.deployment.client(scene.ledger, project=OWNER)
    image = client.created()
    assert client.register(image, web.url("/registered"), DATA).status == 200
    check_promises(scene.deployment, scene.ledger)
    web.pages["/registered"] = Page(DATA + b"!")
    with pytest.raises(AssertionError, match=r"I1: .* in web is not what the row says"):
        check_promises(scene.deployment, scene.ledger)


def test_what_is_unclear_may_come_late(ledger: Ledger):
    ledger.shared("one", Outcome.UNCLEAR, "friend")
    ledger.shared("one", Outcome.DONE, "friend", None)
    assert ledger.images()["one"].members["friend"].possible == {None, "pending"}


def test_an_import_without_work(scene: Scene):
    scene.execute("UPDATE images SET status = 'importing' WHERE id = %s", scene.image)
    with pytest.raises(AssertionError, match="without work on it"):
        scene.deployment.settle()


def test_a_row_that_would_wait_for_ever(scene: Scene):
    scene.execute("UPDATE locations SET status = 'deleting', lease_until = NULL, not_before = NULL")
    with pytest.raises(AssertionError, match="wait for ever"):
        scene.deployment.settle()


def test_an_operation_that_would_wait_for_ever(scene: Scene):
    scene.execute(
        "INSERT INTO operations (id, kind, status, host, deadline, on_fail, ttl)"
        " VALUES (gen_random_uuid(), 'import', 'pending', 'elsewhere', now() + interval '2 days', 'queued', 1)"
    )
    with pytest.raises(AssertionError, match="wait for ever"):
        scene.deployment.settle()
