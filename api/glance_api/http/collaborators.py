"""What only the HTTP side of a process works with: built once in each worker process, as ``Services`` is."""

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field

from glance_api.transfers.accel import InternalLocations
from glance_api.transfers.permits import TransferPermits


@dataclass(frozen=True, slots=True)
class HttpServices:
    """The collaborators of views and hooks.

    ``permits`` bounds the transfers, and ``cache_permits`` the downloads from the image cache that need no thread of
    their own; ``readers`` are threads that read ahead for downloads, one for each permit at
    most; ``accel`` says which files a proxy sends; ``is_down`` tells whether the registry was found to be unusable;
    ``manages_cache`` says whether there are the calls that the flavor ``cachemanagement`` adds.
    """

    permits: TransferPermits
    readers: Executor
    cache_permits: TransferPermits = field(default_factory=lambda: TransferPermits(0))
    accel: InternalLocations = field(default_factory=InternalLocations)
    is_down: Callable[[], bool] = lambda: False
    manages_cache: bool = False
