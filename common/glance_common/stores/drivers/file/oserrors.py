"""What an error number of the operating system means for a store (stores section 3)."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from glance_common.stores.contract import StoreError, StoreFull, StoreUnavailable, WriteDenied

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}


@contextmanager
def writing(what: str) -> Iterator[None]:
    """Turn an OSError of a write into StoreFull, WriteDenied or StoreUnavailable; ``what`` names the file."""
    try:
        yield
    except OSError as error:
        raise _family(error)(f"{what}: {error.strerror}") from error


def _family(error: OSError) -> type[StoreError]:
    if error.errno in _FULL:
        return StoreFull
    if error.errno in _DENIED:
        return WriteDenied
    return StoreUnavailable


@contextmanager
def asking(what: str) -> Iterator[None]:
    """Turn an OSError of anything but a write into StoreUnavailable."""
    try:
        yield
    except OSError as error:
        raise StoreUnavailable(f"{what}: {error.strerror}") from error
