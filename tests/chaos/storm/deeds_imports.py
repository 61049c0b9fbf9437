"""What users do with an image by imports: staged data, the web, another region, copies, tasks."""

from __future__ import annotations

from tests.chaos.storm.place import REGION
from tests.chaos.storm.visitor import ADMINISTRATOR, Visitor, content_of_page
from tests.servers.web import Page
from tests.support.image_client import Answer
from tests.support.ledger import Outcome

LONGEST_PAUSE = 2.0
"""Seconds that a slow web server stands still."""


def stage(visitor: Visitor, image: str) -> Answer:
    """Stage data, and mostly import them."""
    staged = visitor.client().stage(image, visitor.data())
    if staged.outcome is not Outcome.DONE or visitor.choice.random() < 0.2:
        return staged
    return visitor.client().import_staged(image, *visitor.stores())


def import_staged(visitor: Visitor, image: str) -> Answer:
    """Import what may be staged."""
    return visitor.client().import_staged(image)


def import_web(visitor: Visitor, image: str) -> Answer:
    """Import a page that is good, slow, broken off or gone."""
    data = visitor.data()
    match visitor.choice.choice(("good", "good", "slow", "broken off", "vanished")):
        case "good":
            page = Page(data)
        case "slow":
            page = Page(data, pause=visitor.choice.uniform(0.1, LONGEST_PAUSE))
        case "broken off":
            page = Page(data, cut=len(data) // 2)
        case _:
            page = Page(b"", 404)
    return visitor.client().import_web(image, visitor.put_page(page), content_of_page(page), *visitor.stores())


def import_slow(visitor: Visitor, image: str) -> Answer:
    """Import a page that takes its time."""
    page = Page(visitor.data(300_000), pause=LONGEST_PAUSE)
    return visitor.client().import_web(image, visitor.put_page(page), content_of_page(page))


def import_remote(visitor: Visitor, image: str) -> Answer | None:
    """Import the data of another image from the other region."""
    sources = visitor.place.ledger.certain(visitor.mine)
    if not sources:
        return None
    remote = visitor.choice.choice(list(sources))
    url = visitor.place.other_region.url
    return visitor.client().import_remote(image, remote, REGION, url, sources[remote])


def copy(visitor: Visitor, image: str) -> Answer:
    """Copy it to one more store."""
    store = visitor.choice.choice(list(visitor.place.deployment.stores))
    return visitor.make_room(visitor.client(roles=ADMINISTRATOR).copy(image, store))


def look_at_tasks(visitor: Visitor, image: str) -> None:
    """List its tasks."""
    visitor.client().tasks(image)
