"""The API of the image cache (API section 14.2) in front of a real directory; nothing fetches what is queued."""

import os

import pytest
from tests.unit.api.fake_registry import make_image

from glance_common.model.status import ImageStatus

ID = "11111111-1111-4111-8111-111111111111"
OTHER = "22222222-2222-4222-8222-222222222222"
GONE = "33333333-3333-4333-8333-333333333333"
ADMIN = {"roles": "admin"}
DIGEST = {"os_hash_algo": "sha256", "os_hash_value": "0" * 64}
BAD_IDS = ("not-a-uuid", "..", "%2e%2e", ".glance-cache", "cache.db", f"{ID}x", "a%00b", "%ff", "x" * 3000)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def api(make_api, folder):
    """An API with a cache and its management calls, and one active image of project ``own``."""
    made = make_api(image_cache_dir=str(folder), paste_deploy__flavor="trusted-auth+cachemanagement")
    made.registry.images.rows[ID] = make_image(status=ImageStatus.ACTIVE, size=4, **DIGEST)
    return made


def keep(folder, image_id, data=b"data"):
    (folder / image_id).write_bytes(data)


def state(api):
    answer = api.call("GET", "/v2/cache", **ADMIN)
    assert answer.status_code == 200
    return [image["image_id"] for image in answer.json["cached_images"]], answer.json["queued_images"]


def test_cac11_list(api, folder):
    keep(folder, ID)
    os.utime(folder / ID, (1000, 2000.5))
    assert api.call("PUT", f"/v2/cache/{ID}", **ADMIN).status_code == 202
    document = api.call("GET", "/v2/cache", **ADMIN).json
    assert document == {
        "cached_images": [{
            "image_id": ID, "hits": 0, "last_accessed": 0.0, "last_modified": 2000.5, "size": 4, "checksum": None,
        }],
        "queued_images": [],
    }


def test_cac11_queue_and_delete(api, folder):
    assert api.call("PUT", f"/v2/cache/{ID}", **ADMIN).status_code == 202
    assert state(api) == ([], [ID])
    keep(folder, ID)
    answer = api.call("DELETE", f"/v2/cache/{ID}", **ADMIN)
    assert (answer.status_code, answer.data) == (204, b"")
    assert state(api) == ([], [])
    assert api.call("DELETE", f"/v2/cache/{ID}", **ADMIN).status_code == 204  # the image is there


def test_cac11_the_copy_of_a_deleted_image_can_be_deleted(api, folder):
    assert api.call("DELETE", f"/v2/cache/{GONE}", **ADMIN).status_code == 404
    keep(folder, GONE)
    assert api.call("DELETE", f"/v2/cache/{GONE}").status_code == 404  # no administrator: as if it were not there
    assert (folder / GONE).exists()
    assert api.call("DELETE", f"/v2/cache/{GONE}", **ADMIN).status_code == 204
    assert api.call("DELETE", f"/v2/cache/{GONE}", **ADMIN).status_code == 404
    assert api.call("PUT", f"/v2/queued_images/{GONE}", **ADMIN).status_code == 200
    assert api.call("DELETE", f"/v2/cache/{GONE}", **ADMIN).status_code == 204
    assert state(api) == ([], [])


@pytest.mark.parametrize(
    ("target", "left"),
    [("", ([], [])), ("cache", ([], [OTHER])), ("queue", ([ID], [])), ("QUEUE", ([ID], []))],
)
def test_cac11_clear(api, folder, target, left):
    keep(folder, ID)
    api.call("PUT", f"/v2/queued_images/{OTHER}", **ADMIN)
    headers = {"x-image-cache-clear-target": target} if target else {}
    assert api.call("DELETE", "/v2/cache", headers=headers, **ADMIN).status_code == 204
    assert state(api) == left


@pytest.mark.parametrize("target", ["both", "cache,queue", "all", " cache queue"])
def test_an_unknown_target_clears_nothing(api, folder, target):
    keep(folder, ID)
    answer = api.call("DELETE", "/v2/cache", headers={"x-image-cache-clear-target": target}, **ADMIN)
    assert answer.status_code == 400
    assert "x-image-cache-clear-target" in answer.text
    assert state(api) == ([ID], [])


