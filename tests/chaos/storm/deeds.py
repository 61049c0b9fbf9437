"""What users do with an image: data, metadata, members, the end of its life."""

from __future__ import annotations

from collections.abc import Iterator

from tests.chaos.storm.visitor import ADMINISTRATOR, Visitor
from tests.support.image_client import Answer
from tests.support.ledger import Outcome

_PART = 200_000


def upload(visitor: Visitor, image: str) -> Answer:
    """Upload data, now and then without saying how many."""
    data = visitor.data()
    if visitor.choice.random() < 0.3:
        return visitor.make_room(visitor.client().upload(image, data, _pieces(data)))
    return visitor.make_room(visitor.client().upload(image, data))


def _pieces(data: bytes) -> Iterator[bytes]:
    for first in range(0, len(data), _PART):
        yield data[first : first + _PART]


def broken_upload(visitor: Visitor, image: str) -> Answer:
    """Announce a byte more than comes."""
    data = visitor.data()
    return visitor.client().upload(image, data, iter([data]), **{"x-openstack-image-size": str(len(data) + 1)})


def download(visitor: Visitor, image: str) -> Answer:
    """Read all data."""
    return visitor.client().download(image)


def download_part(visitor: Visitor, image: str) -> Answer:
    """Read a range, which may lie behind the end."""
    return visitor.client().download_part(image, visitor.choice.choice((0, 1, 4000, 100_000)), _PART)


def rename(visitor: Visitor, image: str) -> Answer:
    """Give it another name."""
    return visitor.client().rename(image, f"renamed {visitor.choice.randrange(1000)}")


def describe(visitor: Visitor, image: str) -> Answer:
    """Set one of a few properties."""
    name = f"property_{visitor.choice.randrange(3)}"
    return visitor.client().describe(image, name, f"value {visitor.choice.randrange(1000)}")


def tag(visitor: Visitor, image: str) -> Answer:
    """Put one of a few tags on it, or take it off."""
    return visitor.client().tag(image, f"tag-{visitor.choice.randrange(3)}", visitor.choice.random() < 0.6)


def deactivate(visitor: Visitor, image: str) -> Answer:
    """Take it out of use as an administrator, mostly for a moment."""
    answer = visitor.client(roles=ADMINISTRATOR).deactivate(image)
    if visitor.choice.random() < 0.8:
        return visitor.client(roles=ADMINISTRATOR).deactivate(image, off=False)
    return answer


def drop(visitor: Visitor, image: str) -> Answer:
    """Delete the copy in one store."""
    store = visitor.choice.choice(list(visitor.place.deployment.stores))
    return visitor.client(roles=ADMINISTRATOR).drop(image, store)


def use_old_api(visitor: Visitor, image: str) -> Answer:
    """Do something by the API v1."""
    client = visitor.old_client()
    match visitor.choice.choice(("add", "add", "rename", "download", "delete")):
        case "add":
            made, answer = client.add(f"old {visitor.choice.randrange(1000)}", visitor.data())
            if answer.outcome is Outcome.DONE:
                visitor.mine.append(made)
            return visitor.make_room(answer)
        case "rename":
            return client.rename(image, f"old name {visitor.choice.randrange(1000)}")
        case "download":
            return client.download(image)
        case _:
            visitor.forget(image)
            return client.delete(image)


def share(visitor: Visitor, image: str) -> Answer:
    """Add a member, which mostly answers."""
    member = _other(visitor)
    shared = visitor.client().share(image, member)
    if shared.outcome is not Outcome.DONE or visitor.choice.random() < 0.5:
        return shared
    return _answer_share(visitor, image, member)


def answer_share(visitor: Visitor, image: str) -> Answer:
    """Answer as a member, which it may not be."""
    return _answer_share(visitor, image, _other(visitor))


def unshare(visitor: Visitor, image: str) -> Answer:
    """Remove a member."""
    return visitor.client().unshare(image, _other(visitor))


def look_at_members(visitor: Visitor, image: str) -> None:
    """List the members."""
    visitor.place.ledger.members_seen(image, visitor.client().members(image))


def _other(visitor: Visitor) -> str:
    return visitor.choice.choice([project for project in visitor.place.projects if project != visitor.project])


def _answer_share(visitor: Visitor, image: str, member: str) -> Answer:
    status = visitor.choice.choice(("accepted", "accepted", "rejected", "pending"))
    return visitor.client(member).answer_share(image, member, status)


def delete(visitor: Visitor, image: str) -> Answer:
    """Delete it, and mostly forget it; an image that came back goes on as if nothing had been."""
    answer = visitor.client().delete(image)
    if visitor.choice.random() < 0.5 or _restore(visitor, image) is not Outcome.DONE:
        visitor.forget(image)
    return answer


def delete_for_later(visitor: Visitor, image: str) -> None:
    """Delete it with a delay, and mostly restore it, as the operator does."""
    visitor.place.deployment.delete_delayed(visitor.place.ledger, image)
    if visitor.choice.random() < 0.2 or _restore(visitor, image) is not Outcome.DONE:
        visitor.forget(image)


def _restore(visitor: Visitor, image: str) -> Outcome:
    return visitor.place.deployment.restore(visitor.place.ledger, image, visitor.limits())
