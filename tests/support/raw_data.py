"""Random data that are a raw disk for sure, so that the API takes them whatever chance gives."""

import random

_NO_SIGNATURE = b"\x01"
"""No disk format begins with this byte."""

_BOOT_SIGNATURE = slice(510, 512)
"""A boot record ends here. Once in 65 536 times random bytes look like one whose table is broken, and are refused."""


def random_bytes(size: int, chance: random.Random | None = None) -> bytes:
    """Return ``size`` bytes that compress to nothing and match no disk format.

    ``chance`` makes the same bytes again; without it they are new at each call.
    """
    data = bytearray((chance or random.SystemRandom()).randbytes(size))
    data[:1] = _NO_SIGNATURE[:size]
    data[_BOOT_SIGNATURE] = bytes(len(data[_BOOT_SIGNATURE]))
    return bytes(data)
