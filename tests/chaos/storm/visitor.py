"""One client of a project: what it has, and the data that it makes by a seed."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from tests.chaos.storm.place import Place, sample
from tests.servers.web import Page
from tests.support.image_client import Answer, ImageClient
from tests.support.ledger import Content, Outcome
from tests.support.old_image_client import OldImageClient

from glance_common.model.limits import Limits

ADMINISTRATOR = "admin,member,reader"
USER = "member,reader"
SIZES = (1, 5000, 300_000, 2_500_000)


class Visitor:
    """A client with images of its own. It does not mind any answer."""

    def __init__(self, place: Place, project: str, seed: int) -> None:
        self.place = place
        self.project = project
        self.choice = random.Random(seed)
        self.operators = f"operators-{seed}"
        """A project of its own, which has room for what is damaged, cached, unpacked or registered."""
        self.mine: list[str] = []
        """Images with which everything is done."""
        self.special: list[str] = []
        """Images of the operators, with which little else is done."""

    def client(self, project: str | None = None, roles: str = USER) -> ImageClient:
        """Return a client of any node."""
        api = self.choice.choice(self.place.deployment.apis)
        return self.place.deployment.client(self.place.ledger, api, project or self.project, roles)

    def operator(self, node: int | None = None) -> ImageClient:
        """Return an administrator's client in the project of the operators, of any node or of this one."""
        apis = self.place.deployment.apis
        api = self.choice.choice(apis) if node is None else apis[node]
        return self.place.deployment.client(self.place.ledger, api, self.operators, ADMINISTRATOR)

    def old_client(self) -> OldImageClient:
        """Return a client of v1, of any node."""
        api = self.choice.choice(self.place.deployment.apis)
        return self.place.deployment.old_client(self.place.ledger, api, self.project, USER)

    def limits(self) -> Limits:
        """Return the limits of the project."""
        return Limits(self.project, {"user_storage_quota": self.place.limit})

    def data(self, size: int | None = None) -> bytes:
        """Return new data, which the ledger can make again."""
        make = partial(sample, self.choice.getrandbits(64), size or self.choice.choice(SIZES))
        data = make()
        self.place.ledger.sample(data, make)
        return data

    def stores(self) -> list[str]:
        """Return stores for an import, none for the default one."""
        stores = list(self.place.deployment.stores)
        return self.choice.choice([[], stores[-1:], stores])

    def put_page(self, page: Page) -> str:
        """Put a page on the web; return its URL."""
        path = f"/{self.choice.getrandbits(64):016x}"
        self.place.web.pages[path] = page
        return self.place.web.url(path)

    def special_image(self, data: bytes | None = None, container_format: str = "bare") -> str | None:
        """Create an image of the operators, and upload ``data``; return None when either was not answered so."""
        image, answer = self.operator().create("special", container_format=container_format)
        self.special.append(image)
        if answer.outcome is Outcome.DONE and data is not None:
            answer = self.operator().upload(image, data)
        if answer.outcome is Outcome.DONE:
            return image
        self.breathe(answer)
        for each in list(self.special) if answer.status == 413 else [image]:
            self.discard(each)
        return None

    def discard(self, image: str) -> Answer:
        """Delete an image of the operators; it is tried again later when the answer is unclear."""
        answer = self.operator().delete(image)
        if answer.outcome is not Outcome.UNCLEAR:
            self.forget(image)
        return answer

    def make_room(self, answer: Answer) -> Answer:
        """Delete an image when there is no room for one more; return the answer that said so, or not."""
        if answer.status == 413 and self.mine:
            image = self.choice.choice(self.mine)
            self.client().delete(image)
            self.forget(image)
        return answer

    def forget(self, image: str) -> None:
        """Do nothing more with an image."""
        for images in (self.mine, self.special):
            with suppress(ValueError):
                images.remove(image)

    def breathe(self, answer: Answer | None) -> None:
        """Wait for a moment where no API listened: a client that spins takes the processor from those who start."""
        if answer is not None and answer.status is None:
            self.place.over.wait(0.05)

    def wait(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Wait for a condition; return whether it holds before the time, or the storm, is over."""
        until = time.monotonic() + seconds
        while not self.place.over.is_set() and time.monotonic() < until:
            if condition():
                return True
            self.place.over.wait(0.2)
        return False


def content_of_page(page: Page) -> Content | None:
    """Return what can be got of a page whole."""
    return Content.of(page.body) if page.cut is None and page.status == 200 else None
