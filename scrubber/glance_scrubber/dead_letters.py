"""What the delete queue and the purges put aside, for operators: unreadable messages, and purges that failed too often.
"""

from uuid import uuid4

from glance_common.delete_queue import dead_letters
from glance_common.messaging.connection import BROKER_ERRORS, Broker, describe
from glance_common.model.context import system_context
from glance_common.model.errors import GlanceError, Unavailable
from glance_common.registry_client.deletions import DeletionsClient
from glance_scrubber import table

MESSAGE_HEADINGS = ("message", "location", "put aside because")
ROW_HEADINGS = ("location", "image", "store", "attempts", "error")


def show(broker: Broker, rows: DeletionsClient) -> None:
    """Print both; nothing is changed. Raises Unavailable without the broker, GlanceError of the registry."""
    try:
        letters = dead_letters.listed(broker)
    except BROKER_ERRORS as error:
        raise _away(broker, error) from error
    cells = ((letter.beginning, letter.nudge.location if letter.nudge else "-", letter.reason) for letter in letters)
    count = table.show(MESSAGE_HEADINGS, cells)
    failed = rows.failed(system_context(f"req-{uuid4()}"))
    count += table.show(
        ROW_HEADINGS,
        ((row.location, row.image_id, row.store, str(row.attempts), row.last_error or "") for row in failed),
    )
    if not count:
        table.say("There are no dead letters and no failed purges.")


def replay(broker: Broker, rows: DeletionsClient) -> int:
    """Put readable messages back into the delete queue and let failed purges be tried again.

    Returns 1 when something stays. Raises as ``show``, before anything is changed when the broker is away.
    """
    context = system_context(f"req-{uuid4()}")
    failed = list(rows.failed(context))
    try:
        replayed, stay = dead_letters.replay(broker)
    except BROKER_ERRORS as error:
        raise _away(broker, error) from error
    refused = 0
    for row in failed:
        try:
            rows.replay(context, row.location, str(uuid4()))
        except GlanceError as error:
            refused += 1
            table.tell(f"ERROR: location {row.location}: {error}")
    table.say(
        f"{replayed} messages are in the delete queue again, {stay} cannot be read and stay; "
        f"{len(failed) - refused} of {len(failed)} failed purges are due again"
    )
    return 1 if stay or refused else 0


def _away(broker: Broker, error: Exception) -> Unavailable:
    return Unavailable(f"the delete queue at {broker.name}: {describe(error)}")
