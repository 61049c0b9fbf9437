"""Which downloads a proxy sends, and from where."""

import pytest
from tests.unit.api.conftest import make_conf
from werkzeug.datastructures import Headers

from glance_api.transfers import accel
from glance_common.config.loading import ConfigError

KEY = "11111111-2222-3333-4444-555555555555"
ASKED = {"X-Sendfile-Type": "X-Accel-Redirect"}


def parse(text: dict[str, str], *directories: str) -> accel.InternalLocations:
    return accel.parse(make_conf({"x_accel_redirect": text}), directories)


def test_only_images_directly_in_a_named_directory_have_an_address():
    locations = parse({"/srv/a/": "/_a", "/srv/b": "/_b/images"}, "/srv/a", "/srv/b", "/srv/c")
    assert locations.address(f"/srv/a/{KEY}") == f"/_a/{KEY}"
    assert locations.address(f"/srv/b/{KEY}.2") == f"/_b/images/{KEY}.2"
    for path in (f"/srv/c/{KEY}", f"/srv/a/deeper/{KEY}", f"/srv/a/../b/{KEY}", "/srv/a/.glance-store", "/srv/a/",
                 f"/srv/ab/{KEY}", f"srv/a/{KEY}", "", None):
        assert locations.address(path) is None, path


def test_without_the_option_nothing_has_an_address():
    assert parse({}, "/srv/a").address(f"/srv/a/{KEY}") is None


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ({"/srv/other": "/_a"}, "must be a directory of a file store"),
        ({"/srv": "/_a"}, "must be a directory of a file store"),
        ({"/srv/a": "_a"}, "must be a path"),
        ({"/srv/a": "/"}, "must be a path"),
        ({"/srv/a": "/_a/"}, "must be a path"),
        ({"/srv/a": "/_a/../b"}, "must be a path"),
        ({"/srv/a": "/_a?x"}, "must be a path"),
        ({"/srv/a": "/_a\r\nX-Evil: 1"}, "must be a path"),
        ({"/srv/a": "/_a", "/srv/b": "/_a"}, "one directory only"),
    ],
)
def test_what_cannot_be_meant_stops_the_start(text, rule):
    with pytest.raises(ConfigError, match=rule):
        parse(text, "/srv/a", "/srv/b")


@pytest.mark.parametrize("headers", [{}, {"Range": "bytes=5-"}, {"If-None-Match": '"x"'}])
def test_a_proxy_is_asked_for_what_it_sends_as_we_do(headers):
    assert accel.is_asked("GET", Headers(ASKED | headers))
    assert not accel.is_asked("HEAD", Headers(ASKED | headers))
    assert not accel.is_asked("GET", Headers(headers))
    assert not accel.is_asked("GET", Headers(headers | {"X-Sendfile-Type": "X-Sendfile"}))


@pytest.mark.parametrize(
    "headers",
    [
        {"Range": "bytes=5-9999999999999999999"}, {"Range": "bytes =5-"}, {"Range": "bytes=\u0665-"}, {"If-Match": "*"},
        {"Range": "bytes=5-", "If-Range": '"x"'}, {"Content-Range": "bytes 0-1/*"}, {"If-Modified-Since": "x"},
        {"If-Unmodified-Since": "x"},
    ],
)
def test_what_a_proxy_could_understand_in_another_way_we_send_ourselves(headers):
    assert not accel.is_asked("GET", Headers(ASKED | headers))
