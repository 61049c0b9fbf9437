"""Downloads that real clients make at real S3 servers, where the service sends them (``presigned_downloads_for``)."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from deploy.local.configuration import Options
from tests.e2e.calls import MIB, Caller
from tests.servers.ceph import Ceph
from tests.servers.seaweedfs import SeaweedFS
from tests.support.clients import Clients, glance_address, openstack_address
from tests.support.daemons import Services, WebDaemon
from tests.support.files import files_below
from tests.support.image_client import identity
from tests.support.raw_data import random_bytes
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(900)

DATA = random_bytes(2 * MIB)
DIRECT, OTHER = "127.0.0.1", "127.0.0.2"
"""Two addresses of clients: the service sends the first one to the store."""

SERVERS = ("seaweedfs", "ceph")
_SDK = """
import sys, openstack
cloud = openstack.connect(auth_type="none", endpoint=sys.argv[1])
cloud.image.download_image(sys.argv[2], output=sys.argv[3])
"""


def s3_options(server: SeaweedFS | Ceph, bucket: str, seconds: int) -> dict[str, Any]:
    """Return the options of a store whose addresses hold for some seconds."""
    return {
        "s3_store_host": server.url, "s3_store_bucket": bucket, "s3_store_access_key": server.keys.access,
        "s3_store_secret_key": server.keys.secret, "s3_store_bucket_url_format": "path",
        "presigned_downloads_for": DIRECT, "presigned_download_seconds": seconds,
    }


@pytest.fixture(scope="module")
def services(deploy: Callable[..., Services], seaweedfs: SeaweedFS, ceph: Ceph) -> Iterator[Services]:
    """The daemons with a store on each server, and one whose addresses hold for a second; they log all that they can.
    """
    with seaweedfs.bucket() as one, ceph.bucket() as two, ceph.bucket() as three:
        yield deploy(
            shared={
                "DEFAULT": {"enabled_backends": "seaweedfs:s3, ceph:s3, brief:s3", "debug": "true"},
                "glance_store": {"default_backend": "seaweedfs"},
                "seaweedfs": s3_options(seaweedfs, one, 60),
                "ceph": s3_options(ceph, two, 60),
                "brief": s3_options(ceph, three, 1),
            },
        )


@pytest.fixture(scope="module")
def caller(services: Services) -> Caller:
    """An administrator at the first address."""
    return Caller(services.api.url)


@pytest.fixture
def image(caller: Caller, store: str) -> str:
    """An image in the store of the test."""
    return uploaded(caller, store)


def uploaded(caller: Caller, store: str) -> str:
    image = str(caller.create(name="direct")["id"])
    caller.upload(image, DATA, headers={"X-Image-Meta-Store": store})
    return image


def answer_to(caller: Caller, image: str, *expected: int) -> requests.Response:
    """Return the answer of the service itself."""
    return caller.call("GET", f"/v2/images/{image}/file", *expected, allow_redirects=False)


def curl(*arguments: object) -> bytes:
    """Return what curl writes."""
    return subprocess.run(
        ["curl", "--silent", "--show-error", "--fail", "--noproxy", "*", *map(str, arguments)], check=True,
        capture_output=True, timeout=300,
    ).stdout


@pytest.mark.parametrize("store", SERVERS)
def test_curl(services: Services, image: str):
    url = f"{services.api.url}/v2/images/{image}/file"
    assert curl("--location", url) == DATA
    assert curl("--location", "--range", "5-104", url) == DATA[5:105]
    assert curl("--output", "/dev/null", "--write-out", "%{http_code}", url) == b"302"


@pytest.mark.parametrize("store", SERVERS)
def test_curl_at_another_address_gets_the_data_from_the_service(services: Services, image: str):
    url = f"{services.api.url}/v2/images/{image}/file"
    assert curl("--interface", OTHER, url) == DATA
    assert curl("--interface", OTHER, "--range", "5-104", url) == DATA[5:105]


@pytest.mark.parametrize("store", SERVERS)
def test_the_clients_of_openstack(services: Services, clients: Clients, image: str, tmp_path: Path):
    url, copy = services.api.url, tmp_path / "copy"
    for download in (
        lambda: clients.openstack("image", "save", "--file", copy, image, env=openstack_address(url)),
        lambda: clients.glance(*glance_address(url), "image-download", "--file", copy, image),
        lambda: clients.sdk(_SDK, url, image, copy),
    ):
        download().check()
        assert copy.read_bytes() == DATA
        copy.unlink()
    assert services.api.said().count(f"image {image} is read by {DIRECT} at store") >= 3


@pytest.fixture(scope="module")
def trusted(services: Services) -> WebDaemon:
    """An API in front of the same registry that is told who calls; readers may download nothing."""
    policy = services.folder / "strict.yaml"
    policy.write_text('"download_image": "role:member"\n')
    options: Options = {"paste_deploy": {"flavor": "trusted-auth"}, "oslo_policy": {"policy_file": policy}}
    made = services.new_api("trusted", options)
    services.start(made)
    return made


def test_policy_visibility_and_status_come_first(trusted: WebDaemon):
    owner, reader, stranger = (
        Caller(trusted.url, identity(*who)) for who in (("owner",), ("owner", "reader"), ("stranger",))
    )
    admin = Caller(trusted.url, identity("owner", "admin,member,reader"))
    image = uploaded(owner, "ceph")
    assert answer_to(owner, image, 302).headers["Location"]
    refused = [answer_to(reader, image, 403), answer_to(stranger, image, 404)]
    admin.call("POST", f"/v2/images/{image}/actions/deactivate", 204)
    refused.append(answer_to(owner, image, 403))
    admin.call("POST", f"/v2/images/{image}/actions/reactivate", 204)
    assert answer_to(owner, image, 302)
    owner.delete(image)
    refused.append(answer_to(owner, image, 404))
    for answer in refused:
        assert "Location" not in answer.headers
        assert "Signature" not in answer.text


@pytest.mark.parametrize("store", SERVERS)
def test_an_address_holds_for_a_minute_at_most_and_reads_one_object(caller: Caller, image: str):
    answer = answer_to(caller, image, 302)
    assert answer.headers["Cache-Control"] == "no-store"
    address = answer.headers["Location"]
    assert 0 < int(parse_qs(urlsplit(address).query)["X-Amz-Expires"][0]) <= 60
    outside = Caller("")
    assert outside.call("GET", address, 200).content == DATA
    outside.call("PUT", address, 403, data=b"other")
    outside.call("DELETE", address, 403)
    outside.call("GET", address.replace(image, uploaded(caller, "brief")), 403)
    assert caller.download(image) == DATA


def test_an_address_ends(caller: Caller):
    image = uploaded(caller, "brief")
    address = answer_to(caller, image, 302).headers["Location"]
    wait_for(lambda: Caller("").call("GET", address).status_code == 403, "the end of the address")


@pytest.mark.parametrize("store", SERVERS)
def test_no_log_has_an_address(services: Services, caller: Caller, image: str):
    address = answer_to(caller, image, 302).headers["Location"]
    signature = parse_qs(urlsplit(address).query)["X-Amz-Signature"][0]
    logs = [path for path in files_below(services.folder) if path.suffix == ".log"]
    assert services.api.log in logs
    for path in logs:
        said = path.read_text(errors="replace")
        for secret in (signature, "X-Amz-Signature", urlsplit(address).query):
            assert secret not in said, path
