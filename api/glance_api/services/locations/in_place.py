"""The inspection of data that stay where they are: by their beginning, and their end where the format has one.

A registration must not make data active that an upload would be refused for (S-34, S-36).
The worker that hashes the data finds what only the whole of them shows.
"""

from contextlib import closing

from glance_api.content.formats import MOST_OF_HEAD, Inspection
from glance_common.model.errors import UnsupportedMediaType
from glance_common.stores.contract import BadLocation, RangeUnsupported, Store


def inspect(store: Store, key: str, size: int, inspection: Inspection) -> None:
    """Judge ``size`` bytes under ``key``; reads 4 MiB of them at most, mostly 64 KiB.

    Raises UnsupportedMediaType as ``Inspection.finish``, and when the end decides and the store sends no parts;
    StoreError, BadLocation when there are fewer bytes.
    """
    if not inspection.has_enough(size):
        _read_head(store, key, size, inspection)
    wanted = inspection.end_needed(size)
    inspection.skip_to_end(size, _end(store, key, size, wanted) if wanted else b"")
    inspection.finish()


def _read_head(store: Store, key: str, size: int, inspection: Inspection) -> None:
    with closing(store.open(key, 0, min(size, MOST_OF_HEAD))) as blob:
        for piece in blob:
            inspection.update(piece)
            if inspection.has_enough(size):
                return
    raise BadLocation(f"{store.id}: there are fewer bytes than the {size} that were announced")


def _end(store: Store, key: str, size: int, wanted: int) -> bytes:
    try:
        with closing(store.open(key, size - wanted, wanted)) as blob:
            end = b"".join(blob)
    except RangeUnsupported:
        raise UnsupportedMediaType(
            "url: the header of the image is at its end, which the server does not send alone; import the image instead"
        ) from None
    if len(end) != wanted:
        raise BadLocation(f"{store.id}: there are fewer bytes than the {size} that were announced")
    return end
