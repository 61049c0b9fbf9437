"""What the swift driver does beyond the suite, seen from the side of real servers."""

import re
import urllib.error
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from tests.conformance.s3_kit import writer
from tests.conformance.swift_kit import MIB, MakeSwift, on, whole_life
from tests.servers.ceph import Ceph
from tests.servers.swift import Swift, SwiftServer, remove_container
from tests.support.stores import MemoryIdentities

from glance_common.stores.conformance.harness import DATA
from glance_common.stores.contract import BlobNotFound, StoreFull, StoreUnavailable, WriteDenied
from glance_common.stores.drivers.swift.tokens import SwiftTokens
from glance_common.stores.place_mark import NAME


@on("ceph")
def test_https_with_an_authority_of_its_own(make_swift: MakeSwift, swift_server: Ceph):
    secure = {"swift_store_auth_address": swift_server.tls_swift_auth_url}
    whole_life(make_swift(**secure, swift_store_cacert=swift_server.authority))
    whole_life(make_swift(**secure, swift_store_auth_insecure="true"))


@on("ceph")
def test_bad_certificates_are_told(make_swift: MakeSwift, swift_server: Ceph):
    harness = make_swift()
    for address, told in (
        (swift_server.tls_swift_auth_url, "self-signed certificate"),
        (swift_server.tls_swift_auth_url.replace("localhost", "127.0.0.1"), "IP address mismatch"),
        (swift_server.swift_auth_url.replace("http:", "https:"), "does the server speak https"),
    ):
        authority = swift_server.authority if "127.0.0.1" in address else None
        with pytest.raises(StoreUnavailable, match=told):
            harness.made(swift_store_auth_address=address, swift_store_cacert=authority).check()


def test_a_container_is_created_where_the_option_says_so(make_swift: MakeSwift):
    harness = make_swift()
    name = f"new-{uuid4().hex[:12]}"
    try:
        with pytest.raises(StoreUnavailable, match="404: the container does not exist: create it, or set"):
            harness.made(swift_store_container=name).add(harness.new_key(), [DATA], None)
        identities = MemoryIdentities()
        creating = {"swift_store_container": name, "swift_store_create_container_on_put": "true"}
        store = harness.made(identities, **creating)
        with pytest.raises(StoreUnavailable, match="the container does not exist"):
            store.check()
        key = harness.new_key()
        store.add(key, [DATA], None)
        assert store.size(key) == len(DATA)
        # A container that was used and vanished is not replaced by an empty one.
        remove_container(harness.client, name)
        for one in (store, harness.made(identities, **creating)):
            with pytest.raises(StoreUnavailable, match="the container does not exist"):
                one.add(harness.new_key(), [DATA], None)
        assert name not in [entry["name"] for entry in harness.client.get_account()[1]]
    finally:
        remove_container(harness.client, name)


def test_several_containers_by_the_beginning_of_the_id(make_swift: MakeSwift):
    harness = make_swift()
    options: dict[str, Any] = {"swift_store_multiple_containers_seed": 2}
    keys = sorted([f"{number:02x}{harness.new_key()[2:]}" for number in (3, 0xfe, 0x41)])
    containers = [f"{harness.container}_{key[:2]}" for key in keys]
    try:
        with pytest.raises(StoreUnavailable, match="404"):
            harness.made(**options).add(keys[0], [DATA], None)
        store = harness.made(**options, swift_store_create_container_on_put="true")
        for key in keys:
            store.add(key, [DATA], None)
        assert harness.objects() == []
        assert [harness.client.get_container(name)[1][0]["name"] for name in containers] == keys
        assert [entry.key for entry in store.walk()] == keys
        assert [entry.key for entry in store.walk(keys[0])] == keys[1:]
        absent = f"77{keys[0][2:]}"
        for act in (store.open, store.size, store.delete):
            with pytest.raises(BlobNotFound):
                act(absent)
        # What was written before the option was set is found by its location.
        old = harness.new_key()
        harness.client.put_object(harness.container, old, DATA)
        found = store.key_of(harness.store.url(old))
        assert found == f"{harness.container}/{old}"
        with closing(store.open(found)) as blob:
            assert b"".join(blob) == DATA
        store.delete(found)
        for key in keys:
            store.delete(key)
    finally:
        for name in containers:
            remove_container(harness.client, name)


@on("swift")
def test_a_user_who_may_only_read(make_swift: MakeSwift, swift: Swift):
    harness = make_swift()
    key = harness.put(DATA)
    harness.client.post_container(harness.container, {"X-Container-Read": "images:reader,.rlistings"})
    reader = harness.made(swift_store_user=swift.reader.name, swift_store_key=swift.reader.key)
    with closing(reader.open(key)) as blob:
        assert b"".join(blob) == DATA
    for size in (4, 2 * MIB, 7 * MIB):
        with pytest.raises(WriteDenied, match="403"):
            reader.add(harness.new_key(), [bytes(size)], size)
    with pytest.raises(StoreUnavailable, match="403: the server forbids it"):
        reader.delete(key)
    assert harness.read(key) == DATA


