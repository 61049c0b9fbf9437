"""Encrypted keys: nobody reads them without the secret, and nothing else is touched in their place (S-76)."""

from pathlib import Path

import pytest
from tests.support.stores import load

from glance_common.config.loading import ConfigError
from glance_common.stores.contract import BadLocation, DeleteUnsupported
from glance_common.stores.loader import Stores

URL = "http://user:secret@mirror.example.org/one.img"


def stores(folder: Path, secret: str | None) -> Stores:
    option = {} if secret is None else {"metadata_encryption_key": secret}
    return load(folder, {"DEFAULT": option, "glance_store": {"stores": "file,http"}})


def test_s76_a_sealed_key_tells_nothing_and_is_another_text_each_time(tmp_path):
    web = stores(tmp_path, "k" * 16).get("http")
    first, second = web.key_of(URL), web.key_of(URL)
    assert first is not None
    assert first.startswith("sealed:1:")
    assert first != second
    for text in ("secret", "user", "mirror", "http"):
        assert text not in first
    assert web.url(first) == "http://mirror.example.org/one.img"


def test_s76_what_was_registered_in_the_clear_is_still_read(tmp_path):
    assert stores(tmp_path, "k" * 24).get("http").url(URL) == "http://mirror.example.org/one.img"


@pytest.mark.parametrize("other", ["o" * 32, None])
def test_s76_with_another_secret_nothing_happens(tmp_path, other):
    sealed = stores(tmp_path, "k" * 32).get("http").key_of(URL)
    web = stores(tmp_path, other).get("http")
    for use in (web.url, web.open, web.size, web.delete, lambda key: web.add(key, [b""], 0)):
        with pytest.raises(BadLocation, match="metadata_encryption_key"):
            use(sealed)


def test_s76_a_changed_text_is_noticed(tmp_path):
    web = stores(tmp_path, "k" * 32).get("http")
    sealed = web.key_of(URL)
    other = "B" if sealed[20] == "A" else "A"
    for damaged in (f"{sealed[:20]}{other}{sealed[21:]}", sealed[:-8], sealed[:9], f"{sealed[:20]}é{sealed[21:]}"):
        with pytest.raises(BadLocation, match="damaged"):
            web.url(damaged)


def test_the_driver_gets_the_url(tmp_path):
    """So that a scrubber with the same secret closes the row, as without encryption."""
    web = stores(tmp_path, "k" * 32).get("http")
    with pytest.raises(DeleteUnsupported):
        web.delete(web.key_of(URL))


def test_keys_of_own_data_stay_readable(tmp_path):
    key = "11111111-1111-4111-8111-111111111111"
    disks = stores(tmp_path, "k" * 32).get("file")
    assert disks.key_of(f"file:///var/lib/glance/images/{key}") == key


@pytest.mark.parametrize("secret", ["short", "k" * 33])
def test_a_secret_of_the_wrong_length_stops_the_start(tmp_path, secret):
    with pytest.raises(ConfigError, match=r"metadata_encryption_key = \*\*\*: must have 16, 24 or 32") as caught:
        stores(tmp_path, secret)
    assert secret not in str(caught.value)
