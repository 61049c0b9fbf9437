"""Signatures of image data: what the properties ask for, and whether the data keep it (lifecycle section 11, S-29).

Pure: the digest was computed while the data were stored, the certificate comes from ``key_manager``.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self
from uuid import UUID

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, padding, rsa, utils
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from glance_common.errors import BadRequest

SIGNATURE = "img_signature"
HASH_METHOD = "img_signature_hash_method"
KEY_TYPE = "img_signature_key_type"
CERTIFICATE = "img_signature_certificate_uuid"

_HASHES: dict[str, hashes.HashAlgorithm] = {
    "SHA-224": hashes.SHA224(), "SHA-256": hashes.SHA256(), "SHA-384": hashes.SHA384(), "SHA-512": hashes.SHA512(),
}
"""MD5 and SHA-1 are not among them: who can forge the hash can forge the data (S-29)."""

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
        key = _public_key(certificate)
        if not _fits(self.key_type, key):
            raise BadRequest(f"{CERTIFICATE}: the key in the certificate is not of {KEY_TYPE} {self.key_type}")
        info = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return Verification(self, info)


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
        value, digest = self.signature.value, bytes.fromhex(digests[self.algorithm])
        chosen = _HASHES[self.signature.hash_method]
        prehashed = utils.Prehashed(chosen)
        try:
            match load_der_public_key(self.key):
                case rsa.RSAPublicKey() as key:
                    # The salt may have any length: signers differ there.
                    key.verify(value, digest, padding.PSS(padding.MGF1(chosen), padding.PSS.AUTO), prehashed)
                case dsa.DSAPublicKey() as key:
                    key.verify(value, digest, prehashed)
                case ec.EllipticCurvePublicKey() as key:
                    key.verify(value, digest, ec.ECDSA(prehashed))
                case _:
                    raise BadRequest(f"{CERTIFICATE}: the key in the certificate is of no known kind")
        except InvalidSignature:
            raise BadRequest(f"{SIGNATURE}: the data are not those that were signed") from None


def _fits(key_type: str, key: object) -> bool:
    if isinstance(key, ec.EllipticCurvePublicKey):
        return key_type == f"ECC_{key.curve.name.upper()}"
    return isinstance(key, {"RSA-PSS": rsa.RSAPublicKey, "DSA": dsa.DSAPublicKey}.get(key_type, ()))


def _check_choice(name: str, value: str, allowed: Mapping[str, object] | tuple[str, ...]) -> None:
    if value not in allowed:
        raise BadRequest(f"{name} must be one of {', '.join(allowed)}")


def _public_key(text: bytes) -> CertificatePublicKeyTypes:
    """Return the key of a certificate in PEM or DER that is valid today."""
    try:
        load = x509.load_pem_x509_certificate if b"-----BEGIN" in text else x509.load_der_x509_certificate
        certificate = load(text)
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise BadRequest(f"{CERTIFICATE}: the secret is no X.509 certificate with a key that is known here") from None
    if not certificate.not_valid_before_utc <= datetime.now(UTC) <= certificate.not_valid_after_utc:
        raise BadRequest(f"{CERTIFICATE}: the certificate is not valid yet, or not any more")
    return key
