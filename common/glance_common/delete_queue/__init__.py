"""The delete queue: which bytes are due for removal, told from the API to the scrubbers.

The row in the registry is the truth and the message only a nudge: a message that is lost costs time, because the
scrubbers' sweep finds the row anyhow, and a message too many costs one refused claim. So no request ever waits for the
broker, and both ends drop rather than block.

    message.py      what one message says
    broker.py       exchange and queues, and a connection that has them
    filesystem.py   the queue as a directory, for a single machine without a broker
    publisher.py    the sending end, one in each process of the API

The receiving end is ``glance_scrubber.consumer``.
"""

from glance_common.delete_queue.publisher import DeletePublisher

__all__ = ["DeletePublisher"]
