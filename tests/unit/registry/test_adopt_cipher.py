"""URLs that the original encrypted: opened with its key, and never taken for another text."""

import base64
import os

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from glance_common.model.errors import BadRequest
from glance_registry.adopt.cipher import LocationCipher, is_url

KEY = "0123456789abcdef"
URL = "https://user:secret@example.org/image"


def encrypted(text: str, key: str = KEY) -> str:
    """Return a text as the original keeps it: AES-CBC of the text, a zero byte and random bytes."""
    data = text.encode() + b"\0"
    data += bytes(1 + byte % 255 for byte in os.urandom(-len(data) % 16))
    vector = os.urandom(16)
    encryptor = Cipher(algorithms.AES(key.encode()), modes.CBC(vector)).encryptor()
    return base64.urlsafe_b64encode(vector + encryptor.update(data) + encryptor.finalize()).decode()


@pytest.mark.parametrize("length", [16, 24, 32])
def test_s76_every_length_of_key(length: int):
    key = "k" * length
    assert LocationCipher(key).open(encrypted(URL, key)) == URL


def test_s76_texts_of_every_length():
    for length in range(1, 40):
        url = "file:///" + "x" * length
        assert LocationCipher(KEY).open(encrypted(url)) == url


def test_s76_a_wrong_key_opens_nothing():
    text = encrypted(URL)
    assert all(LocationCipher(f"{number:016d}").open(text) is None for number in range(500))


@pytest.mark.parametrize("text", ["", "x", "ßß", "A" * 44, "A" * 43, "A" * 64, "file:///x"])
def test_what_is_no_encrypted_url(text: str):
    assert LocationCipher(KEY).open(text) is None


@pytest.mark.parametrize("key", ["", "short", "k" * 33])
def test_a_key_of_a_wrong_length_is_refused_and_not_shown(key: str):
    with pytest.raises(BadRequest, match="16, 24 or 32") as caught:
        LocationCipher(key)
    assert not key or key not in str(caught.value)


def test_what_is_a_url():
    assert is_url("swift+https://x")
    assert not is_url(encrypted(URL))
