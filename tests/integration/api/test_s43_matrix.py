"""Every route of images, from every kind of caller, at every visibility and status (S-43 to S-46, S-49).

The routes come from the application's own map, so that a new one is walked too: who does not see an image gets the very
answer that a missing one has, and who may only look changes nothing.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa

from glance_registry.db.tables import images, metadata, operations

MISSING = "99999999-9999-4999-8999-999999999999"
OCTETS = {"Content-Type": "application/octet-stream"}
JSON = {"Content-Type": "application/json"}
PATCH = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
TABLES = ("images", "members", "locations", "operations")
MEMBERS = ("pending", "accepted", "rejected")
GONE = ("pending_delete", "deleted")
STATUSES = ("queued", "active", "deactivated")
VISIBILITIES = ("private", "shared", "community", "public")

REQUESTS: dict[tuple[str, str], tuple[dict[str, str], bytes]] = {
    ("PATCH", ""): (PATCH, b'[{"op": "replace", "path": "/name", "value": "changed"}]'),
    ("PUT", "/file"): (OCTETS, b"\x01data"),
    ("PUT", "/stage"): (OCTETS, b"\x01data"),
    ("POST", "/import"): (JSON, b'{"method": {"name": "web-download", "uri": "http://127.0.0.1/x"}}'),
    ("POST", "/locations"): (JSON, b'{"url": "http://127.0.0.1/x"}'),
    ("POST", "/members"): (JSON, b'{"member": "another"}'),
    ("PUT", "/members/<rest:member_id>"): (JSON, b'{"status": "accepted"}'),
}
"""Calls that need a body to be well-formed; a new one without a line here is walked without a body."""

NEW = {
    "/v2/tasks": {
        "type": "import", "input": {"import_from": "http://x/", "import_from_format": "raw", "image_properties": {}},
    },
    "/v2/metadefs/namespaces": {"namespace": "N"},
}
"""Well-formed documents of calls that make something; of an image {} is one."""

CALLERS: dict[str, dict[str, Any]] = {
    "owner": {"project": "own"},
    "reader": {"project": "own", "roles": "reader"},
    "nobody": {"project": "own", "roles": ""},
    "stranger": {"project": "stranger"},
    "service": {"project": "services", "roles": "service,reader"},
    "admin": {"project": "cloud", "roles": "admin"},
    "anonymous": {"project": None, "roles": "admin", "headers": {"X-Identity-Status": "Invalid"}},
    **{member: {"project": member} for member in MEMBERS},
}

_SHOW, _LOAD, _TASKS = ("GET", ""), ("GET", "/file"), ("GET", "/tasks")
_MEMBER = "/members/<rest:member_id>"
_SHARED = {_SHOW, _LOAD, _TASKS, ("GET", "/members"), ("GET", _MEMBER), ("PUT", _MEMBER)}
GRANTED: dict[str, set[tuple[str, str]]] = {
    "reader": {_SHOW, _TASKS, ("GET", "/members"), ("GET", _MEMBER)},
    "nobody": set(),
    "stranger": {_SHOW, _LOAD, _TASKS},
    "service": {_SHOW, _TASKS, ("GET", "/locations"), ("POST", "/locations")},
    "anonymous": {_SHOW, _TASKS},
    **dict.fromkeys(MEMBERS, _SHARED),
}
"""What each caller may do with an image that he sees; owner and admin: see ``may``."""

NOT_THE_OWNERS = {("PUT", _MEMBER), ("GET", "/locations"), ("DELETE", "/v2/stores/<store_id>")}
WORKING = {
    *_SHARED, ("PATCH", ""), ("DELETE", ""), ("PUT", "/file"), ("POST", "/members"), ("DELETE", _MEMBER),
    ("PUT", "/tags/<rest:tag>"), ("DELETE", "/tags/<rest:tag>"), ("POST", "/actions/deactivate"),
    ("POST", "/actions/reactivate"), ("GET", "/locations"),
}
"""Calls that succeed with one of the images here, for those who may make them: the proof that they are well-formed."""


@dataclass(frozen=True)
class Subject:
    """One image of project ``own`` with a member of each kind."""

    id: str
    visibility: str
    status: str

    def seen_by(self, caller: str) -> bool:
        """Say who sees it: the rule in plain words (lifecycle section 9)."""
        if self.status in GONE or caller == "nobody":
            return False
        if caller in ("owner", "reader", "admin") or self.visibility in ("community", "public"):
            return True
        return self.visibility == "shared" and caller in MEMBERS


@dataclass(frozen=True)
class Route:
    """One method of one route that names an image."""

    method: str
    rule: str

    @property
    def key(self) -> tuple[str, str]:
        """The method (of HEAD: GET) and what follows the image, or stands before it."""
        before, _, after = self.rule.partition("/<image_id>")
        method = "GET" if self.method == "HEAD" else self.method
        return method, after if before == "/v2/images" else before + after

    def path(self, image: str, caller: str) -> str:
        """Return the path of a call about ``image``."""
        member = caller if caller in MEMBERS else "accepted"
        values = {"<image_id>": image, "<rest:tag>": "t", "<rest:member_id>": member, "<store_id>": "slow"}
        path = self.rule
        for variable, value in values.items():
            path = path.replace(variable, value)
        assert "<" not in path, f"say what stands for the variable parts of {self.rule}"
        return path


def may(caller: str, key: tuple[str, str]) -> bool:
    """Say whether ``caller`` may make this call about an image that he sees."""
    if caller == "admin":
        return True
    return key not in NOT_THE_OWNERS if caller == "owner" else key in GRANTED[caller]


def routes(app: Any) -> list[Route]:
    """Return every call of the application about an image."""
    found = [
        Route(method, rule.rule)
        # v1 shows administrators deleted images, and has rules of its own: test_v1.py.
        for rule in app.url_map.iter_rules() if "<image_id>" in rule.rule and not rule.rule.startswith("/v1/")
        for method in sorted(rule.methods)
    ]
    assert len(found) > 20
    return found


@dataclass(frozen=True)
class World:
    """The API with its images; ``answer`` calls one route as somebody."""

    api: Any
    engine: sa.Engine
    directory: Path
    subjects: list[Subject]
    tasks: list[str] = field(default_factory=list)

    def add_task(self, subject: Subject, owner: str | None) -> None:
        """Write down a task about an image that has ended."""
        self.tasks.append(str(uuid4()))
        values = {
            "id": self.tasks[-1], "kind": "api_image_import", "image_id": subject.id, "owner": owner, "ttl": 48,
            "status": "failure", "message": f"message for {owner}", "on_fail": "queued", "deadline": sa.func.now(),
        }
        with self.engine.begin() as connection:
            connection.execute(sa.insert(operations).values(values))

    def answer(self, route: Route, image: str, caller: str) -> Any:
        headers, body = REQUESTS.get(route.key, ({}, b""))
        who = dict(CALLERS[caller])
        headers = {**headers, **who.pop("headers", {})}
        return self.api.call(route.method, route.path(image, caller), headers=headers, data=body or None, **who)

    def rows(self) -> dict[str, list[Any]]:
        """Return all that the database knows."""
        with self.engine.connect() as connection:
            return {table: sorted(map(str, connection.execute(sa.text(f"SELECT * FROM {table}")))) for table in TABLES}

    def restore(self) -> None:
        """Put database and store back to how they were at first."""
        for subject in self.subjects:
            if subject.status == "queued":
                (self.directory / subject.id).unlink(missing_ok=True)
        with self.engine.begin() as connection:
            for table in reversed(TABLES):
                connection.execute(sa.text(f"DELETE FROM {table}"))
            for table in TABLES:
                columns = metadata.tables[table].columns
                kept = ", ".join(column.name for column in columns if column.computed is None)
                connection.execute(sa.text(
                    f"INSERT INTO {table} ({kept}) OVERRIDING SYSTEM VALUE SELECT {kept} FROM kept_{table}"
                ))


@pytest.fixture(scope="module")
def directories(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The directories of two stores that outlive a test, as the images do."""
    return {name: tmp_path_factory.mktemp(name) for name in ("fast", "slow")}


