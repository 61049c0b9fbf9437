"""Options and URLs of the s3 driver."""

import sys
from pathlib import Path
from typing import Any

import pytest
from tests.support.stores import MemoryIdentities, bare, load

from glance_common.stores.contract import UnknownStore
from glance_common.stores.drivers.s3.driver import S3Store
from glance_common.stores.drivers.s3.options import MIB, S3Options
from glance_common.stores.drivers.s3.place import S3Place, parse_host
from glance_common.stores.settings import StoreConfigError

KEY = "11111111-1111-4111-8111-111111111111"
LEAST = {"s3_store_host": "https://s3.example.org", "s3_store_bucket": "images"}


def s3_store(folder: Path, **options: Any) -> S3Store:
    groups = {"glance_store": {"stores": "s3", "default_store": "s3", **LEAST, **options}}
    store = bare(load(folder, groups).default)
    assert isinstance(store, S3Store)
    return store


def parsed(folder: Path, **options: Any) -> S3Options:
    return s3_store(folder, **options)._options


def test_the_defaults_are_those_of_the_original(tmp_path: Path):
    options = parsed(tmp_path)
    assert (options.region, options.credentials, options.creates_bucket, options.addressing) == (
        None, None, False, "auto"
    )
    assert (options.large_object, options.part, options.at_once, options.verify) == (100 * MIB, 10 * MIB, 10, True)
    assert (options.request_checksums, options.response_checksums) == ("when_required", "when_required")
    assert (options.connect_timeout, options.read_timeout) == (10.0, 60.0)


def test_the_options_of_the_guides_are_taken(tmp_path: Path):
    (tmp_path / "ca.pem").touch()
    options = parsed(
        tmp_path, s3_store_region_name="eu-west-1", s3_store_access_key="AK", s3_store_secret_key="sk/1+",
        s3_store_create_bucket_on_put="true", s3_store_bucket_url_format="subdomain", s3_store_large_object_size=7,
        s3_store_large_object_chunk_size=5, s3_store_thread_pools=3, s3_store_cacert=tmp_path / "ca.pem",
        s3_store_enable_data_integrity_protection="true", s3_store_request_checksum_calculation="when_supported",
        s3_store_response_checksum_validation="when_supported",
    )
    assert options.credentials is not None
    assert (options.credentials.access, options.credentials.secret) == ("AK", "sk/1+")
    assert "sk/1+" not in repr(options)
    assert (options.region, options.creates_bucket, options.addressing) == ("eu-west-1", True, "virtual")
    assert (options.large_object, options.part, options.at_once) == (7 * MIB, 5 * MIB, 3)
    assert options.verify == str(tmp_path / "ca.pem")
    assert (options.request_checksums, options.response_checksums) == ("when_supported", "when_supported")


def test_checksums_are_as_required_unless_protection_is_on(tmp_path: Path):
    options = parsed(tmp_path, s3_store_request_checksum_calculation="when_supported")
    assert options.request_checksums == "when_required"


def test_keys_never_stand_in_texts(tmp_path: Path):
    options = parsed(tmp_path, s3_store_access_key="AK", s3_store_secret_key="hidden")
    assert "hidden" not in repr(options)


@pytest.mark.parametrize(
    ("options", "named", "told"),
    [
        ({"s3_store_host": ""}, "s3_store_host", "must be set"),
        ({"s3_store_host": "ftp://host"}, "s3_store_host", "http or https"),
        ({"s3_store_host": "http://"}, "s3_store_host", "must be a host"),
        ({"s3_store_host": "http://host:0"}, "s3_store_host", "must be a host"),
        ({"s3_store_host": "host:port"}, "s3_store_host", "must be a host"),
        ({"s3_store_host": "http://AK:hidden@host"}, "s3_store_host", "no user, password"),
        ({"s3_store_host": "http://host?x=1"}, "s3_store_host", "query"),
        ({"s3_store_bucket": ""}, "s3_store_bucket", "must be set"),
        ({"s3_store_bucket": "a/b"}, "s3_store_bucket", "name of a bucket"),
        ({"s3_store_access_key": "AK"}, "s3_store_secret_key", "must be set"),
        ({"s3_store_secret_key": "hidden"}, "s3_store_access_key", "must be set"),
        ({"s3_store_bucket_url_format": "dns"}, "s3_store_bucket_url_format", "path, virtual"),
        ({"s3_store_cacert": "/none.pem"}, "s3_store_cacert", "readable file"),
        ({"s3_store_cacert": __file__, "s3_store_host": "http://host"}, "s3_store_cacert", "no effect"),
    ],
)
def test_bad_options_are_named(tmp_path: Path, options: dict[str, str], named: str, told: str):
    with pytest.raises(StoreConfigError) as caught:
        s3_store(tmp_path, **options)
    assert (caught.value.group, caught.value.option) == ("glance_store", named)
    assert told in str(caught.value)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    "option",
    ["s3_store_large_object_chunk_size = 4", "s3_store_thread_pools = 0", "s3_store_large_object_size = 0",
     "s3_store_request_checksum_calculation = never", "s3_store_read_timeout = 0"],
)
def test_values_out_of_their_range_stop_the_start(tmp_path: Path, option: str):
    name, _, value = option.partition(" = ")
    with pytest.raises((StoreConfigError, ValueError), match=name):
        s3_store(tmp_path, **{name: value})


