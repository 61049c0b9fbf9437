"""Keys that are URLs, encrypted as long as they lie in the database (``metadata_encryption_key``, S-76).

Only the driver needs the URL: registry, queue and scrubber hand a sealed key on as they hand on any key.
So it is sealed where a URL becomes a key and opened where the driver gets one. Keys of our own data are image ids and
stay readable. What was registered without encryption is still read; what cannot be opened is a BadLocation, never
another object: nothing is read or deleted in its place.

Text of a sealed key: ``sealed:1:`` and, in URL-safe base64, 12 random bytes and the AES-256-GCM ciphertext with its
tag. The cipher's key is HKDF-SHA256 of the option's value, without salt, with the info ``glance location key 1``.
"""

import base64
import binascii
import os
from collections.abc import Iterable

from glance_common.stores.contract import BadLocation, Blob, DataAccess, Delete, Store, Stored
from glance_common.stores.decorators.base import Wrapper

_PREFIX = "sealed:1:"
_INFO = b"glance location key 1"
_NONCE = 12


def is_sealed(key: str) -> bool:
    """Say whether a key is encrypted: what it names may be a secret."""
    return key.startswith(_PREFIX)


class KeyCipher:
    """Seals and opens keys with one secret."""

    def __init__(self, secret: str) -> None:
        # Imported by those who seal: every daemon loads this module, and only some deployments encrypt.
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        derived = HKDF(SHA256(), length=32, salt=None, info=_INFO).derive(secret.encode())
        self._cipher = AESGCM(derived)

    def seal(self, key: str) -> str:
        """Return the key encrypted; another text each time."""
        nonce = os.urandom(_NONCE)
        sealed = nonce + self._cipher.encrypt(nonce, key.encode(), _PREFIX.encode())
        return _PREFIX + base64.urlsafe_b64encode(sealed).decode()

    def open(self, sealed: str) -> str:
        """Return the key. Raises BadLocation when it was changed, or sealed with another secret."""
        from cryptography.exceptions import InvalidTag

        try:
            data = base64.urlsafe_b64decode(sealed.removeprefix(_PREFIX))
            return self._cipher.decrypt(data[:_NONCE], data[_NONCE:], _PREFIX.encode()).decode()
        except (InvalidTag, ValueError, binascii.Error):
            raise BadLocation(
                "the location is damaged, or was encrypted with another metadata_encryption_key"
            ) from None


class EncryptedKeys(Wrapper):
    """A store whose keys only the driver can open."""

    def __init__(self, inner: Store, cipher: KeyCipher | None) -> None:
        """Without ``cipher`` new keys stay readable, and sealed ones are told apart from damaged ones."""
        super().__init__(inner)
        self._cipher = cipher

    def add(self, key: str, pieces: Iterable[bytes], size: int | None) -> Stored:
        """See the contract."""
        return self.inner.add(self._opened(key), pieces, size)

    def open(self, key: str, offset: int = 0, length: int | None = None) -> Blob:
        """See the contract."""
        return self.inner.open(self._opened(key), offset, length)

    def size(self, key: str) -> int:
        """See the contract."""
        return self.inner.size(self._opened(key))

    def delete_by(self, delete: Delete, key: str) -> None:
        """See the contract."""
        delete(self._opened(key))

    def url(self, key: str) -> str:
        """See the contract."""
        return self.inner.url(self._opened(key))

    def presign(self, key: str, seconds: int) -> str | None:
        """See the contract."""
        return self.inner.presign(self._opened(key), seconds)

    def set_access(self, key: str, access: DataAccess) -> None:
        """See the contract."""
        self.inner.set_access(self._opened(key), access)

    def key_of(self, url: str) -> str | None:
        """Return the key that ``url`` names, sealed; another text at each call."""
        key = self.inner.key_of(url)
        return key if key is None or self._cipher is None else self._cipher.seal(key)

    def _opened(self, key: str) -> str:
        if not is_sealed(key):
            return key
        if self._cipher is None:
            raise BadLocation("the location is encrypted, and metadata_encryption_key is not set here")
        return self._cipher.open(key)