def test_a_user_of_another_account(make_swift: MakeSwift, swift_server: SwiftServer):
    harness = make_swift()
    key = harness.put(DATA)
    user = swift_server.other_swift_user
    other = harness.made(MemoryIdentities(), swift_store_user=user.name, swift_store_key=user.key)
    for act in (lambda: other.open(key), lambda: other.delete(key), other.check, lambda: other.add(key, [DATA], None)):
        with pytest.raises(StoreUnavailable, match=r"the container does not exist|403: the server forbids it"):
            act()
    assert harness.read(key) == DATA


def test_rows_of_older_installations_are_read(make_swift: MakeSwift, swift_server: SwiftServer):
    """Their passwords are no longer those of the service, which uses its own."""
    harness = make_swift()
    key = harness.put(DATA)
    address = swift_server.swift_auth_url.removeprefix("http://")
    found = harness.store.key_of(f"swift+http://images%3Aswift:oldpassword@{address}/{harness.container}/{key}")
    assert found == key
    assert "oldpassword" not in harness.store.url(found)
    assert harness.read(found) == DATA


@on("swift")
def test_full_containers_are_told(make_swift: MakeSwift):
    harness = make_swift()
    harness.client.post_container(harness.container, {"X-Container-Meta-Quota-Bytes": "100000"})
    assert harness.store.free() == 100_000 - 36
    harness.put(DATA[:90_000])
    assert harness.store.free() == 10_000 - 36
    harness.client.post_container(harness.container, {"X-Container-Meta-Quota-Bytes": "50"})
    assert harness.store.free() == 0
    for size in (100, 2 * MIB, 7 * MIB):
        with pytest.raises(StoreFull, match="413"):
            harness.store.add(harness.new_key(), [bytes(size)], size)
    assert len(harness.objects()) == 1


@pytest.fixture
def logins(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """One entry for each token that is taken."""
    seen: list[float] = []
    log_in = SwiftTokens._log_in_v1

    def noted(self: SwiftTokens, place: str) -> Any:
        seen.append(1)
        return log_in(self, place)

    monkeypatch.setattr(SwiftTokens, "_log_in_v1", noted)
    return seen


def test_one_token_for_all_calls_until_it_is_about_to_end(make_swift: MakeSwift, logins: list[float]):
    harness = make_swift()
    whole_life(harness)
    assert len(logins) == 1


@on("swift")
@pytest.mark.parametrize("at_once", [1, 2])
def test_a_long_upload_takes_a_new_token_before_its_own_ends(make_swift: MakeSwift, logins: list[float], at_once: int):
    """Every segment is sent with a token that lives longer than the interval; here none does, so each call asks."""
    harness = make_swift(swift_store_expire_soon_interval=1_000_000, swift_store_segments_at_once=at_once)
    logins.clear()
    key = harness.new_key()
    harness.store.add(key, [bytes(7 * MIB)], 7 * MIB)
    assert len(logins) >= 4, "one a segment"


@on("swift")
@pytest.mark.parametrize("at_once", [1, 2])
def test_tokens_that_are_refused_are_exchanged(make_swift: MakeSwift, swift: Swift, logins: list[float], at_once: int):
    harness = make_swift(swift_store_segments_at_once=at_once)
    key = harness.new_key()

    def pieces() -> Any:
        for number in range(8):
            yield bytes(MIB)
            if number == 3:
                # Between two segments: a stream that has begun is not sent again.
                swift.forget_tokens()

    harness.store.add(key, pieces(), None)
    assert harness.store.size(key) == 8 * MIB
    swift.forget_tokens()
    assert harness.read(key, 5, 5) == bytes(5)
    assert len(logins) >= 3
    # In the middle of a read: the next answer needs a new one.
    with closing(harness.store.open(key)) as blob:
        swift.forget_tokens()
        assert b"".join(blob) == bytes(8 * MIB)


@pytest.mark.parametrize("size", [len(DATA), 5 * MIB])
def test_a_temporary_address_reads_the_object_and_its_ranges(make_swift: MakeSwift, size: int):
    harness = make_swift(swift_store_temp_url_key="signing")
    harness.client.post_account({"X-Account-Meta-Temp-URL-Key": "signing"})
    data = (DATA * 5)[:size]
    key = harness.new_key()
    harness.store.add(key, [data], None)
    url = harness.store.presign(key, 60)
    assert url is not None
    assert "signing" not in url
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=30) as answer:
        assert answer.read() == data
    with opener.open(urllib.request.Request(url, headers={"Range": "bytes=9-12"}), timeout=30) as answer:
        assert (answer.status, answer.read()) == (206, data[9:13])
    for bad in (url.replace(key, harness.new_key()), url.replace("expires=1", "expires=2")):
        with pytest.raises(urllib.error.HTTPError, match=r"40[13]"):
            opener.open(bad, timeout=30)
    request = urllib.request.Request(url, method="DELETE")
    with pytest.raises(urllib.error.HTTPError, match=r"40[13]"):
        opener.open(request, timeout=30)


