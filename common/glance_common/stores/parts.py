"""Large objects in parts: how large a part is, and sending several at the same time with bounded memory."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sized
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from functools import partial
from itertools import count
from typing import TypeVar

from glance_common.stores.contract import StoreUnavailable
from glance_common.stores.room import SharedRoom

T = TypeVar("T")
P = TypeVar("P", bound=Sized)

Part = bytes | bytearray
"""The data of a part."""

GROW_EVERY = 10
"""Of an object of unknown size, parts double after a tenth of the allowed number: so the largest object fits."""


def part_sizes(part: int, size: int | None, most: int) -> Iterator[int]:
    """Yield the bytes of each part of an object of ``size`` bytes (None = unknown) in at most ``most`` parts.

    ``part`` is the size to begin with. A known size decides about all parts at once.
    """
    if size is not None:
        part = max(part, -(-size // most))
    every = max(most // GROW_EVERY, 1)
    for number in count(1):
        yield part
        if size is None and number % every == 0:
            part *= 2


def in_parts(pieces: Iterable[bytes | memoryview], sizes: Iterator[int]) -> Iterator[Part]:
    """Join and cut ``pieces`` into parts of these sizes; only the last one is shorter, and none is empty.

    Bytes that are a part already are passed on as they are.
    """
    wanted = next(sizes)
    part = bytearray()
    for piece in pieces:
        if not part and len(piece) == wanted and isinstance(piece, bytes):
            yield piece
            wanted = next(sizes)
            continue
        view = memoryview(piece)
        while view:
            taken = view[: wanted - len(part)]
            part += taken
            view = view[len(taken) :]
            if len(part) == wanted:
                yield part
                part, wanted = bytearray(), next(sizes)
    if part:
        yield part


def send_parts(
    parts: Iterable[P], send: Callable[[int, P], T], at_once: int, room: SharedRoom
) -> list[T]:
    """Return what ``send(number, part)`` returned of each part, numbered from 1, in order.

    At most ``at_once`` parts are in memory besides the one that comes in. One of them always may be, of any size;
    the others take their lengths from ``room``, which several uploads may share. On any error, of a part or of
    ``parts``, no further part begins, and the error comes out when those under way have ended.
    """
    results: list[T] = []
    waiting: deque[Future[T]] = deque()
    pool = ThreadPoolExecutor(at_once, thread_name_prefix="part")
    try:
        for number, part in enumerate(parts, 1):
            while waiting and (len(waiting) == at_once or not room.take(len(part))):
                results.append(waiting[0].result())
                waiting.popleft()
            taken = len(part) if waiting else 0
            try:
                waiting.append(pool.submit(copy_context().run, send, number, part))
            except RuntimeError as error:
                room.give_back(taken)
                raise StoreUnavailable("no thread is free to send a part of the data") from error
            waiting[-1].add_done_callback(partial(_give_back, room, taken))
            del part
        while waiting:
            results.append(waiting[0].result())
            waiting.popleft()
    finally:
        # Also a part whose thread could not be started: another thread would send it later.
        pool.shutdown(wait=False, cancel_futures=True)
        # Those that were cancelled have no thread that would ever tell.
        wait(future for future in waiting if not future.cancelled())
    return results


def _give_back(room: SharedRoom, taken: int, _sent: object) -> None:
    room.give_back(taken)
