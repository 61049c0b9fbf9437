"""Clients that do everything a service offers, each by a seed."""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from glance_common.model.limits import Limits
from tests.servers.web import Page, WebServer
from tests.support.daemons import WebDaemon
from tests.support.deployment import Deployment
from tests.support.image_client import Answer, ImageClient
from tests.support.ledger import Content, Ledger, Outcome

REGION = "Elsewhere"
ADMINISTRATOR = "admin,member,reader"
PAUSE = 0.05
"""Seconds before the next try where no API listened."""
LONGEST_PAUSE = 2.0
"""Seconds that a slow web server stands still."""

_DEEDS = {
    "upload": 4, "broken upload": 2, "stage": 4, "import staged": 1, "import web": 4, "import remote": 1, "copy": 3,
    "download": 2, "tasks": 2, "rename": 1, "share": 2, "answer a share": 2, "unshare": 1, "members": 1, "delete": 3,
}
"""How often each is done with an image."""


@dataclass(frozen=True, slots=True)
class Place:
    """What all visitors of a deployment share: where images come from, and who else is there.

    ``other_region`` is an API that another region's endpoint names. ``limit`` is what a project may store, in bytes.
    """

    deployment: Deployment
    ledger: Ledger
    web: WebServer
    other_region: WebDaemon
    projects: Sequence[str]
    limit: int


class Visitor:
    """One client of a project, with images of its own. It does not wait for anything and does not mind any answer."""

    def __init__(self, place: Place, project: str, seed: int) -> None:
        self._place = place
        self._project = project
        self._choice = random.Random(seed)
        self._mine: list[str] = []

    def run(self, over: threading.Event) -> None:
        """Do one thing after the other until told that it is over."""
        while not over.is_set():
            if len(self._mine) < 3 or self._choice.random() < 0.2:
                answer: Answer | None = self._begin()
            else:
                deed = self._choice.choices(list(_DEEDS), list(_DEEDS.values()))[0]
                answer = self._go_on(deed, self._choice.choice(self._mine))
            if answer is not None and answer.status is None:
                # No API listens: a client that spins would only take the processor from those who start.
                over.wait(PAUSE)

    def _begin(self) -> Answer:
        # What visitors send has no format: data for a qcow2 image are refused, and an import of them fails at its end.
        disk_format = self._choice.choice(("raw",) * 7 + ("qcow2",))
        image, answer = self._client().create(f"image {self._choice.randrange(1000)}", disk_format=disk_format)
        if answer.outcome is Outcome.DONE:
            self._mine.append(image)
        return answer

    def _client(self, project: str | None = None, roles: str = "member,reader") -> ImageClient:
        """Return a client of any node."""
        api = self._choice.choice(self._place.deployment.apis)
        return self._place.deployment.client(self._place.ledger, api, project or self._project, roles)

    def _go_on(self, deed: str, image: str) -> Answer | None:
        """Do it, and return an answer that says whether an API listened; None without one."""
        match deed:
            case "upload":
                return self._make_room(self._client().upload(image, self._data()))
            case "broken upload":
                data = self._data()
                size = {"x-openstack-image-size": str(len(data) + 1)}
                return self._client().upload(image, data, iter([data]), **size)
            case "download":
                return self._client().download(image)
            case "rename":
                return self._client().rename(image, f"renamed {self._choice.randrange(1000)}")
            case "share" | "answer a share" | "unshare" | "members":
                return self._share(deed, image)
            case "delete":
                return self._delete(image)
            case _:
                return self._import(deed, image)

    def _import(self, deed: str, image: str) -> Answer | None:
        match deed:
            case "stage":
                staged = self._client().stage(image, self._data())
                if staged.outcome is not Outcome.DONE or self._choice.random() < 0.2:
                    return staged
                return self._client().import_staged(image, *self._stores())
            case "import staged":
                return self._client().import_staged(image)
            case "import web":
                content, uri = self._page()
                return self._client().import_web(image, uri, content, *self._stores())
            case "import remote":
                return self._import_remote(image)
            case "copy":
                store = self._choice.choice(list(self._place.deployment.stores))
                return self._make_room(self._client(roles=ADMINISTRATOR).copy(image, store))
            case "tasks":
                self._client().tasks(image)
                return None
        raise AssertionError(deed)

    def _stores(self) -> list[str]:
        stores = list(self._place.deployment.stores)
        return self._choice.choice([[], stores[-1:], stores])

    def _page(self) -> tuple[Content | None, str]:
        """Put a page on the web, and return what can be got of it whole, and its URL."""
        data, path = self._data(), f"/{self._choice.getrandbits(64):016x}"
        match self._choice.choice(("good", "good", "slow", "broken off", "vanished")):
            case "good":
                page = Page(data)
            case "slow":
                page = Page(data, pause=self._choice.uniform(0.1, LONGEST_PAUSE))
            case "broken off":
                page = Page(data, cut=len(data) // 2)
            case _:
                return None, self._place.web.url(path)
        self._place.web.pages[path] = page
        return Content.of(data) if page.cut is None else None, self._place.web.url(path)

    def _import_remote(self, image: str) -> Answer | None:
        sources = self._place.ledger.certain(self._mine)
        if not sources:
            return None
        remote = self._choice.choice(list(sources))
        url = self._place.other_region.url
        return self._client().import_remote(image, remote, REGION, url, sources[remote])

    def _share(self, deed: str, image: str) -> Answer | None:
        others = [project for project in self._place.projects if project != self._project]
        member = self._choice.choice(others)
        match deed:
            case "share":
                shared = self._client().share(image, member)
                if shared.outcome is not Outcome.DONE or self._choice.random() < 0.5:
                    return shared
                return self._answer_share(image, member)
            case "answer a share":
                return self._answer_share(image, member)
            case "unshare":
                return self._client().unshare(image, member)
            case _:
                self._place.ledger.members_seen(image, self._client().members(image))
                return None

    def _answer_share(self, image: str, member: str) -> Answer:
        status = self._choice.choice(("accepted", "accepted", "rejected", "pending"))
        return self._client(member).answer_share(image, member, status)

    def _delete(self, image: str) -> Answer:
        answer = self._client().delete(image)
        # An image that came back goes on as if nothing had been.
        if self._choice.random() < 0.5 or self._restore(image) is not Outcome.DONE:
            self._forget(image)
        return answer

    def _restore(self, image: str) -> Outcome:
        limits = Limits(self._project, {"user_storage_quota": self._place.limit})
        return self._place.deployment.restore(self._place.ledger, image, limits)

    def _make_room(self, answer: Answer) -> Answer:
        """Delete an image when there is no room for one more; return the answer that said so, or not."""
        if answer.status == 413 and self._mine:
            image = self._choice.choice(self._mine)
            self._client().delete(image)
            self._forget(image)
        return answer

    def _forget(self, image: str) -> None:
        with suppress(ValueError):
            self._mine.remove(image)

    def _data(self) -> bytes:
        return self._choice.randbytes(self._choice.choice((1, 5000, 300_000, 2_500_000)))
