"""Signatures of data with real keys: every kind and hash, and everything that must be refused (IMG-34, S-29)."""

import hashlib
import json
from datetime import timedelta
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from tests.support.signing import Signer

from glance_api.content.signatures import Signature, Verification
from glance_common.model.errors import BadRequest

DATA = b"the data of an image" * 1000
KEY_TYPES = ("RSA-PSS", "DSA", "ECC_SECP384R1", "ECC_SECP521R1")


def check(signer, properties, data=DATA, encoding=Encoding.DER):
    signature = Signature.of(properties)
    made = signature.verification(signer.certificate(encoding))
    # As it is kept for work that is done later.
    kept = Verification.from_document(json.loads(json.dumps(made.to_document())))
    assert kept == made
    kept.verify({kept.algorithm: hashlib.new(kept.algorithm, data).hexdigest()})


def properties(signer, **changes):
    return {**signer.properties(DATA, str(uuid4())), **changes}


@pytest.mark.parametrize("key_type", KEY_TYPES)
@pytest.mark.parametrize("hash_method", ["SHA-224", "SHA-256", "SHA-384", "SHA-512"])
def test_img_34_every_kind_of_key_with_every_hash(key_type, hash_method):
    signer = Signer(key_type)
    signed = signer.properties(DATA, str(uuid4()), hash_method)
    check(signer, signed)
    with pytest.raises(BadRequest, match="img_signature"):
        check(signer, signed, DATA + b"!")


def test_certificates_are_taken_as_pem_too_and_salts_may_be_short():
    signer = Signer()
    check(signer, properties(signer), encoding=Encoding.PEM)
    check(signer, properties(signer, img_signature=signer.sign(DATA, salt=32)))


def test_with_fewer_than_four_properties_nothing_is_verified():
    whole = properties(Signer())
    for name in whole:
        assert Signature.of({key: value for key, value in whole.items() if key != name}) is None
    assert Signature.of({}) is None


@pytest.mark.parametrize("weak", ["MD5", "SHA-1", "sha1", "SHA1", ""])
def test_s29_weak_hashes_are_refused(weak):
    with pytest.raises(BadRequest, match="img_signature_hash_method must be one of SHA-224"):
        Signature.of(properties(Signer(), img_signature_hash_method=weak))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("img_signature", "no base64!"),
        ("img_signature_key_type", "RSA"),
        ("img_signature_certificate_uuid", "../containers"),
        ("img_signature_certificate_uuid", ""),
    ],
)
def test_bad_properties_are_named(name, value):
    with pytest.raises(BadRequest, match=name):
        Signature.of(properties(Signer(), **{name: value}))


@pytest.mark.parametrize(
    "signer", [Signer(start=timedelta(days=-10), days=5), Signer(start=timedelta(days=5))], ids=["over", "not yet"]
)
def test_a_certificate_holds_for_its_time(signer):
    with pytest.raises(BadRequest, match="not valid"):
        check(signer, properties(signer))


def test_the_key_has_to_be_of_the_kind_that_was_named():
    with pytest.raises(BadRequest, match="not of the type DSA"):
        check(Signer("RSA-PSS"), properties(Signer("DSA")))
    with pytest.raises(BadRequest, match="not of"):
        check(Signer("ECC_SECP521R1"), properties(Signer("ECC_SECP384R1")))


def test_somebody_elses_key_is_refused():
    with pytest.raises(BadRequest, match="not those that were signed"):
        check(Signer("ECC_SECP384R1", owner="another user"), properties(Signer("ECC_SECP384R1")))


@pytest.mark.parametrize("secret", [b"", b"\0" * 100, b"-----BEGIN CERTIFICATE-----\nnothing\n"])
def test_a_secret_that_is_no_certificate(secret):
    with pytest.raises(BadRequest, match=r"no X\.509 certificate"):
        Signature.of(properties(Signer())).verification(secret)
