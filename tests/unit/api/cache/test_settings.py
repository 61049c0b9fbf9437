"""The options of the image cache, and which index they choose."""

import os
import socket
from types import SimpleNamespace

import pytest
from tests.unit.api.cache.conftest import settings
from tests.unit.api.conftest import make_conf

from glance_api.cache import index
from glance_api.cache.index.central import CentralIndex
from glance_api.cache.index.sqlite import SqliteIndex
from glance_api.cache.index.xattr import XattrIndex
from glance_api.cache.settings import CacheSettings
from glance_common.config.loading import ConfigError


def test_without_a_directory_there_is_no_cache():
    assert CacheSettings.from_conf(make_conf()) is None
    assert CacheSettings.from_conf(make_conf({"image_cache_dir": " "})) is None


def test_the_options_and_their_defaults():
    found = CacheSettings.from_conf(make_conf({"image_cache_dir": "/var/lib/glance/image-cache/"}))
    assert found == CacheSettings(
        directory="/var/lib/glance/image-cache", driver="sqlite", sqlite_db="cache.db", max_size=10 * 1024**3,
        stall_time=86400, max_fills=8, patience=10.0, prefetch_workers=2, prefetch_rate=0,
        node=socket.gethostname(), is_named=False,
    )


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("image_cache_dir", "relative/path"), ("image_cache_dir", "/"), ("image_cache_sqlite_db", "/elsewhere/x.db"),
        ("image_cache_sqlite_db", "../x.db"), ("image_cache_sqlite_db", ""), ("image_cache_sqlite_db", ".glance-cache"),
    ],
)
def test_bad_values_are_named(option, value):
    conf = make_conf({"image_cache_dir": "/var/cache/images", option: value})
    with pytest.raises(ConfigError, match=option):
        CacheSettings.from_conf(conf)


@pytest.mark.parametrize(
    ("place", "is_apart"),
    [
        ("/var/lib/glance/images", True), ("/var/lib/glance/cache2", True), ("pool/images", True), ("/", False),
        ("/var/lib/glance/cache", False), ("/var/lib/glance/cache/", False), ("/var/lib/glance", False),
        ("/var/lib/glance/cache/images", False),
    ],
)
def test_the_directory_is_apart_from_those_of_stores(place, is_apart):
    found = CacheSettings.from_conf(make_conf({"image_cache_dir": "/var/lib/glance/cache"}))
    if is_apart:
        found.check_apart([place])
    else:
        with pytest.raises(ConfigError, match="apart from the directory of a store"):
            found.check_apart(["/elsewhere", place])


@pytest.mark.parametrize("value", ["ten", "-1", "1.5"])
def test_a_size_that_is_no_number_is_refused(tmp_path, value):
    file = tmp_path / "glance-api.conf"
    file.write_text(f"[DEFAULT]\nimage_cache_max_size = {value}\n")
    conf = make_conf(files=[str(file)])
    with pytest.raises(ValueError, match="image_cache_max_size"):
        _ = conf.image_cache_max_size


@pytest.mark.parametrize("driver", ["sqlite", "xattr"])
def test_the_driver_chooses_the_index(tmp_path, driver):
    found = index.choose(settings(tmp_path, driver=driver), None)
    assert isinstance(found, SqliteIndex if driver == "sqlite" else XattrIndex)


def test_xattr_falls_back_to_sqlite(tmp_path, monkeypatch, caplog):
    def refuse(*_, **__):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "setxattr", refuse)
    assert isinstance(index.choose(settings(tmp_path, driver="xattr"), None), SqliteIndex)
    assert "keeps no extended attributes; sqlite is used" in caplog.text


def test_centralized_db_needs_a_name_and_falls_back_to_sqlite(tmp_path, caplog):
    client = SimpleNamespace()
    assert isinstance(index.choose(settings(tmp_path, driver="centralized_db"), client), SqliteIndex)
    assert "centralized_db needs worker_self_reference_url; sqlite is used" in caplog.text
    named = settings(tmp_path, driver="centralized_db", is_named=True)
    assert isinstance(index.choose(named, client), CentralIndex)
    conf = make_conf({"image_cache_dir": "/x/cache", "worker_self_reference_url": "http://here:9292"})
    found = CacheSettings.from_conf(conf)
    assert (found.node, found.is_named) == ("http://here:9292", True)
