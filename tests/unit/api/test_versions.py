"""Version documents and version selection (API section 1)."""

import pytest

SINGLE = ["2.15", "2.9", "2.17", "2.7", "2.6", "2.5", "2.4", "2.3", "2.2", "2.1", "2.0", "1.1", "1.0"]
MULTI = ["2.15", "2.13", "2.12", "2.11", "2.10", "2.9", "2.8", *SINGLE[2:]]
CACHE = ["2.18", "2.17", "2.16", "2.15", "2.14"]
TWO_STORES = {"enabled_backends": ["fast:file", "slow:file"]}


@pytest.mark.parametrize(("options", "expected"), [({}, SINGLE), (TWO_STORES, MULTI)])
def test_documents(make_api, options, expected):
    client = make_api(**options).app.test_client()
    response = client.get("/")
    assert (response.status_code, response.headers["Content-Type"]) == (300, "application/json")
    assert [version["id"] for version in response.json["versions"]] == [f"v{version}" for version in expected]
    statuses = {version["id"]: version["status"] for version in response.json["versions"]}
    assert statuses.pop("v2.17") == "CURRENT"
    assert set(statuses.values()) == {"SUPPORTED"}
    assert response.json["versions"][0]["links"] == [{"rel": "self", "href": "http://localhost/v2/"}]
    assert response.json["versions"][-1]["links"] == [{"rel": "self", "href": "http://localhost/v1/"}]
    explicit = client.get("/versions")
    assert (explicit.status_code, explicit.json) == (200, response.json)


@pytest.mark.parametrize(
    ("options", "expected"), [({}, [*CACHE, "2.9", *SINGLE[3:]]), (TWO_STORES, [*CACHE, *MULTI[1:7], *SINGLE[3:]])]
)
def test_ver04_the_image_cache_adds_versions(make_api, tmp_path, options, expected):
    api = make_api(**options, image_cache_dir=str(tmp_path / "cache"))
    versions = api.app.test_client().get("/versions").json["versions"]
    assert [version["id"] for version in versions] == [f"v{version}" for version in expected]
    statuses = [version["status"] for version in versions]
    assert statuses == ["CURRENT"] + ["SUPPORTED"] * (len(versions) - 1)
    for version in ("v2.14", "v2.16", "v2.18"):
        assert api.call("GET", f"/{version}/images").status_code == 200
    assert api.call("GET", "/v2/openapi.json").json["info"]["version"] == "2.18"


def test_no_token_is_needed_and_ids_are_given(api):
    for path in ("/", "/versions", "/v3/images", "/nonsense"):
        response = api.app.test_client().get(path)
        assert response.status_code in (200, 300)
        assert response.headers["x-openstack-request-id"].startswith("req-")


def test_public_endpoint(make_api):
    client = make_api(public_endpoint="https://images.example.org/glance/").app.test_client()
    assert client.get("/").json["versions"][0]["links"][0]["href"] == "https://images.example.org/glance/v2/"
    mounted = make_api().app.test_client().get("/", base_url="http://front:9292/image")
    assert mounted.json["versions"][0]["links"][0]["href"] == "http://front:9292/image/v2/"


@pytest.mark.parametrize(
    ("path", "accept", "status"),
    [
        *((f"/{version}/images", "", 200) for version in ("v2", "v2.0", "v2.7", "v2.9", "v2.15", "v2.17")),
        *((f"/{version}/images", "", 200) for version in ("v1", "v1.0", "v1.1")),
        *((f"/{version}/images", "", 300) for version in ("v2.8", "v2.10", "v2.13", "v2.14", "v2.18", "v3", "v1.2")),
        ("/images", "application/vnd.openstack.images-v1", 200),
        ("/images/detail", "application/vnd.openstack.images-v1.1", 200),
        ("/v2/images/detail", "application/vnd.openstack.images-v1.0", 200),
        ("/images", "application/vnd.openstack.images-v2", 200),
        ("/images", "application/vnd.openstack.images-v2.7, */*", 200),
        ("/v1/images", "application/vnd.openstack.images-v2", 200),
        ("/v1/images/detail", "application/vnd.openstack.images-v2", 404),
        ("/v2/images", "application/vnd.openstack.images-v2.1", 200),
        ("/v2.8/images", "application/vnd.openstack.images-v2", 404),
        ("/v2/images", "application/vnd.openstack.images-v9", 300),
        ("/v2", "", 404), ("/v2/", "", 404), ("/v2/nonsense", "", 404), ("/v2/images/", "", 404),
    ],
)
def test_selection(api, path, accept, status):
    assert api.call("GET", path, headers={"Accept": accept}).status_code == status


def test_more_segments_with_several_stores(make_api):
    api = make_api(**TWO_STORES)
    for version in ("v2.8", "v2.10", "v2.13"):
        assert api.call("GET", f"/{version}/images").status_code == 200


def test_any_method_learns_the_versions(api):
    assert api.call("POST", "/").status_code == 300
    head = api.call("HEAD", "/versions")
    assert (head.status_code, head.data) == (200, b"")


def test_ver05_v1_is_switched_off(make_api):
    api = make_api(enable_v1_api=False)
    versions = api.call("GET", "/").json["versions"]
    assert [version["id"] for version in versions] == [f"v{number}" for number in SINGLE[:-2]]
    for path in ("/v1", "/v1/images", "/v1.1/images/detail"):
        assert api.call("GET", path).status_code == 300
    headers = {"Accept": "application/vnd.openstack.images-v1"}
    assert api.call("GET", "/images", headers=headers).status_code == 300