def test_without_a_key_there_are_no_temporary_addresses(make_swift: MakeSwift):
    harness = make_swift()
    assert harness.store.presign(harness.new_key(), 60) is None


def test_proxies_of_the_environment_are_not_used(make_swift: MakeSwift, monkeypatch: pytest.MonkeyPatch):
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    make_swift().store.check()


def test_objects_of_others_in_the_container_stay(make_swift: MakeSwift):
    harness = make_swift()
    for name in ("a/b", "readme.txt", "zz"):
        harness.client.put_object(harness.container, name, b"other")
    key = harness.put(DATA)
    assert [entry.key for entry in harness.store.walk()] == [key]
    harness.store.delete(key)
    assert harness.objects() == ["a/b", "readme.txt", "zz"]


def test_segments_of_later_attempts_stay(make_swift: MakeSwift):
    harness = make_swift()
    key = harness.new_key()
    for name in (f"{key}-1-00001", f"{key}.1-1-00001", f"{key}.1"):
        harness.client.put_object(harness.container, name, b"segment")
    with pytest.raises(BlobNotFound):
        harness.store.delete(key)
    assert harness.objects() == [f"{key}.1", f"{key}.1-1-00001"]


def test_a_container_that_lost_its_mark_is_none_of_ours(make_swift: MakeSwift):
    harness = make_swift()
    key = harness.put(DATA)
    harness.client.delete_object(harness.container, NAME)
    for act in (lambda: harness.store.delete(key), lambda: harness.store.open(harness.new_key()), harness.store.check,
                lambda: harness.store.add(harness.new_key(), [DATA], None), lambda: next(harness.store.walk())):
        with pytest.raises(StoreUnavailable, match=r"no object \.glance-store"):
            act()


@on("swift")  # of Ceph two accounts cannot have containers of the same name
def test_several_accounts_in_a_file(make_swift: MakeSwift, swift_server: SwiftServer, tmp_path: Path):
    """New images go to one of them, and older ones are read from all."""
    harness = make_swift()
    client = swift_server.swift_client(swift_server.other_swift_user)
    file = tmp_path / "glance-swift.conf"
    file.write_text("".join(
        f"[{name}]\nauth_address = {swift_server.swift_auth_url}\nuser = {user.name}\nkey = {user.key}\n"
        for name, user in (("ref1", swift_server.other_swift_user), ("new", swift_server.swift_user))
    ))
    key = harness.new_key()
    client.put_container(harness.container)
    try:
        client.put_object(harness.container, key, DATA)
        harness.store = store = harness.made(
            swift_store_config_file=file, default_swift_reference="new", swift_store_auth_address=None,
            swift_store_user=None, swift_store_key=None,
        )
        own = harness.put(b"data")
        assert store.url(own) == f"swift+config://new/{harness.container}/{own}"
        assert harness.objects() == [own]
        found = store.key_of(f"swift+config://ref1/{harness.container}/{key}")
        assert found == f"ref1/{harness.container}/{key}"
        assert harness.read(found) == DATA
        store.delete(found)
        with pytest.raises(BlobNotFound):
            store.delete(found)
        with pytest.raises(BlobNotFound):
            store.open(key)
        assert store.key_of(f"swift+config://other/{harness.container}/{key}") is None
    finally:
        remove_container(client, harness.container)


@on("swift")
def test_the_configuration_of_the_page_works(swift: Swift, make_swift: MakeSwift, tmp_path: Path):
    page = (Path(__file__).parents[2] / "docs" / "stores" / "swift.md").read_text()
    sample = re.findall(r"```ini\n(.*?)```", page, re.DOTALL)[0]
    for old, new in (
        ("= images", f"= {make_swift().container}"),
        ("https://keystone.example.org/v3", f"{swift.swift_auth_url}\nswift_store_auth_version = 1"),
        ("service:glance", swift.swift_user.name), ("= ...", f"= {swift.swift_user.key}"),
    ):
        assert old in sample
        sample = sample.replace(old, new)
    (tmp_path / "stores.conf").write_text(sample)
    store = writer(tmp_path)
    key = str(uuid4())
    store.add(key, [DATA], None)
    with closing(store.open(key)) as blob:
        assert b"".join(blob) == DATA
