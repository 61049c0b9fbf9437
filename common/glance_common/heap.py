"""How the C library keeps the memory of a service."""

import ctypes
import os

ARENAS = 2
"""Heaps of a process. The library makes one for each of many threads, eight for a core, and each keeps what was freed
in it: with a store whose client library has many threads that is more than the transfers hold."""

_ARENA_MAX = -8
"""M_ARENA_MAX of ``mallopt(3)``."""


def share_heaps() -> None:
    """Let all threads of this process, and of those that it forks, share few heaps. Call it before there are any.

    An operator's own ``MALLOC_ARENA_MAX`` stays as it is. C libraries other than glibc have no such heaps.
    """
    if "MALLOC_ARENA_MAX" in os.environ or "glibc.malloc.arena_max" in os.environ.get("GLIBC_TUNABLES", ""):
        return
    try:
        set_option = ctypes.CDLL(None).mallopt
    except AttributeError:
        return
    set_option(_ARENA_MAX, ARENAS)
