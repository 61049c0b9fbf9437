"""The swift driver with a real Keystone: logins of version 3, the catalog, and tokens that end."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from swiftclient.client import Connection
from tests.conformance.swift_kit import MIB, driver_of
from tests.servers.keystone import DEMO, GLANCE, Keystone, User
from tests.servers.swift import Swift, remove_container
from tests.support.stores import MemoryIdentities, bare, load

from glance_common.stores.conformance.harness import DATA
from glance_common.stores.contract import Store, StoreUnavailable


class Account:
    """The container of a user in the account of its project; ``options`` are those of a store in it."""

    def __init__(self, folder: Path, keystone: Keystone, server: Swift, user: User) -> None:
        self.folder = folder
        self.identities = MemoryIdentities()
        self.container = f"images-{uuid4().hex[:12]}"
        self.client = Connection(
            preauthurl=f"{server.url}/v1/KEY_{keystone.project_ids[user.project]}", preauthtoken=keystone.token(user)
        )
        self.options = {
            "swift_store_auth_address": keystone.url, "swift_store_user": f"{user.project}:{user.name}",
            "swift_store_key": user.name, "swift_store_container": self.container, "swift_store_large_object_size": 4,
            "swift_store_large_object_chunk_size": 2,
        }

    def store(self, **options: Any) -> Store:
        """Return the driver with these options changed; None takes one away."""
        chosen = {name: value for name, value in {**self.options, **options}.items() if value is not None}
        groups = {"glance_store": {"stores": "swift", "default_store": "swift", **chosen}}
        return bare(load(self.folder, groups, self.identities).default)


@pytest.fixture
def account(tmp_path: Path, keystone: Keystone, keystone_swift: Swift) -> Iterator[Account]:
    """A container of the user demo."""
    made = Account(tmp_path, keystone, keystone_swift, DEMO)
    made.client.put_container(made.container)
    yield made
    remove_container(made.client, made.container)


def whole_life(store: Store) -> None:
    for size in (0, len(DATA), 5 * MIB):
        key, data = str(uuid4()), (DATA * 5)[:size]
        store.add(key, [data], size)
        with closing(store.open(key)) as blob:
            assert b"".join(blob) == data
        assert [entry.key for entry in store.walk()] == [key]
        store.delete(key)


def test_user_and_key(account: Account):
    whole_life(account.store())


@pytest.mark.parametrize("suffix", ["", "/v3", "/v3/"])
def test_the_address_may_have_the_version_or_not(account: Account, keystone: Keystone, suffix: str):
    account.store(swift_store_auth_address=keystone.url.removesuffix("/v3") + suffix).check()


def test_projects_by_id(account: Account, keystone: Keystone):
    whole_life(account.store(
        swift_store_user=DEMO.name, swift_store_project_id=keystone.project_ids[DEMO.project],
    ))


def test_an_application_credential(account: Account, keystone: Keystone):
    identifier, secret = keystone.application_credential(DEMO)
    whole_life(account.store(
        swift_store_user=None, swift_store_key=None, swift_store_application_credential_id=identifier,
        swift_store_application_credential_secret=secret,
    ))
    with pytest.raises(StoreUnavailable, match="the login is refused"):
        account.store(
            swift_store_user=None, swift_store_key=None, swift_store_application_credential_id=identifier,
            swift_store_application_credential_secret="wrong",
        ).check()


def test_domains_of_a_reference(account: Account, keystone: Keystone, tmp_path: Path):
    file = tmp_path / "glance-swift.conf"
    least = f"[ref1]\nauth_address = {keystone.url}\nuser = {DEMO.project}:{DEMO.name}\nkey = {DEMO.name}\n"
    own = dict.fromkeys(("swift_store_auth_address", "swift_store_user", "swift_store_key"))
    for domains, works in (
        ("", True), ("user_domain_id = default\nproject_domain_name = Default\n", True),
        ("user_domain_name = Default\n", True), ("project_domain_id = other\n", False),
    ):
        file.write_text(least + domains)
        store = account.store(**own, swift_store_config_file=file)
        if works:
            store.check()
        else:
            with pytest.raises(StoreUnavailable, match="the login is refused: compare user, project, domains"):
                store.check()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"swift_store_key": "wrong"}, "the login is refused"),
        ({"swift_store_user": "demo:stranger"}, "the login is refused"),
        ({"swift_store_user": "other:demo"}, "the login is refused"),
        ({"swift_store_region": "elsewhere"}, "see swift_store_service_type, swift_store_region"),
        ({"swift_store_service_type": "other"}, "see swift_store_service_type"),
        ({"swift_store_auth_version": "1"}, "the answer has no token: see swift_store_auth_version"),
    ],
)
def test_what_is_wrong_is_told(account: Account, options: dict[str, Any], told: str):
    with pytest.raises(StoreUnavailable, match=told):
        account.store(**options).check()


def test_the_region_and_the_address_of_the_catalog(account: Account, keystone: Keystone, keystone_swift: Swift):
    whole_life(account.store(swift_store_region="RegionOne", swift_store_endpoint_type="internalURL"))
    url = f"{keystone_swift.url}/v1/KEY_{keystone.project_ids[DEMO.project]}"
    whole_life(account.store(swift_store_endpoint=url, swift_store_service_type="other"))


def test_a_user_without_a_right_in_the_account(account: Account, keystone: Keystone, keystone_swift: Swift):
    """The service user of the test cloud may use every account; another project's may not."""
    whole_life(account.store())
    store = account.store(
        swift_store_user="alt_demo:alt_demo", swift_store_key="alt_demo",
        swift_store_endpoint=f"{keystone_swift.url}/v1/KEY_{keystone.project_ids[DEMO.project]}",
    )
    with pytest.raises(StoreUnavailable, match="403: the server forbids it"):
        store.check()
    account.store(
        swift_store_user=f"{GLANCE.project}:{GLANCE.name}", swift_store_key=GLANCE.name,
        swift_store_endpoint=f"{keystone_swift.url}/v1/KEY_{keystone.project_ids[DEMO.project]}",
    ).check()


def test_a_token_has_an_end(account: Account):
    tokens = driver_of(account.store())._account._tokens
    token = tokens.get()
    assert token.ends_at < 10**11
    assert tokens.get() is token
    late = driver_of(account.store(swift_store_expire_soon_interval=1_000_000))._account._tokens
    first = late.get()
    assert late.get() is not first
