"""Signatures of image data: what the properties ask for, and whether the data keep it (lifecycle section 11, S-29).

Pure: the digest was computed while the data were stored, the certificate comes from ``key_manager``. The library that
knows keys is imported with ``certificates``, for the first image that is signed.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self
from uuid import UUID

from glance_common.model.errors import BadRequest

SIGNATURE = "img_signature"
HASH_METHOD = "img_signature_hash_method"
KEY_TYPE = "img_signature_key_type"
CERTIFICATE = "img_signature_certificate_uuid"

_HASHES = ("SHA-224", "SHA-256", "SHA-384", "SHA-512")
"""MD5 and SHA-1 are not among them: a forged hash would mean forged data (S-29)."""

_CURVES = ("SECT571K1", "SECT409K1", "SECT571R1", "SECT409R1", "SECP521R1", "SECP384R1")
_KEY_TYPES = ("RSA-PSS", "DSA", *(f"ECC_{curve}" for curve in _CURVES))


@dataclass(frozen=True, slots=True)
class Signature:
    """What the four properties of an image say; ``certificate`` is the id of a secret in the key manager."""

    value: bytes
    hash_method: str
    key_type: str
    certificate: str

    @classmethod
    def of(cls, properties: Mapping[str, str | None]) -> Self | None:
        """Return the signature of an image, None unless it has all four properties. Raises BadRequest."""
        found = [properties.get(name) for name in (SIGNATURE, HASH_METHOD, KEY_TYPE, CERTIFICATE)]
        texts = [text for text in found if text is not None]
        if len(texts) < len(found):
            return None
        value, hash_method, key_type, certificate = texts
        _check_choice(HASH_METHOD, hash_method, _HASHES)
        _check_choice(KEY_TYPE, key_type, _KEY_TYPES)
        try:
            return cls(b64decode(value, validate=True), hash_method, key_type, str(UUID(certificate)))
        except ValueError:
            raise BadRequest(f"{SIGNATURE} must be base64 and {CERTIFICATE} the UUID of a certificate") from None

    def verification(self, certificate: bytes) -> Verification:
        """Return what verifies data. Raises BadRequest for a certificate that cannot be used (now)."""
        from glance_api.content import certificates

        try:
            return Verification(self, certificates.public_key(certificate, self.key_type))
        except ValueError as error:
            raise BadRequest(f"{CERTIFICATE}: {error}") from None


@dataclass(frozen=True, slots=True)
class Verification:
    """A signature with the public key of its certificate, in DER: enough to verify data later, and no secret."""

    signature: Signature
    key: bytes

    @classmethod
    def from_document(cls, document: Mapping[str, str]) -> Self:
        """Build one from what ``to_document`` made of it."""
        signature = Signature(
            b64decode(document["value"]), document["hash_method"], document["key_type"], document["certificate"]
        )
        return cls(signature, b64decode(document["key"]))

    def to_document(self) -> dict[str, str]:
        """Return it as texts, to keep it with work that is done later."""
        return {
            "value": b64encode(self.signature.value).decode(),
            "hash_method": self.signature.hash_method,
            "key_type": self.signature.key_type,
            "certificate": self.signature.certificate,
            "key": b64encode(self.key).decode(),
        }

    @property
    def algorithm(self) -> str:
        """The name of the hash in hashlib."""
        return self.signature.hash_method.replace("-", "").lower()

    def verify(self, digests: Mapping[str, str]) -> None:
        """Raise BadRequest unless the data with these digests (algorithm → hex) are the signed ones."""
        from glance_api.content import certificates

        digest = bytes.fromhex(digests[self.algorithm])
        try:
            signed = certificates.verifies(self.key, self.signature.value, digest, self.signature.hash_method)
        except ValueError as error:
            raise BadRequest(f"{CERTIFICATE}: {error}") from None
        if not signed:
            raise BadRequest(f"{SIGNATURE}: the data are not those that were signed")


def _check_choice(name: str, value: str, allowed: Mapping[str, object] | tuple[str, ...]) -> None:
    if value not in allowed:
        raise BadRequest(f"{name} must be one of {', '.join(allowed)}")
