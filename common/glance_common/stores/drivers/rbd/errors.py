"""What went wrong with a call to a Ceph cluster, and what an operator has to mend: one table.

The texts are ours. What the library says stays out, except for the name of its error and its number.
"""

import errno

from glance_common.stores.contract import StoreError, StoreFull, StoreUnavailable

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_DENIED = frozenset({errno.EPERM, errno.EACCES})

_MEANINGS = {
    errno.ETIMEDOUT: "the cluster does not answer in time: are its monitors and OSDs up, or is a firewall in between?",
    errno.ESHUTDOWN: "the cluster has shut this client out (blocklist), or its connection has ended; the next call "
    "connects again",
    errno.EACCES: "the cluster refuses the user or its key: compare rbd_store_user and its keyring",
    errno.EPERM: "the user may not do that: its caps need 'profile rbd' for monitors, and for OSDs in this pool",
    errno.ENOENT: "the pool, the keyring of the user, or what the call is about does not exist",
}


class RbdFailed(StoreUnavailable):
    """A call failed. ``silent``: the cluster let us wait. ``denied``: the user may not do it.

    ``lost``: the connection is of no use any more.
    """

    def __init__(self, text: str, *, silent: bool = False, denied: bool = False, lost: bool = False) -> None:
        super().__init__(text)
        self.silent = silent
        self.denied = denied
        self.lost = lost


def meaning(error: Exception, operation: str, place: str) -> StoreError:
    """Return what an error of the library means."""
    return of_number(getattr(error, "errno", None), type(error).__name__, operation, place)


def of_number(number: int | None, name: str, operation: str, place: str) -> StoreError:
    """Return what an error with this number and name means; the number is positive."""
    if number in _FULL:
        return StoreFull(f"{place}: {operation}: the cluster or the pool is full, or a quota is reached")
    told = f"{name}, error {number}" if number is not None else name
    text = _MEANINGS.get(number or 0, "the cluster cannot do it")
    return RbdFailed(
        f"{place}: {operation}: {text} ({told})",
        silent=number == errno.ETIMEDOUT, denied=number in _DENIED,
        # Without a number the library complains about its own state.
        lost=number == errno.ESHUTDOWN or name == "RadosStateError",
    )


def too_slow(operation: str, place: str) -> RbdFailed:
    """Return the error for a call that did not come back in time."""
    return RbdFailed(f"{place}: {operation}: {_MEANINGS[errno.ETIMEDOUT]} (no answer)", silent=True)