def test_a_missing_library_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delitem(sys.modules, "glance_common.stores.drivers.s3.client", raising=False)
    monkeypatch.setitem(sys.modules, "botocore.config", None)
    with pytest.raises(StoreConfigError, match=r"pip install glance-services\[s3\]"):
        s3_store(tmp_path)


def test_two_stores_cannot_share_a_bucket(tmp_path: Path):
    groups = {
        "DEFAULT": {"enabled_backends": "one:s3, two:s3"},
        "glance_store": {"default_backend": "one"},
        "one": LEAST,
        "two": {**LEAST, "s3_store_host": "https://S3.example.org:443/"},
    }
    with pytest.raises(StoreConfigError) as caught:
        load(tmp_path, groups)
    assert (caught.value.group, caught.value.option) == ("two", "s3_store_bucket")
    groups["two"] = {**LEAST, "s3_store_bucket": "others"}
    assert load(tmp_path, groups).ids == ("one", "two")


@pytest.mark.parametrize(
    ("text", "secure", "server"),
    [
        ("s3.example.org", False, "s3.example.org"),
        ("http://10.0.0.1:8080", False, "10.0.0.1:8080"),
        ("https://s3.example.org/", True, "s3.example.org"),
        ("https://[2001:db8::1]:443", True, "[2001:db8::1]:443"),
        ("gateway:7480/s3", False, "gateway:7480/s3"),
    ],
)
def test_hosts(text: str, secure: bool, server: str):
    assert parse_host(text) == (secure, server)


PLACE = S3Place(True, "s3.example.org", "images")


def test_locations_hold_no_credentials(tmp_path: Path):
    store = s3_store(tmp_path, s3_store_access_key="AK", s3_store_secret_key="hidden")
    assert store.url(KEY) == f"s3+https://s3.example.org/images/{KEY}"
    assert S3Place(False, "host:80", "b").url(KEY) == f"s3://host:80/b/{KEY}"
    assert store.details() == {
        "s3_store_large_object_size": 100, "s3_store_large_object_chunk_size": 10, "s3_store_thread_pools": 10,
    }


@pytest.mark.parametrize(
    "url",
    [
        f"s3://s3.example.org/images/{KEY}",
        f"s3+http://s3.example.org:80/images/{KEY}",
        f"s3+https://S3.Example.Org/images/{KEY}",
        f"S3+HTTPS://s3.example.org:443/images/{KEY}",
        f"s3://AK:hidden@s3.example.org/images/{KEY}",
        f"s3+https://AK:hid/den+/x%2F@s3.example.org/images/{KEY}",
        f"s3://AK:hid@den@s3.example.org/images/{KEY}",
    ],
)
def test_sto22_rows_of_older_installations_are_read_without_their_credentials(tmp_path: Path, url: str):
    stores = load(tmp_path, {"glance_store": {"stores": "s3", "default_store": "s3", **LEAST}}, MemoryIdentities())
    store, key = stores.user_location(url) if url[0] == "s" else (stores.by_url(url), stores.default.key_of(url))
    assert (store.id, key) == ("s3", KEY)
    assert store.url(KEY) == f"s3+https://s3.example.org/images/{KEY}"


@pytest.mark.parametrize(
    "url",
    [
        f"s3://other.example.org/images/{KEY}",
        f"s3://s3.example.org:8080/images/{KEY}",
        f"s3://s3.example.org/others/{KEY}",
        f"s3://s3.example.org/images/x/{KEY}",
        f"s3://s3.example.org/images/{KEY}?x=1",
        "s3://s3.example.org/images/.glance-store",
        f"https://s3.example.org/images/{KEY}",
        f"s3://s3.example.org/images/{KEY}/",
        f"s3://{KEY}",
        "s3://",
    ],
)
def test_other_places_have_no_key(tmp_path: Path, url: str):
    assert PLACE.key_of(url) is None
    if url.startswith("s3"):
        stores = load(tmp_path, {"glance_store": {"stores": "s3", "default_store": "s3", **LEAST}})
        with pytest.raises(UnknownStore) as caught:
            stores.user_location(url)
        assert url not in str(caught.value)


def test_stores_share_the_description_of_the_protocol(tmp_path: Path):
    """Each with its own would take 12 MB more, and most of the time in which a store is made."""
    loaders = [s3_store(tmp_path, s3_store_bucket=name)._bucket._client()._loader for name in ("one", "two")]
    assert loaders[0] is loaders[1]
