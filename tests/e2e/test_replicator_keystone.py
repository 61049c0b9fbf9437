"""glance-replicator with tokens of Keystone, of a user who is no administrator where the images go to (TOO-06)."""

from collections.abc import Callable

import pytest
from tests.e2e.calls import Caller
from tests.e2e.people import People, keystone_options
from tests.e2e.test_replicator import SMALL, replicate
from tests.servers.keystone import ADMIN, ALT_DEMO, DEMO, Keystone
from tests.support.daemons import Services

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def open_services(deploy: Callable[..., Services]) -> Services:
    """A service that asks for no token."""
    return deploy()


@pytest.fixture(scope="module")
def guarded(deploy: Callable[..., Services], keystone: Keystone) -> Services:
    """A service with Keystone."""
    return deploy(api=keystone_options(keystone))


@pytest.mark.parametrize("api", ["v1", "v2"])
def test_too06_images_belong_to_the_project_of_a_token_that_is_no_administrators(
    open_services: Services, guarded: Services, keystone: Keystone, people: Callable[[Services], People], api: str
):
    here, there = Caller(open_services.api.url), people(guarded)
    for image in here.call("GET", "/v2/images", 200).json()["images"]:
        here.delete(image["id"])
    own = here.uploaded(SMALL, owner="elsewhere", name="own")
    public = here.uploaded(SMALL, owner="elsewhere", visibility="public")
    places = (here.url, guarded.api.url)
    done = replicate("--api", api, "-T", keystone.token(DEMO), "livecopy", *places, fails=True)
    # What only administrators may do fails alone.
    assert done.stderr.count(" ERROR ") == 1
    assert f"image {public}: the image is not created: 403" in done.stderr
    assert there.demo.show(own)["owner"] == there.project("demo")
    assert there.demo.download(own) == SMALL
    # A change of another field does not fail for the owner, which stays.
    here.patch(own, {"op": "replace", "path": "/name", "value": "new"})
    replicate("--api", api, "-T", keystone.token(DEMO), "livecopy", *places, fails=True)
    assert (there.demo.show(own)["name"], there.demo.show(own)["owner"]) == ("new", there.project("demo"))
    replicate("--api", api, "-T", keystone.token(ADMIN), "livecopy", *places)
    assert there.admin.show(own)["owner"] == there.admin.show(public)["owner"] == "elsewhere"


def test_too06_what_a_token_does_not_allow_is_told(guarded: Services, keystone: Keystone):
    refused = replicate("--token", "hush-hush", "size", guarded.api.url, fails=True)
    assert "does not list its images: 401" in refused.stderr
    assert "hush-hush" not in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_too06_a_project_sees_its_own_images(
    guarded: Services, keystone: Keystone, people: Callable[[Services], People]
):
    there = people(guarded)
    there.alt_demo.uploaded(SMALL + b"x")
    there.demo.uploaded(SMALL + b"y")
    for api in ("v1", "v2"):
        seen = [
            replicate("--api", api, "-s", keystone.token(user), "size", guarded.api.url).stdout
            for user in (ALT_DEMO, ADMIN)
        ]
        counts = [int(text.split(" across ")[1].split()[0]) for text in seen]
        assert 1 <= counts[0] < counts[1]
