"""Certificates and the keys in them: which can verify a signature, and whether it fits (lifecycle section 11, S-29)."""

from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, padding, rsa, utils
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

_HASHES: dict[str, hashes.HashAlgorithm] = {
    "SHA-224": hashes.SHA224(), "SHA-256": hashes.SHA256(), "SHA-384": hashes.SHA384(), "SHA-512": hashes.SHA512(),
}


def public_key(certificate: bytes, key_type: str) -> bytes:
    """Return the key of a certificate in DER. Raises ValueError unless the key is of that type and valid today."""
    key = _key_of(certificate)
    if not _fits(key_type, key):
        raise ValueError(f"the key in the certificate is not of the type {key_type}")
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def verifies(key: bytes, signature: bytes, digest: bytes, hash_method: str) -> bool:
    """Return whether the holder of this key (DER) signed the data with the digest. Raises ValueError for an unusable
    key."""
    chosen = _HASHES[hash_method]
    prehashed = utils.Prehashed(chosen)
    try:
        match load_der_public_key(key):
            case rsa.RSAPublicKey() as public:
                # The salt may have any length: signers differ there.
                public.verify(signature, digest, padding.PSS(padding.MGF1(chosen), padding.PSS.AUTO), prehashed)
            case dsa.DSAPublicKey() as public:
                public.verify(signature, digest, prehashed)
            case ec.EllipticCurvePublicKey() as public:
                public.verify(signature, digest, ec.ECDSA(prehashed))
            case _:
                raise UnsupportedAlgorithm("a kind of key that is not known here")
    except InvalidSignature:
        return False
    except (ValueError, UnsupportedAlgorithm):
        # The library's texts speak of its own objects.
        raise ValueError("its key cannot verify a signature over this hash") from None
    return True


def _fits(key_type: str, key: object) -> bool:
    if isinstance(key, ec.EllipticCurvePublicKey):
        return key_type == f"ECC_{key.curve.name.upper()}"
    return isinstance(key, {"RSA-PSS": rsa.RSAPublicKey, "DSA": dsa.DSAPublicKey}.get(key_type, ()))


def _key_of(text: bytes) -> CertificatePublicKeyTypes:
    """Return the key of a certificate in PEM or DER that is valid today."""
    try:
        load = x509.load_pem_x509_certificate if b"-----BEGIN" in text else x509.load_der_x509_certificate
        certificate = load(text)
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("the secret is no X.509 certificate with a key that is known here") from None
    if not certificate.not_valid_before_utc <= datetime.now(UTC) <= certificate.not_valid_after_utc:
        raise ValueError("the certificate is not valid yet, or not any more")
    return key
