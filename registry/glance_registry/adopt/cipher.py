"""How the original encrypts the URLs of locations in its database (``metadata_encryption_key``).

AES in CBC mode without authentication: the text of a URL, a zero byte and random bytes up to the block, behind a random
vector of 16 bytes, all of it in URL-safe base64. Only a result that is a URL counts: a wrong key gives other bytes.
"""

import base64
import binascii
import re

from glance_common.model.errors import BadRequest

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,40}://")
_BLOCK = 16
_LENGTHS = (16, 24, 32)


class LocationCipher:
    """Opens the URLs that were encrypted with one key. Raises BadRequest for a key of a wrong length."""

    def __init__(self, key: str) -> None:
        self._key = key.encode()
        if len(self._key) not in _LENGTHS:
            raise BadRequest("metadata_encryption_key: must have 16, 24 or 32 characters")

    def open(self, text: str) -> str | None:
        """Return the URL, None when this key does not open it."""
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

        try:
            data = base64.urlsafe_b64decode(text)
        except (binascii.Error, ValueError):
            return None
        if len(data) < 2 * _BLOCK or len(data) % _BLOCK:
            return None
        decryptor = Cipher(algorithms.AES(self._key), modes.CBC(data[:_BLOCK])).decryptor()
        plain, zero, _ = (decryptor.update(data[_BLOCK:]) + decryptor.finalize()).rpartition(b"\0")
        try:
            url = plain.decode()
        except UnicodeDecodeError:
            return None
        return url if zero and is_url(url) else None


def is_url(text: str) -> bool:
    """Return whether a text of the database is a URL, and not an encrypted one."""
    return _URL.match(text) is not None
