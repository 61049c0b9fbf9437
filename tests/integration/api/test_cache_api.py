"""The API of the image cache with real records: who may see what, and what becomes of copies (API section 14.2)."""

import os

import pytest
from tests.support.waiting import wait_for

from glance_api.background.cache_work import CacheDuties

ADMIN = {"project": "admins", "roles": "admin,member,reader"}
DATA = b"\x01" + bytes(5000)


@pytest.fixture
def api(make_api, tmp_path):
    """An API with a cache, whose workers do only what a test tells them."""
    made = make_api(image_cache_dir=tmp_path / "cache", paste_deploy__flavor="trusted-auth+cachemanagement")
    made.services.cache.open()
    yield made
    made.services.cache.close()


def uploaded(api, **document):
    image = api.create(disk_format="raw", container_format="bare", **document)["id"]
    headers = {"Content-Type": "application/octet-stream"}
    assert api.call("PUT", f"/v2/images/{image}/file", data=DATA, headers=headers).status_code == 204
    return image


def state(api):
    document = api.call("GET", "/v2/cache", **ADMIN).get_json()
    return [image["image_id"] for image in document["cached_images"]], document["queued_images"]


def fetch_queued(api):
    duties = CacheDuties(api.services, api.services.cache)
    for image in api.services.cache.queued():
        duties.fetch(image)


def test_cac11_a_life_of_an_image(api):
    image = uploaded(api)
    assert api.call("PUT", f"/v2/cache/{image.upper()}", **ADMIN).status_code == 202
    assert state(api) == ([], [image])
    fetch_queued(api)
    assert state(api) == ([image], [])
    (entry,) = api.call("GET", "/v2/cache", **ADMIN).get_json()["cached_images"]
    checksum = api.call("GET", f"/v2/images/{image}").get_json()["checksum"]
    assert (entry["size"], entry["hits"], entry["last_accessed"], entry["checksum"]) == (len(DATA), 0, 0, checksum)
    assert api.call("GET", f"/v2/images/{image}/file").data == DATA
    (entry,) = api.call("GET", "/v2.14/cache", **ADMIN).get_json()["cached_images"]
    assert entry["hits"] == 1
    assert entry["last_accessed"] >= entry["last_modified"] > 1_700_000_000
    # A second queueing has nothing to do.
    assert api.call("PUT", f"/v2/cache/{image}", **ADMIN).status_code == 202
    assert state(api) == ([image], [])
    assert api.call("DELETE", f"/v2/images/{image}").status_code == 204
    assert state(api) == ([], [])


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_s43_an_image_of_others_is_as_absent(api, method):
    image = uploaded(api, visibility="private")
    api.call("PUT", f"/v2/cache/{image}", **ADMIN)
    fetch_queued(api)
    stranger = api.call(method, f"/v2/cache/{image}", project="stranger")
    absent = api.call(method, "/v2/cache/11111111-1111-4111-8111-111111111111", project="stranger")
    assert (stranger.status_code, absent.status_code) == (404, 404)
    assert api.call(method, f"/v2/cache/{image}").status_code == 403  # its owner knows it, and may not
    assert state(api)[0] == [image]


def test_s49_a_deactivated_image_is_not_queued_and_a_queued_one_not_fetched(api):
    image, other = uploaded(api), uploaded(api)
    api.call("PUT", f"/v2/cache/{other}", **ADMIN)
    for each in (image, other):
        assert api.call("POST", f"/v2/images/{each}/actions/deactivate", **ADMIN).status_code == 204
    refused = api.call("PUT", f"/v2/cache/{image}", **ADMIN)
    assert refused.status_code == 400
    assert "deactivated" in refused.text
    fetch_queued(api)
    assert state(api) == ([], [])


@pytest.mark.parametrize("path", ["/v1/images/{}", "/v2/images/{}/file"])
def test_s47_a_hit_shows_no_protected_property(make_api, tmp_path, path):
    rules = tmp_path / "protections.ini"
    rules.write_text("[^secret]\ncreate=@\nread=admin\nupdate=@\ndelete=@\n"
                     "[.*]\ncreate=@\nread=@\nupdate=@\ndelete=@\n")
    api = make_api(image_cache_dir=tmp_path / "cache", property_protection_file=rules)
    cache = api.services.cache
    cache.open()
    try:
        image = uploaded(api, secret_a="1", open="2")
        miss = api.call("GET", path.format(image))
        wait_for(lambda: cache.has(image) and not os.listdir(tmp_path / "cache" / "incomplete"), "the copy")
        hit = api.call("GET", path.format(image))
        assert (miss.data, hit.data) == (DATA, DATA)
        cache.flush()
        assert [entry.hits for entry in cache.cached()] == [1]
        shown = {name.lower(): value for name, value in hit.headers if "request-id" not in name.lower()}
        assert shown == {name.lower(): value for name, value in miss.headers if "request-id" not in name.lower()}
        assert not [name for name in shown if "secret" in name]
        if path.startswith("/v1"):
            assert shown["x-image-meta-property-open"] == "2"
            assert "x-image-meta-property-secret_a" in api.call("GET", path.format(image), **ADMIN).headers
    finally:
        cache.close()


def test_an_image_without_data_is_not_queued(api):
    image = api.create(disk_format="raw", container_format="bare")["id"]
    assert api.call("PUT", f"/v2/cache/{image}", **ADMIN).status_code == 400
    assert state(api) == ([], [])


def test_what_can_never_be_fetched_leaves_the_queue(api):
    """The management calls queue without a look at the image."""
    empty, large = api.create()["id"], uploaded(api)
    object.__setattr__(api.services.cache.settings, "max_size", len(DATA) - 1)
    for image in (empty, large, "11111111-1111-4111-8111-111111111111"):
        assert api.call("PUT", f"/v1/queued_images/{image}", **ADMIN).status_code == 200
    fetch_queued(api)
    assert state(api) == ([], [])


def test_cac14_whom_policy_allows_it_learns_the_nodes(make_api, tmp_path):
    (tmp_path / "policy.yaml").write_text("list_cached_nodes: 'role:operator'\ncache_image: 'role:operator'\n")
    api = make_api(
        image_cache_dir=tmp_path / "cache", image_cache_driver="centralized_db",
        worker_self_reference_url="http://east:9292", oslo_policy__policy_file=tmp_path / "policy.yaml",
    )
    api.services.cache.open()
    image = uploaded(api, visibility="private")
    operator = {"roles": "operator,member,reader"}
    assert api.call("GET", f"/v2/cache/nodes/{image}", **operator).get_json() == []
    assert api.call("PUT", f"/v2/cache/{image}", **operator).status_code == 202
    fetch_queued(api)
    assert api.call("GET", f"/v2/cache/nodes/{image}", **operator).get_json() == ["http://east:9292"]
    assert api.call("GET", f"/v2/cache/nodes/{image}", project="stranger", **operator).status_code == 404
    assert api.call("GET", f"/v2/cache/nodes/{image}", **ADMIN).status_code == 403  # the rule names operators alone
    api.services.cache.close()
