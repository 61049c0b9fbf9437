"""Keys, certificates and signatures of image data, as people make them with openssl."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, padding, rsa
from cryptography.x509.oid import NameOID

HASHES: dict[str, hashes.HashAlgorithm] = {
    "SHA-224": hashes.SHA224(), "SHA-256": hashes.SHA256(), "SHA-384": hashes.SHA384(), "SHA-512": hashes.SHA512(),
    "SHA-1": hashes.SHA1(),
}


@cache
def private_key(key_type: str, owner: str = "") -> Any:
    """Return the private key of ``owner`` for a value of img_signature_key_type; made once."""
    if key_type == "RSA-PSS":
        return rsa.generate_private_key(65537, 2048)
    if key_type == "DSA":
        return dsa.generate_private_key(2048)
    return ec.generate_private_key(getattr(ec, key_type.removeprefix("ECC_"))())


@dataclass(frozen=True)
class Signer:
    """A key and its certificate, valid from ``start`` for ``days``."""

    key_type: str = "RSA-PSS"
    start: timedelta = timedelta(days=-1)
    days: int = 30
    owner: str = ""

    def certificate(self, encoding: serialization.Encoding = serialization.Encoding.DER) -> bytes:
        """Return a certificate that a CA of its own has signed."""
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "signer")])
        start = datetime.now(UTC) + self.start
        builder = (
            x509.CertificateBuilder().subject_name(name).issuer_name(name).serial_number(1)
            .not_valid_before(start).not_valid_after(start + timedelta(days=self.days))
            .public_key(private_key(self.key_type, self.owner).public_key())
        )
        return builder.sign(private_key("RSA-PSS"), hashes.SHA256()).public_bytes(encoding)

    def sign(self, data: bytes, hash_method: str = "SHA-256", salt: int | None = None) -> str:
        """Return the signature as the property holds it."""
        key, algorithm = private_key(self.key_type, self.owner), HASHES[hash_method]
        if self.key_type == "RSA-PSS":
            pss = padding.PSS(padding.MGF1(algorithm), padding.PSS.MAX_LENGTH if salt is None else salt)
            return b64encode(key.sign(data, pss, algorithm)).decode()
        if self.key_type == "DSA":
            return b64encode(key.sign(data, algorithm)).decode()
        return b64encode(key.sign(data, ec.ECDSA(algorithm))).decode()

    def properties(self, data: bytes, certificate: str, hash_method: str = "SHA-256") -> dict[str, str]:
        """Return the four properties of an image with these data."""
        return {
            "img_signature": self.sign(data, hash_method),
            "img_signature_hash_method": hash_method,
            "img_signature_key_type": self.key_type,
            "img_signature_certificate_uuid": certificate,
        }
