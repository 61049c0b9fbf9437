"""What a deployment as ``docs/installation.md`` describes it shows and refuses (S-79 to S-85)."""

import json
import socket

import pytest

OCTETS = {"Content-Type": "application/octet-stream"}
RAW = {"disk_format": "raw", "container_format": "bare"}
PATCH = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
DATA = b"\x01some data"
PUBLIC_POLICY = 'fetch_image_location: "!"\nadd_image_location: "!"\n'
"""What the public endpoint lets nobody do, whatever role he has."""
CALLERS = ("member,reader", "reader", "admin,member,reader", "service,member,reader")
METADATA = (
    "http://169.254.169.254/latest/meta-data/", "http://[::ffff:169.254.169.254]/latest/", "http://[fe80::a9fe:a9fe]/",
    "http://[64:ff9b::a9fe:a9fe]/", "http://[fd00:ec2::254]/latest/", "http://100.100.100.200/latest/",
    "http://2852039166/latest/", "http://0xa9fea9fe/latest/", "http://0251.0376.0251.0376/", "http://169.254.43518/",
    "https://169.254.169.254/", "http://169.254.169.254.:80/",
)
"""Where clouds serve the credentials of a machine to whatever runs on it, in every way to write the address."""


@pytest.fixture
def internal(make_api):
    """The endpoint of the other services, over the same registry: it shows where data are."""
    return make_api(show_multiple_locations=True, show_image_direct_url=True)


@pytest.fixture
def public(make_api, tmp_path):
    """The endpoint of everybody: the defaults, and a policy that closes the location API to every role."""
    (tmp_path / "public.yaml").write_text(PUBLIC_POLICY)
    return make_api(oslo_policy__policy_file=tmp_path / "public.yaml")


@pytest.fixture
def image(internal):
    made = internal.create(name="shown", visibility="shared", **RAW)["id"]
    assert internal.call("PUT", f"/v2/images/{made}/file", data=DATA, headers=OCTETS).status_code == 204
    return made


def reads(image):
    """Return every request that reads something about an image, with the body of those that have one."""
    paths = [
        f"/v2/images/{image}", "/v2/images", f"/v2/images?id={image}", f"/v2/images/{image}/members",
        f"/v2/images/{image}/tasks", f"/v2/images/{image}/tags", f"/v2/images/{image}/locations", "/v2/info/stores",
        "/v2/info/stores/detail", "/v2/info/import", "/v2/tasks", f"/v2/images/{image}/file", f"/v1/images/{image}",
        "/v1/images", "/v1/images/detail", f"/v1/images/{image}/members",
    ]
    yield from (("GET", path) for path in paths)
    yield from (("HEAD", path) for path in (f"/v2/images/{image}/file", f"/v1/images/{image}"))


def told(answer):
    """Return all that an answer says."""
    return f"{answer.headers}\n{answer.data.decode('latin-1')}"


def test_s81_the_public_endpoint_shows_no_location_and_the_internal_one_does(internal, public, image, tmp_path):
    shown = internal.call("GET", f"/v2/images/{image}").json
    assert shown["direct_url"].startswith("file://")
    assert [location["url"] for location in shown["locations"]] == [shown["direct_url"]]
    secrets = (str(tmp_path), "direct_url", '"locations"', "file://")
    for roles in CALLERS:
        for method, path in reads(image):
            said = told(public.call(method, path, roles=roles))
            assert not any(secret in said for secret in secrets), (roles, method, path, said)
    for document in ({"name": "changed"}, {"visibility": "private"}):
        changes = [{"op": "replace", "path": f"/{name}", "value": value} for name, value in document.items()]
        answer = public.call("PATCH", f"/v2/images/{image}", data=json.dumps(changes), headers=PATCH)
        assert answer.status_code == 200
        assert not any(secret in told(answer) for secret in secrets)
    updated = public.call("PUT", f"/v1/images/{image}", headers={"x-image-meta-property-a": "b"})
    assert updated.status_code == 200
    assert not any(secret in told(updated) for secret in secrets)


def test_s81_nobody_changes_locations_through_the_public_endpoint(internal, public, image):
    before = internal.call("GET", f"/v2/images/{image}").json["locations"]
    queued = public.create(**RAW)["id"]
    place = {"url": before[0]["url"], "metadata": {}}
    for roles in CALLERS:
        for target, operation in (
            (image, {"op": "add", "path": "/locations/-", "value": place}),
            (image, {"op": "remove", "path": "/locations/0"}),
            (image, {"op": "replace", "path": "/locations", "value": []}),
            (queued, {"op": "replace", "path": "/locations", "value": [place]}),
        ):
            answer = public.call(
                "PATCH", f"/v2/images/{target}", data=json.dumps([operation]), headers=PATCH, roles=roles
            )
            assert answer.status_code == 403, (roles, operation, answer.text)
        answer = public.call("POST", f"/v2/images/{queued}/locations", json={"url": before[0]["url"]}, roles=roles)
        assert answer.status_code == 403, (roles, answer.text)
    assert internal.call("GET", f"/v2/images/{image}").json["locations"] == before
    assert internal.call("GET", f"/v2/images/{queued}").json["status"] == "queued"


@pytest.fixture
def on_loopback_only(monkeypatch):
    """Fail on every connection to another machine; return the addresses that were tried."""
    tried = []
    connect = socket.socket.connect

    def guarded(self, address):
        if isinstance(address, tuple) and not str(address[0]).startswith(("127.", "::1")):
            tried.append(address)
            raise ConnectionRefusedError(111, "not from a test")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
    return tried


@pytest.mark.parametrize("url", METADATA)
def test_s83_the_default_filter_keeps_every_entry_away_from_the_metadata_service(make_api, on_loopback_only, url):
    api = make_api(
        glance_store__stores="file,http", show_multiple_locations=True,
        enabled_import_methods="[web-download,glance-direct]",
    )
    queued = api.create(**RAW)["id"]
    entries = {
        "web-download": ("POST", f"/v2/images/{queued}/import", {
            "json": {"method": {"name": "web-download", "uri": url}}}),
        "PATCH": ("PATCH", f"/v2/images/{queued}", {
            "data": json.dumps([{"op": "add", "path": "/locations/-", "value": {"url": url, "metadata": {}}}]),
            "headers": PATCH}),
        "location API": ("POST", f"/v2/images/{queued}/locations", {"json": {"url": url}}),
        "v1 location": ("POST", "/v1/images", {"headers": {
            "x-image-meta-name": "a", "x-image-meta-disk_format": "raw", "x-image-meta-container_format": "bare",
            "x-image-meta-location": url}}),
        "v1 copy": ("POST", "/v1/images", {"headers": {
            "x-image-meta-name": "a", "x-image-meta-disk_format": "raw", "x-image-meta-container_format": "bare",
            "x-glance-api-copy-from": url}}),
    }
    for entry, (method, path, request) in entries.items():
        answer = api.call(method, path, roles="admin,service,member,reader", **request)
        assert answer.status_code == 400, (entry, answer.status_code, answer.text)
    assert api.call("GET", f"/v2/images/{queued}", roles="admin").json["status"] == "queued"
    assert on_loopback_only == []
