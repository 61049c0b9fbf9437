"""The swift driver with the accounts of projects: a real Keystone, and a Swift that takes its tokens."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from requests.exceptions import ConnectionError as ConnectionBroken
from swiftclient import client as swiftclient
from swiftclient.client import Connection
from swiftclient.exceptions import ClientException
from tests.conformance.swift_kit import MIB
from tests.conformance.swift_tenants_kit import Tenants, calling
from tests.servers.keystone import ADMIN, ALT_DEMO, DEMO, DEMO_READER, GLANCE, Keystone
from tests.servers.swift import Swift, remove_container
from tests.support.stores import MemoryIdentities

from glance_common.stores import caller as callers
from glance_common.stores.conformance.harness import DATA
from glance_common.stores.conformance.network import *  # noqa: F403 - the tests of the suite
from glance_common.stores.conformance.reading import *  # noqa: F403 - as above
from glance_common.stores.contract import (
    BlobExists,
    BlobNotFound,
    DataAccess,
    StoreUnavailable,
    WriteDenied,
)
from glance_common.stores.drivers.swift import store as swift_store
from glance_common.stores.drivers.swift import upload
from glance_common.stores.place_mark import NAME
from glance_registry.manage import stores as manage_stores


@pytest.fixture
def tenants(tmp_path: Path, keystone: Keystone, keystone_swift: Swift) -> Iterator[Tenants]:
    """A store over fresh containers."""
    made = Tenants(tmp_path, keystone, keystone_swift)
    try:
        yield made
        for entry in list(made.store.walk()):
            made.store.delete(entry.key)
        assert made.objects() == []
    finally:
        remove_container(made.service, made.container)


@pytest.fixture
def harness(tenants: Tenants) -> Tenants:
    """The same: the suite reads from it."""
    return tenants


@pytest.fixture
def remote(tenants: Tenants) -> Tenants:
    """The same: it is behind a network."""
    return tenants


@pytest.mark.parametrize("size", [0, len(DATA), 5 * MIB])
def test_data_are_in_a_container_of_their_own_in_the_account_of_the_caller(tenants: Tenants, size: int):
    data, image = (DATA * 5)[:size], tenants.new_key()
    with calling(tenants.caller(DEMO)):
        key = tenants.added(data, size, image)
        with pytest.raises(BlobExists):
            tenants.store.add(image, [b"other"], 5)
    container = f"{tenants.container}_{image}"
    assert key == f"{image}/{container}/{tenants.account(DEMO.project)}"
    assert tenants.client(DEMO).get_object(container, image)[1] == data
    # In the background there is no caller.
    assert tenants.read(key) == data
    assert tenants.store.size(key) == size
    assert [(entry.key, entry.size) for entry in tenants.store.walk()] == [(key, size)]
    assert tenants.store.url(key) == f"swift+{tenants.account(DEMO.project)}/{container}/{image}"
    assert tenants.store.key_of(tenants.store.url(key)) == key
    tenants.store.delete(key)
    assert tenants.objects() == []
    with pytest.raises(BlobNotFound):
        tenants.store.delete(key)
    with pytest.raises(BlobNotFound):
        tenants.store.open(key)


def test_the_id_alone_finds_the_data_too(tenants: Tenants):
    """A row has only that while its upload runs."""
    image = tenants.new_key()
    with calling(tenants.caller(DEMO)):
        tenants.added(DATA, None, image)
    assert tenants.read(image) == DATA
    tenants.store.delete(image)
    assert tenants.objects() == []
    with pytest.raises(BlobNotFound):
        tenants.store.delete(image)
    with pytest.raises(BlobNotFound):
        tenants.store.size(image)


def test_without_a_caller_the_data_go_to_the_project_that_owns_them(tenants: Tenants):
    with callers.data_of(tenants.keystone.project_ids[ALT_DEMO.project]):
        key = tenants.added(DATA)
    assert key.endswith(tenants.account(ALT_DEMO.project))
    assert tenants.read(key) == DATA
    # Data of no project, such as those that look whether the store works.
    own = tenants.added(DATA)
    assert own.endswith(tenants.account(GLANCE.project))
    assert tenants.read(own) == DATA


def test_a_caller_whose_token_ends_in_the_upload(tenants: Tenants):
    """The user of the store goes on."""
    token = tenants.keystone.token(DEMO)

    def pieces() -> Iterator[bytes]:
        for number in range(7):
            yield bytes([number]) * MIB
            if number == 3:
                tenants.keystone.revoke(token)
                tenants.server.forget_tokens()

    with calling(tenants.caller(DEMO, token)):
        stored = tenants.store.add(tenants.new_key(), pieces(), None)
    assert stored.key is not None
    assert tenants.store.size(stored.key) == 7 * MIB


def test_a_caller_without_the_right_to_write(tenants: Tenants):
    """A reader of the project is none of Swift's operators."""
    with calling(tenants.caller(DEMO_READER)), pytest.raises(WriteDenied, match="403"):
        tenants.store.add(tenants.new_key(), [DATA], None)
    assert tenants.objects() == []