@pytest.fixture(scope="module")
def kept(engine: sa.Engine) -> Iterator[list[Subject]]:
    """The images, made by the first test; copies of their rows are in tables of their own."""
    yield []
    with engine.begin() as connection:
        for table in TABLES:
            connection.execute(sa.text(f"DROP TABLE IF EXISTS kept_{table}"))


@pytest.fixture
def make_world(
    make_api: Callable[..., Any], engine: sa.Engine, tmp_path: Path, directories: dict[str, Path], kept: list[Subject]
) -> Callable[[str], World]:
    """Build the API with its images, for one caller: anonymous ones need a policy that lets them look."""
    (tmp_path / "open.yaml").write_text("get_images: '@'\nget_image: '@'\n")

    def make(caller: str) -> World:
        opened = {"allow_anonymous_access": True, "oslo_policy__policy_file": tmp_path / "open.yaml"}
        stores = {f"{name}__filesystem_store_datadir": directory for name, directory in directories.items()}
        api = make_api(
            enabled_backends="fast:file,slow:file", glance_store__default_backend="fast", show_multiple_locations=True,
            show_image_direct_url=True, **stores, **(opened if caller == "anonymous" else {}),
        )
        if not kept:
            kept.extend(_make_subjects(api, engine))
        world = World(api, engine, directories["fast"], kept)
        world.restore()
        return world

    return make


