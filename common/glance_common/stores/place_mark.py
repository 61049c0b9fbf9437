"""The object that tells a bucket, container or database from another one: what ``.glance-store`` is to a directory.

It holds a uuid that the registry knows too. Without it an empty bucket of the same name, made by mistake or by another
cloud, would look as if all images were gone.
"""

import logging
from collections.abc import Callable
from typing import Protocol
from uuid import UUID, uuid4

from glance_common.stores.contract import StoreUnavailable
from glance_common.stores.settings import Identities, register

LOG = logging.getLogger(__name__)

NAME = ".glance-store"


class WriteMark(Protocol):
    """Writes the text of the mark."""

    def __call__(self, identity: str, *, replace: bool) -> None:
        """See ``PlaceMark``."""


class PlaceMark:
    """Proves that ``place`` is the one that ``store`` has used before.

    ``read`` returns the text of the mark, None when the place has none. ``write`` writes it; with ``replace`` False it
    leaves one that is there, where the server can do that in one step. Both raise StoreUnavailable when the server does
    not answer or the place is missing.
    """

    def __init__(
        self, store: str, place: str, identities: Identities,
        *, read: Callable[[], str | None], write: WriteMark,
    ) -> None:
        self._store = store
        self._place = place
        self._identities = identities
        self._read = read
        self._write = write
        self._identity: str | None = None

    def prove(self) -> str:
        """Return the uuid of the place. Raises StoreUnavailable unless the place has the mark that the registry knows.

        A place that was never used gets its mark now.
        """
        # No lock: callers of a server that hangs would wait one after another. The registry lets one of them win.
        if self._identity is None:
            identity, seen = self._first_use()
            self._identity = identity
        else:
            identity, seen = self._identity, self._seen()
        return self._compared(identity, seen)

    def _compared(self, identity: str, seen: str | None) -> str:
        if seen == identity:
            return seen
        if seen is None:
            raise StoreUnavailable(f"{self._place} has no object {NAME}, which must hold {identity}")
        raise StoreUnavailable(
            f"{self._place} belongs to another store: its object {NAME} holds {seen} instead of {identity}"
        )

    def _first_use(self) -> tuple[str, str | None]:
        known = self._identities.known(self._store, self._place)
        seen = self._seen()
        if known is not None:
            return known, seen
        if seen is None:
            self._write(str(uuid4()), replace=False)
            seen = self._seen()
        if seen is None:
            raise StoreUnavailable(f"{self._place} does not keep the object {NAME}")
        known = register(self._identities, self._store, self._place, seen)
        if known != seen:
            # Another process was the first at the same moment, and the server let ours replace its mark.
            self._write(known, replace=True)
            seen = self._seen()
        LOG.info("store %s uses %s from now on, its mark is %s", self._store, self._place, known)
        return known, seen

    def _seen(self) -> str | None:
        text = self._read()
        if text is None:
            return None
        try:
            return str(UUID(text.strip()))
        except ValueError:
            raise StoreUnavailable(f"the object {NAME} of {self._place} does not hold a uuid") from None
