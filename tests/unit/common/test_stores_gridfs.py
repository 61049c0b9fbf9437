"""Options and errors of the gridfs store; its work is tested on a real server (tests/conformance)."""

import subprocess
import sys
from pathlib import Path

import pytest
from pymongo import errors
from tests.support.stores import MemoryIdentities, bare, load

from glance_common.stores.contract import StoreFull, StoreUnavailable
from glance_common.stores.drivers.gridfs.driver import GridfsStore
from glance_common.stores.settings import StoreConfigError

KEY = "11111111-1111-4111-8111-111111111111"


def store(folder: Path, **options: object) -> GridfsStore:
    groups: dict[str, dict[str, object]] = {
        "DEFAULT": {"enabled_backends": "main:gridfs"}, "glance_store": {"default_backend": "main"}, "main": options,
    }
    made = bare(load(folder, groups, MemoryIdentities()).default)
    assert isinstance(made, GridfsStore)
    return made


@pytest.mark.parametrize(
    ("uri", "name", "place"),
    [
        ("mongodb://u:s3cret@h/images", None, "mongodb://h:27017/images"),
        ("mongodb://h:1234", "images", "mongodb://h:1234/images"),
        ("mongodb://h/other", "images", "mongodb://h:27017/images"),
        ("mongodb://c,a:2,b/images?readPreference=secondary", None, "mongodb://a:2,b:27017,c:27017/images"),
    ],
)
def test_the_database_comes_from_either_option(tmp_path, uri, name, place):
    options = {"mongodb_store_uri": uri, **({"mongodb_store_db": name} if name else {})}
    assert store(tmp_path, **options).details() == {"database": place}


def test_two_stores_with_one_database_stop_the_start(tmp_path):
    groups = {
        "DEFAULT": {"enabled_backends": "one:gridfs, two:gridfs"}, "glance_store": {"default_backend": "one"},
        "one": {"mongodb_store_uri": "mongodb://a:secret@h1,h2/images"},
        "two": {"mongodb_store_uri": "mongodb://b:secret@h2,h1", "mongodb_store_db": "images"},
    }
    told = r"\[two\] mongodb_store_db = .*h1.*images: is already used by .* one"
    with pytest.raises(StoreConfigError, match=told) as caught:
        load(tmp_path, groups)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("uri", ["", "h:27017/images", "http://u:s3cret@h/images", "mongodb://u:s3cr/et@h/images", "mongodb+srv://h/images"])
def test_an_address_that_is_none_stops_the_start_and_is_not_repeated(tmp_path, uri):
    with pytest.raises(StoreConfigError) as caught:
        store(tmp_path, mongodb_store_uri=uri, mongodb_store_db="images")
    assert "mongodb_store_uri" in str(caught.value)
    assert "s3cr" not in str(caught.value)


def test_a_missing_library_stops_the_start_and_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pymongo.errors", None)
    with pytest.raises(StoreConfigError, match=r"glance-services\[gridfs\]"):
        store(tmp_path, mongodb_store_uri="mongodb://h/images")


def test_the_driver_is_loaded_without_the_library():
    program = (
        "import sys; sys.modules['pymongo'] = None\n"
        "from glance_common.stores.kinds import drivers\n"
        "assert 'gridfs' in drivers()"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_a_database_must_be_named(tmp_path):
    with pytest.raises(StoreConfigError, match="mongodb_store_db"):
        store(tmp_path, mongodb_store_uri="mongodb://h")


@pytest.mark.parametrize(
    ("error", "expected", "text"),
    [
        (errors.ServerSelectionTimeoutError("u:s3cret"), StoreUnavailable, "ServerSelectionTimeoutError"),
        (errors.NetworkTimeout("u:s3cret"), StoreUnavailable, "NetworkTimeout"),
        (errors.OperationFailure("u:s3cret", 18), StoreUnavailable, "refuses the user or the password"),
        (errors.OperationFailure("u:s3cret", 13), StoreUnavailable, "refuses this user"),
        (errors.OperationFailure("u:s3cret", 14031), StoreFull, "disk of the server is full"),
        (errors.WriteConcernError("u:s3cret", 64), StoreUnavailable, "error 64"),
    ],
)
def test_errors_of_the_library(tmp_path, error, expected, text):
    made = store(tmp_path, mongodb_store_uri="mongodb://h/images")
    with pytest.raises(expected, match=text) as caught, made._database.asked():
        raise error
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "url", [f"gridfs://{KEY}/", f"gridfs://{KEY}?x", f"gridfs://h/{KEY}", "gridfs://", f"gridfs:{KEY}", f"file://{KEY}"]
)
def test_other_urls_are_none_of_its_own(tmp_path, url):
    made = store(tmp_path, mongodb_store_uri="mongodb://h/images")
    assert made.key_of(f"gridfs://{KEY}") == KEY
    assert made.key_of(url) is None
