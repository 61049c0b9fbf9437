"""Secrets planted everywhere, looked for everywhere: what one run says to clients, operators and other services.

Every daemon logs on level DEBUG. Each secret is searched as it is and in the forms in which it travels.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest
import requests
from deploy.local import processes
from tests.e2e.calls import RAW, Caller
from tests.servers.rabbitmq import RabbitMQ
from tests.servers.web import Page, WebServer, web_server
from tests.support.daemons import Services, WebDaemon
from tests.support.notifications import Listener
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(900)

DATA = b"\x01data of an image"
INNER = "127.0.0.53"
"""An address that only a redirect names; no client hears of it."""

NAMES = (
    "location", "import", "task", "refused", "token", "service-token", "authorization", "cookie", "catalog", "broker",
    "database", "keystone", "encryption",
)
PLANTED = {name: f"planted-{name}-{uuid4().hex}" for name in NAMES} | {"encryption": uuid4().hex}


@pytest.fixture(scope="module")
def web() -> Iterator[WebServer]:
    """A web server with an image, an absent one and one that leads inside."""
    with web_server() as server:
        server.pages = {
            "/image": Page(DATA), "/broken": Page(DATA, cut=3),
            "/inside": Page(status=302, headers={"Location": f"http://{INNER}:{server.port}/image"}),
        }
        yield server


@dataclass
class Heard(Caller):
    """A caller who keeps every answer."""

    url: str
    headers: dict[str, str]
    answers: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(self.url, self.headers)

    def call(self, *args: Any, **kwargs: Any) -> requests.Response:
        """Make the call and keep what was answered."""
        answer = super().call(*args, **kwargs)
        self.answers.append(f"{answer.headers}\n{answer.text}")
        return answer


@pytest.fixture(scope="module")
def services(
    deploy: Callable[..., Services], module_database: Callable[[], str], web: WebServer, rabbitmq: RabbitMQ,
    messaging: Listener,
) -> Services:
    """A deployment that holds secrets and is told to say as much as it can."""
    assert messaging
    options: dict[str, Any] = {
        "debug": True, "show_multiple_locations": True, "show_image_direct_url": True,
        "metadata_encryption_key": PLANTED["encryption"],
    }
    services = deploy(
        transport_url=rabbitmq.url,
        shared={"DEFAULT": {"debug": True}, "glance_store": {"stores": "file,http", "http_store_max_redirects": 2}},
        api={
            "DEFAULT": options,
            "import_filtering_opts": {"allowed_hosts": "[127.0.0.1]", "allowed_ports": f"[{web.port}, 1]"},
            "oslo_messaging_notifications": {"driver": "messagingv2"},
            "keystone_authtoken": {"password": PLANTED["keystone"], "username": "glance"},
        },
        scrubber={"DEFAULT": {"metadata_encryption_key": PLANTED["encryption"], "wakeup_time": 1}},
    )
    assert callable(module_database)
    return services


@pytest.fixture(scope="module")
def caller(services: Services) -> Heard:
    """A caller that sends secrets in every header that can carry one."""
    catalog = [{"type": "image", "name": PLANTED["catalog"], "endpoints": []}]
    return Heard(services.api.url, {
        "X-Auth-Token": PLANTED["token"], "X-Service-Token": PLANTED["service-token"],
        "Authorization": f"Bearer {PLANTED['authorization']}", "Cookie": f"session={PLANTED['cookie']}",
        "X-Service-Catalog": json.dumps(catalog), "Accept": "application/json",
    })


def with_user(url: str, name: str) -> str:
    """Return the URL with a user whose password is the secret of this name."""
    return url.replace("//", f"//user:{PLANTED[name]}@", 1)


def live(caller: Heard, web: WebServer) -> None:
    """Do whatever brings a secret near a text: locations, imports and tasks that work, that fail, that are refused."""
    image = caller.create()["id"]
    place = {"url": with_user(web.url("/image"), "location"), "metadata": {}}
    caller.patch(image, {"op": "add", "path": "/locations/-", "value": place})
    caller.show(image)
    caller.call("GET", "/v2/images", 200)
    caller.call("GET", f"/v2/images/{image}/locations", 200)
    assert caller.download(image) == DATA
    assert any("Authorization" in headers for _, _, headers in web.seen), "the credentials are used"
    for page in (Page(b"other", 500), Page(b"shorter"), Page(DATA, cut=3)):
        web.pages["/image"] = page
        try:
            caller.call("GET", f"/v2/images/{image}/file")
        except requests.RequestException as error:
            caller.answers.append(str(error))
    web.pages["/image"] = Page(DATA)
    caller.patch(image, {"op": "add", "path": "/locations/-", "value": place}, expected=400)
    caller.call("POST", f"/v2/images/{caller.create()['id']}/locations", json={"url": place["url"]})
    caller.call("PUT", f"/v2/images/{image}/file", data=b"x", headers={"Content-Type": "application/octet-stream"})
    caller.call("POST", f"/v2/images/{image}/actions/deactivate", 204)
    refuse(caller, web)
    fetch(caller, web)
    live_in_v1(caller, web)
    caller.delete(image)


def live_in_v1(caller: Heard, web: WebServer) -> None:
    """Do the same by headers: a location that is good, others that are not, and copies."""
    described = {"x-image-meta-disk_format": "raw", "x-image-meta-container_format": "bare"}
    place = {"x-image-meta-location": with_user(web.url("/image"), "location"), "x-image-meta-is_public": "True"}
    web.seen.clear()
    image = caller.call("POST", "/v1/images", 201, headers={**described, **place}).json()["image"]["id"]
    assert any("Authorization" in headers for _, _, headers in web.seen), "the credentials are used"
    for method, path in (("HEAD", f"/{image}"), ("GET", f"/{image}"), ("GET", ""), ("GET", "/detail")):
        answer = caller.call(method, f"/v1/images{path}", 200)
        assert not [name for name in answer.headers if "location" in name.lower()]
    caller.call("PUT", f"/v1/images/{image}", 400, headers=place)
    caller.call("DELETE", f"/v1/images/{image}", 200)
    for header in ("x-image-meta-location", "x-glance-api-copy-from"):
        for url in (web.url("/absent"), web.url("/inside"), "file:///etc/passwd", "ftp://host/x"):
            bad = {**described, header: with_user(url, "refused")}
            caller.call("POST", "/v1/images", 400, headers=bad)


def refuse(caller: Heard, web: WebServer) -> None:
    """Name URLs that no caller may register or fetch."""
    image = caller.create()["id"]
    for url in (
        "swift://tenant%3Auser:{}@auth/container/object", "swift+config://{}/c/o", "s3://key:{}@s3.host/bucket/key",
        "cinder://{}", "ftp://user:{}@host/x", "file://user:{}@/etc/passwd", "http://user:{}@[::1/x",
        "http://user:{}@127.0.0.1:1/x", "http://user:{}@127.0.0.1:99999/x", "https://user:{}@absent.invalid/x", "{}",
        "http://user:{}@169.254.169.254/x", "rbd://{}/a/b/c", "http://user:{} @127.0.0.1/x", "http:user:{}@127.0.0.1/x",
        "vsphere://user:{}@host/folder/x", "sheepdog://{}:7000:x",
        "HTTP://U:{}@2130706433/",
    ):
        bad = url.format(PLANTED["refused"])
        add = {"op": "add", "path": "/locations/-", "value": {"url": bad, "metadata": {}}}
        caller.call("PATCH", f"/v2/images/{image}", 400, json=[add],
                    headers={"Content-Type": "application/openstack-images-v2.1-json-patch"})
        caller.call("POST", f"/v2/images/{image}/locations", 400, 403, json={"url": bad})
        fetched = {"method": {"name": "web-download", "uri": bad}}
        caller.call("POST", f"/v2/images/{caller.create()['id']}/import", json=fetched)
        caller.call("POST", "/v2/tasks", json=task(bad))
    caller.call("GET", "/v2/images/x", 404)
    caller.call("POST", "/v2/images", 400, data="{")
    caller.call("GET", "/v2/images", headers={"X-Service-Catalog": PLANTED["catalog"]})


def task(url: str) -> dict[str, Any]:
    """Return the document of an import task."""
    source = {"import_from": url, "import_from_format": "raw", "image_properties": {**RAW, "name": "by task"}}
    return {"type": "import", "input": source}


def fetch(caller: Heard, web: WebServer) -> None:
    """Import what works and what fails late."""
    for path in ("/image", "/absent", "/broken", "/inside"):
        for url in (web.url(path), with_user(web.url(path), "import")):
            image = caller.create()["id"]
            fetched = {"method": {"name": "web-download", "uri": url}}
            if caller.call("POST", f"/v2/images/{image}/import", json=fetched).status_code == 202:
                ended(caller, f"/v2/images/{image}/tasks")
        caller.call("POST", "/v2/tasks", json=task(with_user(web.url(path), "task")))
    ended(caller, "/v2/tasks")


def ended(caller: Heard, path: str) -> None:
    """Wait for the end of all tasks and read what each of them says."""
    def states() -> set[str]:
        tasks = caller.call("GET", path, 200).json()["tasks"]
        return {each["status"] for each in tasks}

    wait_for(lambda: states() <= {"success", "failure"}, "the end of the tasks", 180)
    for each in caller.call("GET", path, 200).json()["tasks"]:
        caller.call("GET", f"/v2/tasks/{each['id']}", 200)


def break_what_stands_behind(services: Services) -> list[WebDaemon]:
    """Start daemons whose broker and database are away, and make them say so."""
    nowhere = processes.free_port()
    api = services.new_api("api-without-broker", {
        "DEFAULT": {"transport_url": f"amqp://user:{PLANTED['broker']}@127.0.0.1:{nowhere}//", "debug": True},
        "oslo_messaging_notifications": {"driver": "messagingv2"},
    })
    services.start(api)
    lonely = Caller(api.url)
    lonely.delete(lonely.uploaded(DATA))
    secret = services.folder / "registry-secret"
    registry = WebDaemon("glance-registry", services.folder / "registry-without-database", {
        "DEFAULT": {"debug": True}, "registry": {"context_secret_file": secret},
        "database": {"connection": f"postgresql+psycopg2://user:{PLANTED['database']}@127.0.0.1:{nowhere}/glance"},
    }, ("/healthcheck", 503))
    registry.start()
    try:
        wait_for(lambda: "next try in" in texts([api]), "the word about the broker")
        wait_for(lambda: "database" in texts([registry]), "the word about the database")
    finally:
        registry.kill()
    return [api, registry]


def texts(daemons: list[WebDaemon]) -> str:
    """Return what these daemons wrote so far."""
    return "".join(path.read_text() for daemon in daemons for path in (daemon.log, daemon.output) if path.exists())


def forms(secret: str) -> set[str]:
    """Return the texts that give the secret away."""
    basic = b64encode(f"user:{secret}".encode()).decode()
    return {secret, quote(secret), basic, b64encode(secret.encode()).decode()}


def test_s02_s06_s53_no_secret_shows_anywhere(
    services: Services, caller: Heard, web: WebServer, messaging: Listener
):
    live(caller, web)
    broken = break_what_stands_behind(services)
    daemons = [services.registry, services.api, services.scrubber, *broken]
    files = [path for daemon in daemons for path in (daemon.log, daemon.output) if path.exists()]
    said = {str(path): path.read_text() for path in files}
    assert any("DEBUG" in text for text in said.values())
    said["metrics"] = requests.get(f"http://127.0.0.1:{services.api.metrics_port}/metrics", timeout=60).text
    messaging.wait(lambda heard: len(heard) > 3)
    said["notifications"] = json.dumps(messaging.heard())
    said |= {f"answer {number}": text for number, text in enumerate(caller.answers)}
    kept = {Path(services.folder / "registry-secret").read_text().strip(): "the registry's secret"}
    secrets = {form: name for name, secret in PLANTED.items() for form in forms(secret)} | kept
    found = [
        (name, where, text[max(text.find(secret) - 200, 0):][:300])
        for where, text in said.items() for secret, name in secrets.items() if secret in text
    ]
    assert not found, "\n\n".join(map(str, found[:12]))
    told = [text for where, text in said.items() if where.startswith(("answer", "notifications")) and INNER in text]
    assert not told, told[:3]