def test_cac12_clean_and_prune(make_api, folder):
    api = make_api(image_cache_dir=str(folder), image_cache_max_size=8192)
    for number, image_id in enumerate((ID, OTHER, GONE)):
        keep(folder, image_id, bytes(4096))
        os.utime(folder / image_id, (number, number))
    keep(folder / "invalid", ID)
    assert api.call("POST", "/v2/cache/clean", **ADMIN).status_code == 200
    assert list((folder / "invalid").iterdir()) == []
    answer = api.call("POST", "/v2/cache/prune", **ADMIN)
    assert (answer.status_code, answer.json) == (200, {"total_files_pruned": 1, "total_bytes_pruned": 4096})
    assert state(api) == ([OTHER, GONE], [])
    assert api.call("POST", "/v2/cache/prune", **ADMIN).json == {"total_files_pruned": 0, "total_bytes_pruned": 0}


def test_cac14_nodes_need_a_shared_index(api):
    answer = api.call("GET", f"/v2/cache/nodes/{ID}", **ADMIN)
    assert answer.status_code == 409
    assert "centralized_db" in answer.text


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ({"status": ImageStatus.QUEUED, "size": None}, "active"),
        ({"status": ImageStatus.DEACTIVATED}, "deactivated"),
        ({"size": 0}, "no data"),
        ({"size": 11 * 1024**3}, "image_cache_max_size"),
        ({"os_hash_algo": None, "os_hash_value": None}, "verified"),
    ],
)
def test_an_image_that_cannot_be_kept_is_not_queued(api, image, words):
    api.registry.images.rows[OTHER] = make_image(
        id=OTHER, **{"status": ImageStatus.ACTIVE, "size": 4, **DIGEST, **image}
    )
    answer = api.call("PUT", f"/v2/cache/{OTHER}", **ADMIN)
    assert answer.status_code == 400
    assert words in answer.text
    assert state(api) == ([], [])


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_cac10_the_calls_of_the_management_filter(api, folder, version):
    keep(folder, ID)
    cached, queued = f"/{version}/cached_images", f"/{version}/queued_images"
    found = api.call("GET", cached, **ADMIN)
    assert [image["image_id"] for image in found.json["cached_images"]] == [ID]
    assert api.call("PUT", f"{queued}/{GONE}", **ADMIN).status_code == 200
    assert api.call("PUT", f"{queued}/{OTHER.upper()}", **ADMIN).status_code == 200
    assert sorted(api.call("GET", queued, **ADMIN).json["queued_images"]) == [OTHER, GONE]
    answer = api.call("DELETE", f"{queued}/{GONE}", **ADMIN)
    assert (answer.status_code, answer.data) == (200, b"")
    assert api.call("DELETE", f"{queued}/{GONE}", **ADMIN).status_code == 200
    assert api.call("DELETE", queued, **ADMIN).json == {"num_deleted": 1}
    assert api.call("DELETE", f"{cached}/{ID}", **ADMIN).status_code == 200
    assert not (folder / ID).exists()
    assert api.call("DELETE", f"{cached}/{ID}", **ADMIN).status_code == 200
    keep(folder, ID)
    keep(folder, OTHER)
    assert api.call("DELETE", cached, **ADMIN).json == {"num_deleted": 2}
    assert state(api) == ([], [])


def test_arc12_the_management_calls_need_their_flavor(make_api, folder):
    for options in ({"image_cache_dir": str(folder), "paste_deploy__flavor": "trusted-auth+caching"},
                    {"paste_deploy__flavor": "trusted-auth+cachemanagement"}):
        api = make_api(**options)
        for path in ("cached_images", "queued_images"):
            assert api.call("GET", f"/v2/{path}", **ADMIN).status_code == 404
            assert api.call("GET", f"/v1/{path}", **ADMIN).status_code == 404
    without_v1 = make_api(
        image_cache_dir=str(folder), paste_deploy__flavor="cachemanagement", enable_v1_api=False
    )
    assert without_v1.call("GET", "/v1/cached_images", **ADMIN).status_code == 300
    assert without_v1.call("GET", "/v2/cached_images", **ADMIN).status_code == 200