def _make_subjects(api: Any, engine: sa.Engine) -> list[Subject]:
    subjects = [_subject(api, visibility, status) for status in STATUSES for visibility in VISIBILITIES]
    subjects += [_subject(api, "public", status) for status in GONE]
    subjects.append(_subject(api, "shared", "saving"))
    with engine.begin() as connection:
        for subject in subjects:
            if subject.status not in STATUSES:
                forced = sa.update(images).where(images.c.id == subject.id).values(status=subject.status)
                connection.execute(forced)
        for table in TABLES:
            connection.execute(sa.text(f"CREATE TABLE kept_{table} AS TABLE {table}"))
    return subjects


def _subject(api: Any, visibility: str, status: str) -> Subject:
    image = api.create(disk_format="raw", container_format="bare", tags=["t"])["id"]
    path = f"/v2/images/{image}"
    for member in MEMBERS:
        assert api.call("POST", f"{path}/members", json={"member": member}).status_code == 200
        answered = api.call("PUT", f"{path}/members/{member}", json={"status": member}, project=member)
        assert answered.status_code == 200
    if status != "queued":
        assert api.call("PUT", f"{path}/file", data=b"\x01data", headers=OCTETS).status_code == 204
    if status == "deactivated":
        assert api.call("POST", f"{path}/actions/deactivate").status_code == 204
    change = [{"op": "replace", "path": "/visibility", "value": visibility}]
    assert api.call("PATCH", path, json=change, headers=PATCH, roles="admin").status_code == 200
    return Subject(image, visibility, status)


def wording(answer: Any, image: str) -> tuple[int, str, dict[str, str]]:
    """Return all that a client can learn from an answer, without the id that it gave itself."""
    headers = {name.lower(): value for name, value in answer.headers if name.lower() != "x-openstack-request-id"}
    return answer.status_code, answer.text.replace(image, "ID"), headers


@pytest.mark.parametrize("caller", CALLERS)
def test_s43_what_a_caller_does_not_see_is_like_what_does_not_exist(make_world, caller):
    world = make_world(caller)
    before = world.rows()
    hidden = [subject for subject in world.subjects if not subject.seen_by(caller)]
    assert hidden
    for route in routes(world.api.app):
        missing = wording(world.answer(route, MISSING, caller), MISSING)
        # Who may not make the call about any image is told so; and nobody is told that there is something.
        assert missing[0] in (400, 403, 404, 409), (route, missing)
        if route.key in WORKING and caller != "anonymous":
            assert missing[0] == 404, (route, missing)
        for subject in hidden:
            assert wording(world.answer(route, subject.id, caller), subject.id) == missing, (route, subject)
    assert world.rows() == before


@pytest.mark.parametrize("caller", CALLERS)
def test_s01_s44_s46_who_sees_an_image_does_no_more_than_he_may(make_world, caller):
    world = make_world(caller)
    before, worked, walked = world.rows(), set(), routes(world.api.app)
    for subject in [subject for subject in world.subjects if subject.seen_by(caller)]:
        for route in walked:
            if not may(caller, route.key):
                answer = world.answer(route, subject.id, caller)
                # An import looks at the status first (API section 11.2), which the caller may see.
                refusals = (403, 404, 409) if route.key == ("POST", "/import") else (400, 403, 404)
                assert answer.status_code in refusals, (route, subject, answer.status_code, answer.text)
        assert world.rows() == before, subject
        for route in walked:
            if may(caller, route.key):
                answer = world.answer(route, subject.id, caller)
                assert answer.status_code < 500, (route, subject, answer.text)
                if answer.status_code < 300:
                    worked.add(route.key)
                if route.key[0] != "GET":
                    world.restore()
    allowed = {route.key for route in walked if may(caller, route.key)} & WORKING
    assert caller == "nobody" or allowed
    assert allowed <= worked


