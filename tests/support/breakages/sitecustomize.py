"""Broken variants of the services, to see that the checker of the promises finds what they do.

Python imports this module at its start when its folder is in PYTHONPATH. It breaks what GLANCE_BREAKAGES names,
separated by commas; without that variable it does nothing.
"""

from __future__ import annotations

import os
import threading

LATER = 3600.0
"""Seconds after an answer at which the broken API would record what it has answered: longer than a test lives."""


def no_sync_of_data() -> None:
    """The file store does not wait until the bytes are on the disk."""
    from glance_common.stores.drivers.file.unfinished import Unfinished

    Unfinished.settle = lambda self, mode: None  # type: ignore[method-assign]


def no_sync_of_name() -> None:
    """The file store does not wait until the final name is on the disk."""
    from glance_common.stores.drivers.file.unfinished import Unfinished

    Unfinished.secure = lambda self: None  # type: ignore[method-assign]


def answer_before_record() -> None:
    """The API answers an upload as soon as the store has the bytes, and tells the registry later."""
    from glance_common.registry_client.uploads import UploadsClient

    start, commit = UploadsClient.start, UploadsClient.commit
    images = {}

    def remember(self, context, image_id, attempt, begin, **named):
        upload = start(self, context, image_id, attempt, begin, **named)
        images[attempt] = upload.image
        return upload

    def commit_later(self, context, attempt, result, **named):
        timer = threading.Timer(LATER, commit, (self, context, attempt, result), named)
        timer.daemon = True
        timer.start()
        return images[attempt]

    UploadsClient.start = remember  # type: ignore[method-assign]
    UploadsClient.commit = commit_later  # type: ignore[method-assign]


def no_sweep() -> None:
    """The scrubber never looks into the table: what the queue loses is lost. The queue alone has to be enough then."""
    from glance_scrubber.sweep import Sweep

    Sweep.run = lambda self, wakeup_time: self._stop.wait()  # type: ignore[method-assign]


def acknowledge_before_record() -> None:
    """The scrubber acknowledges a message of the queue when it has read it, not when the registry knows the end."""
    from glance_scrubber import consumer

    handle = consumer.QueueConsumer._handle

    def acknowledge_first(self, connection, batch, received, size):
        for message in batch:
            message.ack()
            message.ack = message.requeue = lambda: None
        return handle(self, connection, batch, received, size)

    consumer.QueueConsumer._handle = acknowledge_first  # type: ignore[method-assign] # a breakage


def lease_ignored() -> None:
    """The registry takes the commit of a writer whose lease has run out, after the reaper took its bytes."""
    import sqlalchemy as sa

    from glance_common.model.status import ImageStatus, LocationStatus
    from glance_registry.db.tables import images, locations
    from glance_registry.locations import uploads

    lock = uploads._lock

    def as_if_it_lived(connection, attempt):
        image, location = lock(connection, attempt)
        if location.status in (LocationStatus.REAPING, LocationStatus.DELETED):
            connection.execute(
                sa.update(locations).where(locations.c.id == location.id).values(status=LocationStatus.WRITING)
            )
            connection.execute(sa.update(images).where(images.c.id == image.id).values(status=ImageStatus.SAVING))
        return lock(connection, attempt)

    uploads._lock = as_if_it_lived


def no_tombstone() -> None:
    """The registry gives a key away again at once, though a process that lost its lease may still remove it."""
    from glance_registry.locations import purge

    purge.LATE_PASSES = 0


def no_claim() -> None:
    """The registry lets a scrubber remove bytes and does not write down that it does."""
    import sqlalchemy as sa

    from glance_registry.db.row_types import LocationRow, one
    from glance_registry.db.session import read
    from glance_registry.db.tables import locations
    from glance_registry.locations import use_cases
    from glance_registry.records import rows

    def look(connection, location_id, token):
        location = one(connection, sa.select(locations).where(locations.c.id == location_id), LocationRow)
        return rows.deletion_document(location, token)

    use_cases.claim = lambda engine, location_id, wanted: read(engine, look, location_id, wanted.token)


BREAKAGES = {
    breakage.__name__: breakage
    for breakage in (
        no_sync_of_data, no_sync_of_name, answer_before_record, no_sweep, acknowledge_before_record, lease_ignored,
        no_tombstone, no_claim,
    )
}

for _name in filter(None, os.environ.get("GLANCE_BREAKAGES", "").split(",")):
    BREAKAGES[_name]()