CALLS = (
    ("GET", "/v2/cache"), ("DELETE", "/v2/cache"), ("PUT", f"/v2/cache/{ID}"), ("DELETE", f"/v2/cache/{ID}"),
    ("POST", "/v2/cache/clean"), ("POST", "/v2/cache/prune"), ("GET", f"/v2/cache/nodes/{ID}"),
)


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_without_a_cache_there_is_nothing(make_api, method, path):
    api = make_api()
    answer = api.call(method, path, **ADMIN)
    assert answer.status_code == 404
    assert "image_cache_dir" in answer.text
    assert api.call(method, path).status_code == 403


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_an_unusable_directory_is_503(make_api, tmp_path, method, path):
    (tmp_path / "file").write_text("")
    api = make_api(image_cache_dir=str(tmp_path / "file" / "cache"), image_cache_driver="centralized_db")
    api.registry.images.rows[ID] = make_image(status=ImageStatus.ACTIVE, size=4, **DIGEST)
    if not path.startswith("/v2/cache/nodes"):
        assert api.call(method, path, **ADMIN).status_code == 503


@pytest.mark.parametrize("bad", BAD_IDS)
def test_s66_an_id_that_is_no_uuid_touches_no_file(api, folder, bad):
    keep(folder, ID)
    before = sorted(path.name for path in folder.rglob("*"))
    places = ("v2/cache", "v2/cached_images", "v2/queued_images", "v1/cached_images", "v1/queued_images")
    for place in places:
        for method in ("PUT", "DELETE"):
            answer = api.call(method, f"/{place}/{bad}", **ADMIN)
            # Copies are not made by a PUT.
            allowed = (400, 404, *((405,) if (method, place[3:]) == ("PUT", "cached_images") else ()))
            assert answer.status_code in allowed, (method, place)
    assert sorted(path.name for path in folder.rglob("*")) == before


def test_s43_foreign_private_images_are_not_told_from_absent_ones(make_api, folder, tmp_path):
    """Also where an operator lets users queue and remove images."""
    (tmp_path / "policy.yaml").write_text("cache_image: ''\ncache_delete: '!'\n")
    api = make_api(image_cache_dir=str(folder), oslo_policy__policy_file=str(tmp_path / "policy.yaml"))
    api.registry.images.rows[OTHER] = make_image(
        id=OTHER, owner="other", visibility="private", status=ImageStatus.ACTIVE, size=4, **DIGEST
    )
    keep(folder, OTHER)
    hidden = api.call("PUT", f"/v2/cache/{OTHER}")
    absent = api.call("PUT", f"/v2/cache/{GONE}")
    assert (hidden.status_code, hidden.text) == (404, absent.text.replace(GONE, OTHER))
    hidden, absent = api.call("DELETE", f"/v2/cache/{OTHER}"), api.call("DELETE", f"/v2/cache/{GONE}")
    assert (hidden.status_code, hidden.text) == (404, absent.text.replace(GONE, OTHER))
    assert (folder / OTHER).exists()


@pytest.mark.parametrize("word", ["clean", "prune"])
def test_words_are_no_images(api, word):
    for method in ("GET", "PUT", "DELETE"):
        answer = api.call(method, f"/v2/cache/{word}", **ADMIN)
        assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")


def test_no_call_takes_a_body(api):
    calls = [*CALLS, *((method, f"/{version}/{path}") for version in ("v1", "v2") for method, path in (
        ("GET", "cached_images"), ("DELETE", "cached_images"), ("DELETE", f"cached_images/{ID}"),
        ("GET", "queued_images"), ("DELETE", "queued_images"), ("DELETE", f"queued_images/{ID}"),
        ("PUT", f"queued_images/{ID}"),
    ))]
    for method, path in calls:
        answer = api.call(method, path, data=b"{}", **ADMIN)
        assert answer.status_code == 400, (method, path)
        assert "takes no body" in answer.text
    assert state(api) == ([], [])
