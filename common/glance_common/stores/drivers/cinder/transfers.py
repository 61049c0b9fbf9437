"""Reads and writes of an attached volume that are under way while their caller does something else."""

from collections import deque
from collections.abc import Callable
from typing import TypeVar

from glance_common.stores.calls import Call, CallHangs
from glance_common.stores.contract import StoreError, StoreFull
from glance_common.stores.drivers.cinder.brick import Brick
from glance_common.stores.drivers.cinder.errors import of_device

T = TypeVar("T")

_NO_ROOM = frozenset({28, 122})
"""ENOSPC and EDQUOT, as files on NFS give them."""


class Transfers:
    """Transfers of one volume, in order. Each has a thread, so that one that hangs ends in time."""

    def __init__(self, brick: Brick, place: str, operation: str) -> None:
        self._brick = brick
        self._place = place
        self._operation = operation
        self._under_way: deque[Call[object]] = deque()

    def __len__(self) -> int:
        return len(self._under_way)

    def begin(self, act: Callable[[], object]) -> None:
        """Begin one. Raises StoreError."""
        try:
            self._under_way.append(self._brick.calls.begin(act))
        except CallHangs as error:
            raise self._failed(error) from None

    def oldest(self) -> object:
        """Wait for the oldest one and return its result. Raises StoreError."""
        call = self._under_way.popleft()
        try:
            return call.result(self._brick.options.transfer)
        except (CallHangs, Exception) as error:
            raise self._failed(error) from None

    def drain(self) -> None:
        """Wait for all of them. Raises StoreError, when all have ended that do."""
        failed: StoreError | None = None
        while self._under_way:
            try:
                self.oldest()
            except StoreError as error:
                failed = failed or error
        if failed is not None:
            raise failed

    def _failed(self, error: BaseException) -> StoreError:
        if getattr(error, "errno", None) in _NO_ROOM:
            return StoreFull(f"{self._place}: {self._operation}: there is no room for the volume")
        return of_device(error, self._operation, self._place)