@pytest.mark.parametrize("size", [len(DATA), 5 * MIB])
def test_an_upload_that_fails_leaves_nothing(tenants: Tenants, monkeypatch: pytest.MonkeyPatch, size: int):
    def pieces() -> Iterator[bytes]:
        yield bytes(size)
        raise RuntimeError("the client went away")

    with calling(tenants.caller(DEMO)):
        with pytest.raises(RuntimeError, match="went away"):
            tenants.store.add(tenants.new_key(), pieces(), size)
        assert tenants.objects() == []
        monkeypatch.setattr(upload, "_PAUSES", ())

        def broken(*arguments: Any, **parameters: Any) -> Any:
            raise ConnectionBroken("broken off by the test")

        with monkeypatch.context() as patch:
            patch.setattr(swiftclient, "put_object", broken)
            with pytest.raises(StoreUnavailable):
                tenants.store.add(tenants.new_key(), [bytes(size)], size)
    assert tenants.objects() == []


def test_what_a_killed_upload_left_goes_with_the_id(tenants: Tenants, monkeypatch: pytest.MonkeyPatch):
    image = tenants.new_key()
    with monkeypatch.context() as patch, calling(tenants.caller(DEMO)):
        patch.setattr(upload.SwiftUpload, "_abort", lambda upload: None)
        patch.setattr(type(tenants.store), "_give_up", lambda *names: None)
        patch.setattr(upload.SwiftUpload, "_finish", lambda *names: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            tenants.store.add(image, [bytes(5 * MIB)], None)
    assert len(tenants.client(DEMO).get_container(f"{tenants.container}_{image}")[1]) == 3
    assert list(tenants.store.walk()) == []
    with pytest.raises(BlobNotFound):
        tenants.store.open(image)
    with pytest.raises(BlobNotFound):
        tenants.store.delete(image)
    assert tenants.objects() == []


def readable(client: Connection, container: str, name: str) -> bool:
    """Say whether a client reads an object at Swift itself."""
    try:
        client.get_object(container, name)
    except ClientException as failed:
        if failed.http_status != 403:
            raise
        return False
    return True


def test_members_and_the_public_read_at_swift_itself(tenants: Tenants):
    key = tenants.put(DATA)
    image = key.partition("/")[0]
    container = f"{tenants.container}_{image}"
    member, stranger = tenants.client(ALT_DEMO, DEMO.project), tenants.client(DEMO_READER, DEMO.project)
    alt = tenants.keystone.project_ids[ALT_DEMO.project]
    for access, expected in (
        (DataAccess(public=False), False), (DataAccess(False, (alt,)), True), (DataAccess(False, ("other",)), False),
        (DataAccess(public=True), True), (DataAccess(public=False), False),
    ):
        tenants.store.set_access(key, access)
        assert readable(member, container, image) == expected
    assert not readable(stranger, container, image), "a reader of the project is none of Swift's operators"
    with pytest.raises(ClientException, match="403"):
        member.put_object(container, image, b"other")
    assert tenants.read(key) == DATA
    tenants.store.delete(key)
    with pytest.raises(BlobNotFound):
        tenants.store.set_access(key, DataAccess(public=True))


def test_projects_of_administrators_write_and_so_delete(tenants: Tenants):
    """The user of the store need not be allowed everything in Swift: its project in the list is enough."""
    admin = tenants.keystone.project_ids[ADMIN.project]
    tenants.client(ADMIN).put_container(tenants.container)
    try:
        tenants.identities = MemoryIdentities()
        tenants.store = tenants.made(
            swift_store_user=f"{ADMIN.project}:{ADMIN.name}", swift_store_key=ADMIN.name,
            swift_store_admin_tenants=admin,
        )
        with calling(tenants.caller(DEMO)):
            key = tenants.added(bytes(5 * MIB))
            tenants.store.set_access(key, DataAccess(False, ("other",)))
        assert tenants.read(key) == bytes(5 * MIB)
        with pytest.raises(StoreUnavailable, match="403: the server forbids it"):
            tenants.store.set_access(key, DataAccess(public=True))
        image = key.partition("/")[0]
        container = f"{tenants.container}_{image}"
        tenants.store.delete(key)
        # A list lets delete objects, and no containers.
        assert tenants.client(DEMO).get_container(container)[1] == []
        tenants.client(DEMO).delete_container(container)
    finally:
        remove_container(tenants.client(ADMIN), tenants.container)
        tenants.identities = MemoryIdentities()
        tenants.store = tenants.made()


def test_the_check_of_operators_passes(tenants: Tenants):
    """glance-manage store check, which acts for no project."""
    steps = {name: problem for name, _, problem in manage_stores._steps(tenants.store)}
    assert steps == dict.fromkeys(("check", "write", "read", "range", "list", "delete"))
    assert tenants.objects() == []


def test_the_token_of_the_service_goes_to_its_own_server_only(tenants: Tenants):
    """A location may name any server: only its account counts, at the server that the catalog of the service names."""
    key = tenants.put(DATA)
    foreign = key.replace(tenants.server.url, "http://127.0.0.1:9")
    assert tenants.read(foreign) == DATA


@pytest.mark.parametrize("url", [
    "swift+http://h/v1/KEY_a/other_{0}/{0}", "swift+http://h/v1/KEY_a/{1}/{0}", "swift+http://{1}_{0}/{0}",
    "swift+config://ref1/{1}_{0}/{0}", "http://h/v1/KEY_a/{1}_{0}/{0}", "swift+http://h/v1/KEY_a/{1}_{0}/x",
])
def test_urls_of_other_stores(tenants: Tenants, url: str):
    assert tenants.store.key_of(url.format(tenants.new_key(), tenants.container)) is None


def test_urls_of_older_installations(tenants: Tenants):
    image = tenants.new_key()
    for scheme, plain in (("swift+https", "https"), ("swift", "https"), ("swift+http", "http")):
        key = tenants.store.key_of(f"{scheme}://user:pass@h:8080/v1/AUTH_a/{tenants.container}_{image}/{image}")
        assert key == f"{image}/{tenants.container}_{image}/{plain}://h:8080/v1/AUTH_a"


def test_the_list_goes_over_pages_in_order(tenants: Tenants, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(swift_store, "PAGE", 2)
    keys = sorted(tenants.put(bytes(number)) for number in range(5))
    assert [entry.key for entry in tenants.store.walk()] == keys
    assert [entry.key for entry in tenants.store.walk(keys[2])] == keys[3:]


def test_a_container_that_lost_its_mark_is_none_of_ours(tenants: Tenants):
    key = tenants.put(DATA)
    mark = tenants.service.get_object(tenants.container, NAME)[1]
    tenants.service.delete_object(tenants.container, NAME)
    for act in (
        lambda: tenants.store.delete(key), lambda: tenants.store.open(tenants.new_key()), tenants.store.check,
        lambda: next(tenants.store.walk()),
    ):
        with pytest.raises(StoreUnavailable, match=r"no object \.glance-store"):
            act()
    tenants.service.put_object(tenants.container, NAME, mark)

