"""The checker itself: each damage that it looks for is found and named."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.support.deployment import INCOMING, Deployment
from tests.support.ledger import Content, Ledger, Outcome
from tests.support.promises import check_promises

DATA = b"whole" * 1000

Damage = Callable[[Deployment, Ledger, str], object]

DAMAGES: dict[str, tuple[str, Damage]] = {
    "a missing file": ("I1: ", lambda deployment, _, image: (deployment.images / image).unlink()),
    "a changed byte": (
        "I1: ", lambda deployment, _, image: (deployment.images / image).write_bytes(b"W" + DATA[1:])
    ),
    "a lost location": (
        "owns no data", lambda deployment, _, image: deployment.execute("DELETE FROM locations")
    ),
    "a file of nobody": ("has 0 owners", lambda deployment, *_: (deployment.images / "foreign").touch()),
    "an unfinished file": ("unfinished", lambda deployment, *_: (deployment.images / INCOMING / "left").touch()),
    "an image of nobody": (
        "nobody created", lambda deployment, _, image: deployment.execute(
            "INSERT INTO images (id, status, visibility, create_attempt)"
            " SELECT gen_random_uuid(), 'queued', visibility, create_attempt FROM images"
        ),
    ),
    "a lost create": ("exists: False", lambda _, ledger, image: ledger.created("other", Outcome.DONE, None)),
    "a lost upload": (
        "the client knows", lambda _, ledger, image: ledger.uploaded(image, Outcome.DONE, Content.of(b"other"))
    ),
    "a lost delete": ("hidden", lambda _, ledger, image: ledger.deleted(image, Outcome.DONE)),
    "a lost name": ("is named", lambda _, ledger, image: ledger.renamed(image, Outcome.DONE, "other")),
    "a lost member": ("is a member", lambda _, ledger, image: ledger.shared(image, Outcome.DONE, "friend")),
    "a changed download": ("I2: ", lambda _, ledger, image: ledger.downloaded(image, Content.of(b"other"))),
    "a delete that did not end": (
        "I6: ", lambda deployment, _, image: deployment.execute(
            "UPDATE images SET status = 'pending_delete', delayed = false"
        ),
    ),
    "a stage without data": (
        "nothing of it is staged", lambda deployment, *_: deployment.execute("UPDATE images SET status = 'uploading'")
    ),
    "staged data that were left": (
        "staged data of image", lambda deployment, *_: deployment.execute(
            "UPDATE locations SET status = 'staged', staging = true"
        ),
    ),
    "a copy that is only lent": (
        "is lent to", lambda deployment, *_: deployment.execute("UPDATE locations SET operation = gen_random_uuid()")
    ),
    "work without end": (
        "has no end", lambda deployment, *_: deployment.execute(
            # Of another host, so that nobody here takes it up.
            "INSERT INTO operations (id, kind, image_id, status, host, deadline, on_fail, ttl)"
            " SELECT gen_random_uuid(), 'import', id, 'pending', 'elsewhere', now() + interval '1 h', 'queued', 1"
            " FROM images"
        ),
    ),
    "a dead upload": ("I7: ", lambda deployment, _, image: deployment.execute("UPDATE images SET status = 'saving'")),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_found(deployment: Deployment, ledger: Ledger, name: str):
    finding, damage = DAMAGES[name]
    client = deployment.client(ledger)
    image = client.created(DATA)
    assert client.download(image).status == 200
    deployment.settle()
    check_promises(deployment, ledger)
    damage(deployment, ledger, image)
    with pytest.raises(AssertionError, match=finding):
        check_promises(deployment, ledger)


def test_an_import_of_nobody(deployment: Deployment, ledger: Ledger):
    deployment.client(ledger).created(DATA)
    deployment.execute("UPDATE images SET status = 'importing'")
    with pytest.raises(AssertionError, match="belongs to nobody"):
        deployment.settle()


def test_a_row_that_would_wait_for_ever(deployment: Deployment, ledger: Ledger):
    deployment.client(ledger).created(DATA)
    deployment.execute("UPDATE locations SET status = 'deleting', lease_until = NULL, not_before = NULL")
    with pytest.raises(AssertionError, match="wait for ever"):
        deployment.settle()
