"""The options of the image cache, and which index they choose."""

import os

import pytest
from tests.unit.api.cache.conftest import settings
from tests.unit.api.conftest import make_conf

from glance_api.cache import index
from glance_api.cache.index.sqlite import SqliteIndex
from glance_api.cache.index.xattr import XattrIndex
from glance_api.cache.settings import CacheSettings
from glance_common.config.loading import ConfigError


def test_without_a_directory_there_is_no_cache():
    assert CacheSettings.from_conf(make_conf(), "here") is None
    assert CacheSettings.from_conf(make_conf({"image_cache_dir": " "}), "here") is None


def test_the_options_and_their_defaults():
    found = CacheSettings.from_conf(make_conf({"image_cache_dir": "/var/lib/glance/image-cache/"}), "here")
    assert found == CacheSettings(
        directory="/var/lib/glance/image-cache", driver="sqlite", sqlite_db="cache.db", max_size=10 * 1024**3,
        stall_time=86400, max_fills=8, patience=10.0, prefetch_workers=2, prefetch_rate=0, node="here",
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
        CacheSettings.from_conf(conf, "here")


@pytest.mark.parametrize("value", ["ten", "-1", "1.5"])
def test_a_size_that_is_no_number_is_refused(tmp_path, value):
    file = tmp_path / "glance-api.conf"
    file.write_text(f"[DEFAULT]\nimage_cache_max_size = {value}\n")
    conf = make_conf(files=[str(file)])
    with pytest.raises(ValueError, match="image_cache_max_size"):
        _ = conf.image_cache_max_size


@pytest.mark.parametrize("driver", ["sqlite", "xattr"])
def test_the_driver_chooses_the_index(tmp_path, driver):
    found = index.choose(settings(tmp_path, driver=driver))
    assert isinstance(found, SqliteIndex if driver == "sqlite" else XattrIndex)


def test_xattr_falls_back_to_sqlite(tmp_path, monkeypatch, caplog):
    def refuse(*_, **__):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "setxattr", refuse)
    assert isinstance(index.choose(settings(tmp_path, driver="xattr")), SqliteIndex)
    assert "keeps no extended attributes; sqlite is used" in caplog.text