@pytest.mark.parametrize("caller", CALLERS)
def test_s49_data_and_places_of_a_closed_image_are_for_administrators(make_world, caller):
    world = make_world(caller)
    closed = [subject for subject in world.subjects if subject.status == "deactivated" and subject.seen_by(caller)]
    for subject in closed:
        texts = [
            world.answer(route, subject.id, caller).text for route in routes(world.api.app) if route.method == "GET"
        ]
        texts.append(world.api.call("GET", f"/v2/images?id={subject.id}&visibility=all", **CALLERS[caller]).text)
        shown = any("\x01data" in text for text in texts), any("file://" in text for text in texts)
        assert shown == ((True, True) if caller == "admin" else (False, False)), subject


@pytest.mark.parametrize("caller", CALLERS)
def test_s50_tasks_are_those_of_the_own_project(make_world, caller):
    """Also with a task that belongs to nobody: callers without a project do not share one."""
    world = make_world(caller)
    for owner in ("own", None):
        for subject in world.subjects:
            world.add_task(subject, owner)
    mine = {"owner": {"own"}, "reader": {"own"}, "admin": {"own", None}}.get(caller, set())
    for subject in [subject for subject in world.subjects if subject.seen_by(caller)]:
        answer = world.answer(Route("GET", "/v2/images/<image_id>/tasks"), subject.id, caller)
        assert {task["owner"] for task in answer.json["tasks"]} == mine, subject
        assert ("message for own" in answer.text) == ("own" in mine)
    listed = world.api.call("GET", "/v2/tasks", **CALLERS[caller])
    shown = [world.api.call("GET", f"/v2/tasks/{task}", **CALLERS[caller]) for task in (world.tasks[0], MISSING)]
    if caller == "admin":
        assert len(listed.json["tasks"]) == 25
        assert [answer.status_code for answer in shown] == [200, 404]
    else:
        assert listed.status_code == 403
        assert wording(shown[0], world.tasks[0]) == wording(shown[1], MISSING)
        assert shown[0].status_code == 403


@pytest.mark.parametrize("caller", CALLERS)
def test_s43_s45_lists_hold_what_the_caller_sees(make_world, caller):
    world = make_world(caller)
    who = CALLERS[caller]
    answer = world.api.call("GET", "/v2/images?visibility=all&member_status=all&limit=1000", **who)
    if caller == "nobody":
        assert answer.status_code == 403
        return
    assert {image["id"] for image in answer.json["images"]} == {
        subject.id for subject in world.subjects if subject.seen_by(caller)
    }
    short = {image["id"] for image in world.api.call("GET", "/v2/images?limit=1000", **who).json["images"]}
    for subject in world.subjects:
        mine = caller in ("owner", "reader")
        accepted = subject.visibility == "shared" and caller in ("accepted", "admin")
        admins = subject.visibility == "private" and caller == "admin"
        wanted = mine or accepted or admins or subject.visibility == "public"
        assert (subject.id in short) == (wanted and subject.status not in GONE), subject


@pytest.mark.parametrize("caller", ["reader", "nobody", "service", "anonymous"])
def test_routes_without_an_image_change_nothing_for_who_may_only_look(make_world, caller):
    world = make_world(caller)
    before = world.rows()
    for rule in world.api.app.url_map.iter_rules():
        if "<" in rule.rule:
            continue
        for method in rule.methods - {"GET", "HEAD"}:
            who = dict(CALLERS[caller])
            # The calls of the image cache refuse every body, before they ask the policy.
            body = None if rule.rule.startswith("/v2/cache") else NEW.get(rule.rule, {})
            answer = world.api.call(method, rule.rule, json=body, **who)
            assert answer.status_code in (403, 404), (method, rule.rule, answer.text)
    assert world.rows() == before
