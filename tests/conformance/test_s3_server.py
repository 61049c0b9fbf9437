"""What the s3 driver does beyond the suite, seen from the side of real S3 servers."""

import datetime as dt
import urllib.error
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import botocore.auth
import pytest
from tests.conformance.s3_kit import MIB, MakeS3, S3Harness
from tests.servers.ceph import Ceph
from tests.servers.s3 import remove_bucket
from tests.servers.seaweedfs import SeaweedFS
from tests.support.stores import MemoryIdentities

from glance_common.stores.conformance.harness import DATA
from glance_common.stores.contract import BlobExists, BlobNotFound, StoreUnavailable, WriteDenied
from glance_common.stores.drivers.s3.client import S3Bucket
from glance_common.stores.place_mark import NAME


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the operations that the driver calls."""
    seen: list[str] = []
    call = S3Bucket.call

    def noted(self: S3Bucket, operation: str, **parameters: Any) -> dict[str, Any]:
        seen.append(operation)
        return call(self, operation, **parameters)

    monkeypatch.setattr(S3Bucket, "call", noted)
    return seen


def whole_life(harness: S3Harness) -> None:
    """Write, read and delete in one go and in parts."""
    for size, announced in ((0, 0), (1, None), (len(DATA), len(DATA)), (11 * MIB, None), (13 * MIB, 13 * MIB)):
        data = (DATA * (size // len(DATA) + 1))[:size]
        key = harness.new_key()
        harness.store.add(key, [data], announced)
        with pytest.raises(BlobExists):
            harness.store.add(key, [b"other"], 5)
        assert harness.read(key) == data
        assert harness.read(key, 1, 7) == data[1:8]
        assert [entry.size for entry in harness.store.walk()] == [size]
        harness.store.delete(key)
        with pytest.raises(BlobNotFound):
            harness.store.open(key)
    assert (harness.objects(), harness.unfinished()) == ([], [])


PROTECTED = {
    "s3_store_enable_data_integrity_protection": "true", "s3_store_request_checksum_calculation": "when_supported",
    "s3_store_response_checksum_validation": "when_supported",
}


def test_https_with_an_authority_of_its_own(make_s3: MakeS3, s3_server: SeaweedFS | Ceph):
    whole_life(make_s3(s3_store_host=s3_server.tls_url, s3_store_cacert=s3_server.authority))


@pytest.mark.parametrize("s3_server", ["seaweedfs"], indirect=True)
def test_checksums_over_https(make_s3: MakeS3, s3_server: SeaweedFS | Ceph):
    whole_life(make_s3(s3_store_host=s3_server.tls_url, s3_store_cacert=s3_server.authority, **PROTECTED))


@pytest.mark.parametrize("s3_server", ["ceph"], indirect=True)
def test_a_server_that_takes_no_checksums_over_https(make_s3: MakeS3, s3_server: SeaweedFS | Ceph):
    with pytest.raises(StoreUnavailable, match="set s3_store_request_checksum_calculation = when_required"):
        make_s3(s3_store_host=s3_server.tls_url, s3_store_cacert=s3_server.authority, **PROTECTED)


def test_checksums_over_http(make_s3: MakeS3):
    whole_life(make_s3(**PROTECTED))


def test_bad_certificates_are_told(make_s3: MakeS3, s3_server: SeaweedFS | Ceph):
    harness = make_s3()
    for host, told in (
        (s3_server.tls_url, "self-signed certificate"),
        (f"https://127.0.0.1:{s3_server.tls_port}", "IP address mismatch"),
        (f"https://localhost:{s3_server.port}", "does the server speak https"),
    ):
        authority = s3_server.authority if "127.0.0.1" in host else ""
        with pytest.raises(StoreUnavailable, match=told):
            harness.made(s3_store_host=host, s3_store_cacert=authority).check()


def test_a_small_object_is_one_put_whatever_is_known_of_it(make_s3: MakeS3, calls: list[str]):
    harness = make_s3()
    small = 5 * MIB - 1
    for size, announced in ((0, None), (small, None), (small, small), (small, 1), (small, 100 * MIB)):
        calls.clear()
        harness.store.add(harness.new_key(), [bytes(size)], announced)
        assert "put_object" in calls
        assert "create_multipart_upload" not in calls


def test_what_is_larger_than_a_part_is_sent_in_parts(make_s3: MakeS3, calls: list[str]):
    """Also below s3_store_large_object_size; what is not below it is so even as one part."""
    for options, size, parts in (({}, 12 * MIB - 1, 3), ({"s3_store_large_object_size": 1}, 2 * MIB, 1)):
        harness = make_s3(**options)
        for announced in (size, None, 1):
            calls.clear()
            harness.store.add(harness.new_key(), [bytes(size)], announced)
            assert calls.count("upload_part") == parts
            assert "put_object" not in calls


def test_a_bucket_is_created_where_the_option_says_so(make_s3: MakeS3):
    harness = make_s3()
    name = f"new-{uuid4().hex[:12]}"
    try:
        with pytest.raises(StoreUnavailable, match="NoSuchBucket: the bucket does not exist"):
            harness.made(s3_store_bucket=name).add(harness.new_key(), [DATA], None)
        identities = MemoryIdentities()
        store = harness.made(identities, s3_store_bucket=name, s3_store_create_bucket_on_put="true")
        with pytest.raises(StoreUnavailable, match="NoSuchBucket"):
            store.check()
        key = harness.new_key()
        store.add(key, [DATA], None)
        assert store.size(key) == len(DATA)
        # A bucket that was used and vanished is not replaced by an empty one.
        remove_bucket(harness.client, name)
        again = harness.made(identities, s3_store_bucket=name, s3_store_create_bucket_on_put="true")
        for one in (store, again):
            with pytest.raises(StoreUnavailable, match="NoSuchBucket"):
                one.add(harness.new_key(), [DATA], None)
        assert name not in [bucket["Name"] for bucket in harness.client.list_buckets()["Buckets"]]
    finally:
        remove_bucket(harness.client, name)


@pytest.mark.parametrize("s3_server", ["seaweedfs"], indirect=True)
def test_a_user_who_may_only_read(make_s3: MakeS3, seaweedfs: SeaweedFS):
    harness = make_s3()
    key = harness.put(DATA)
    reader = harness.made(
        s3_store_access_key=seaweedfs.reader_keys.access, s3_store_secret_key=seaweedfs.reader_keys.secret
    )
    with closing(reader.open(key)) as blob:
        assert b"".join(blob) == DATA
    for size in (4, 12 * MIB):
        with pytest.raises(WriteDenied, match="AccessDenied"):
            reader.add(harness.new_key(), [bytes(size)], size)
    with pytest.raises(StoreUnavailable, match="AccessDenied"):
        reader.delete(key)
    assert harness.read(key) == DATA


@pytest.mark.parametrize("s3_server", ["seaweedfs"], indirect=True)
def test_rotated_credentials_read_what_the_old_ones_wrote(make_s3: MakeS3, seaweedfs: SeaweedFS):
    harness = make_s3()
    key = harness.put(DATA)
    rotated = harness.made(
        s3_store_access_key=seaweedfs.other_keys.access, s3_store_secret_key=seaweedfs.other_keys.secret
    )
    old_url = f"s3://{seaweedfs.keys.access}:{seaweedfs.keys.secret}@127.0.0.1:{harness.port}/{harness.bucket}/{key}"
    found = rotated.key_of(old_url)
    assert found == key
    with closing(rotated.open(found)) as blob:
        assert b"".join(blob) == DATA


@pytest.mark.parametrize("s3_server", ["ceph"], indirect=True)
def test_a_bucket_of_another_user(make_s3: MakeS3, s3_server: Ceph):
    harness = make_s3()
    key = harness.put(DATA)
    others = {"s3_store_access_key": s3_server.other_keys.access, "s3_store_secret_key": s3_server.other_keys.secret}
    other = harness.made(MemoryIdentities(), s3_store_create_bucket_on_put="true", **others)
    for act in (lambda: other.open(key), lambda: other.delete(key), other.check, lambda: other.add(key, [DATA], None)):
        with pytest.raises(StoreUnavailable, match=r"AccessDenied: .*does the bucket belong to this user"):
            act()
    assert harness.read(key) == DATA


def test_credentials_that_boto3_finds_by_itself(
    make_s3: MakeS3, s3_server: SeaweedFS | Ceph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    harness = make_s3()
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    store = harness.made(s3_store_access_key="", s3_store_secret_key="")
    with pytest.raises(StoreUnavailable, match="there are no credentials"):
        store.check()
    keys = f"aws_access_key_id = {s3_server.keys.access}\naws_secret_access_key = {s3_server.keys.secret}\n"
    (tmp_path / "credentials").write_text(f"[default]\n{keys}")
    harness.made(s3_store_access_key="", s3_store_secret_key="").check()


def test_what_is_wrong_is_told_by_every_call(make_s3: MakeS3):
    """Also by HEAD, whose answers have no words."""
    harness = make_s3()
    key = harness.put(DATA)
    for store, code in (
        (harness.made(s3_store_secret_key="wrong"), "SignatureDoesNotMatch"),
        (harness.made(s3_store_access_key="AKWRONG"), "InvalidAccessKeyId"),
    ):
        for act in (lambda store=store: store.size(key), lambda store=store: store.open(key), store.check):
            with pytest.raises(StoreUnavailable, match=code):
                act()


def test_a_clock_that_is_wrong_is_told(make_s3: MakeS3, monkeypatch: pytest.MonkeyPatch):
    harness = make_s3()
    now = botocore.auth.get_current_datetime
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: now() - dt.timedelta(hours=3))
    with pytest.raises(StoreUnavailable, match=r"RequestTimeTooSkewed: .*compare the clocks"):
        harness.store.check()


def test_proxies_of_the_environment_are_not_used(make_s3: MakeS3, monkeypatch: pytest.MonkeyPatch):
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    make_s3().store.check()


def test_a_presigned_address_reads_the_object_and_its_ranges(make_s3: MakeS3):
    harness = make_s3()
    key = harness.put(DATA)
    url = harness.store.presign(key, 60)
    assert url is not None
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=30) as answer:
        assert answer.read() == DATA
    with opener.open(urllib.request.Request(url, headers={"Range": "bytes=9-12"}), timeout=30) as answer:
        assert (answer.status, answer.read()) == (206, DATA[9:13])
    with pytest.raises(urllib.error.HTTPError, match="403"):
        opener.open(url.replace(key, harness.new_key()), timeout=30)


def test_objects_of_others_in_the_bucket_stay(make_s3: MakeS3):
    harness = make_s3()
    for name in ("a/b", "readme.txt", "zz"):
        harness.client.put_object(Bucket=harness.bucket, Key=name, Body=b"other")
    key = harness.put(DATA)
    assert [entry.key for entry in harness.store.walk()] == [key]
    harness.store.delete(key)
    assert harness.objects() == ["a/b", "readme.txt", "zz"]


def test_uploads_of_later_attempts_are_not_aborted(make_s3: MakeS3):
    harness = make_s3()
    key = harness.new_key()
    for name in (key, key, f"{key}.1"):
        harness.client.create_multipart_upload(Bucket=harness.bucket, Key=name)
    with pytest.raises(BlobNotFound):
        harness.store.delete(key)
    assert harness.unfinished() == [f"{key}.1"]


def test_a_bucket_that_lost_its_mark_is_none_of_ours(make_s3: MakeS3):
    harness = make_s3()
    key = harness.put(DATA)
    harness.client.delete_object(Bucket=harness.bucket, Key=NAME)
    for act in (lambda: harness.store.delete(key), lambda: harness.store.open(harness.new_key()), harness.store.check,
                lambda: harness.store.add(harness.new_key(), [DATA], None), lambda: next(harness.store.walk())):
        with pytest.raises(StoreUnavailable, match=r"no object \.glance-store"):
            act()
