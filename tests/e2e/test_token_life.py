"""Tokens that end: what a call may still do afterwards, and what it may not, with a Keystone of short-lived tokens."""

from collections.abc import Callable, Iterator

import pytest
from tests.e2e.calls import MIB, Caller
from tests.e2e.people import keystone_options
from tests.servers.keystone import DEMO, GLANCE, Keystone
from tests.support.daemons import Services
from tests.support.raw_data import random_bytes
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(900)

TOKEN_SECONDS = 40
"""Long enough for a busy machine to begin an upload with a fresh one."""


@pytest.fixture(scope="module")
def brief(tmp_path_factory: pytest.TempPathFactory, keystone: Keystone) -> Iterator[Keystone]:
    """A Keystone whose tokens live for seconds. ``keystone`` is asked for because it makes the environment."""
    identity = Keystone(tmp_path_factory.mktemp("brief"), token_seconds=TOKEN_SECONDS)
    try:
        identity.start()
        yield identity
    finally:
        identity.stop()


@pytest.fixture(scope="module")
def services(deploy: Callable[..., Services], brief: Keystone) -> Services:
    """A deployment that asks it, and remembers what it was told, as the middleware does unless told otherwise."""
    options = keystone_options(brief)
    del options["keystone_authtoken"]["token_cache_time"]
    return deploy(api=options)


def caller(services: Services, keystone: Keystone) -> Caller:
    """Return a caller with a fresh token of the user demo."""
    return Caller(services.api.url, {"X-Auth-Token": keystone.token(DEMO)})


def wait_expired(user: Caller) -> None:
    """Wait until the token of ``user`` is over."""
    wait_for(lambda: user.call("GET", "/v2/schemas/image").status_code == 401, "the token's end", 6 * TOKEN_SECONDS)


def test_dat_09_s16_an_upload_that_outlives_its_token_completes(services: Services, brief: Keystone):
    user = caller(services, brief)
    image, data = user.create()["id"], random_bytes(2 * MIB)
    with user.begin_upload(image, length=len(data)) as wire:
        wire.send(data[:MIB])
        wait_expired(user)
        wire.send(data[MIB:])
        assert wire.answer() == (204, b"")
    later = caller(services, brief)
    assert later.show(image)["status"] == "active"
    assert later.download(image) == data


def test_an_expired_token_is_401_and_a_services_own_token_vouches_for_it(services: Services, brief: Keystone):
    user = caller(services, brief)
    image = user.uploaded(b"\x01data")
    wait_expired(user)
    user.call("GET", f"/v2/images/{image}/file", 401)
    # As Nova and Cinder do for work that takes long: their own token beside the user's.
    vouched = {"X-Service-Token": brief.token(GLANCE)}
    assert user.call("GET", f"/v2/images/{image}/file", 200, headers=vouched).content == b"\x01data"
    # A user's token is no service's.
    user.call("GET", f"/v2/images/{image}/file", 401, headers={"X-Service-Token": brief.token(DEMO)})
