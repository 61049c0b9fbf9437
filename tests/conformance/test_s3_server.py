"""What the s3 driver does beyond the suite, seen from the side of a real S3 server; and the suite's core over https."""

import logging
import re
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from tests.conformance.s3_kit import MIB, S3Harness, writer
from tests.servers.ceph import Ceph
from tests.servers.s3 import remove_bucket
from tests.servers.seaweedfs import SeaweedFS
from tests.support.stores import MemoryIdentities

from glance_common.stores.conformance.harness import DATA
from glance_common.stores.contract import BlobExists, BlobNotFound, StoreUnavailable, WriteDenied
from glance_common.stores.drivers.s3 import reading
from glance_common.stores.drivers.s3.client import S3Body, S3Bucket
from glance_common.stores.drivers.s3.errors import S3Failed
from glance_common.stores.place_mark import NAME

Make = Callable[..., S3Harness]


@pytest.fixture(params=["seaweedfs", "ceph"])
def server(request: pytest.FixtureRequest) -> SeaweedFS | Ceph:
    """Each of the servers."""
    found: SeaweedFS | Ceph = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def make(server: SeaweedFS | Ceph, tmp_path: Path) -> Iterator[Make]:
    """A function that returns a harness over a fresh bucket, with options of the store."""
    with server.bucket() as bucket:

        def made(**options: Any) -> S3Harness:
            least = {"s3_store_host": server.url, "s3_store_bucket": bucket}
            return S3Harness(tmp_path, server.client(), server.keys, {**least, **options})

        yield made


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


def test_https_with_an_authority_of_its_own(make: Make, server: SeaweedFS | Ceph):
    whole_life(make(s3_store_host=server.tls_url, s3_store_cacert=server.authority))


@pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)
def test_checksums_over_https(make: Make, server: SeaweedFS | Ceph):
    whole_life(make(s3_store_host=server.tls_url, s3_store_cacert=server.authority, **PROTECTED))


@pytest.mark.parametrize("server", ["ceph"], indirect=True)
def test_a_server_that_takes_no_checksums_over_https(make: Make, server: SeaweedFS | Ceph):
    with pytest.raises(StoreUnavailable, match="set s3_store_request_checksum_calculation = when_required"):
        make(s3_store_host=server.tls_url, s3_store_cacert=server.authority, **PROTECTED)


def test_checksums_over_http(make: Make):
    whole_life(make(**PROTECTED))


def test_bad_certificates_are_told(make: Make, server: SeaweedFS | Ceph):
    harness = make()
    for host, told in (
        (server.tls_url, "self-signed certificate"),
        (f"https://127.0.0.1:{server.tls_port}", "IP address mismatch"),
        (f"https://localhost:{server.port}", "does the server speak https"),
    ):
        authority = server.authority if "127.0.0.1" in host else ""
        with pytest.raises(StoreUnavailable, match=told):
            harness.made(s3_store_host=host, s3_store_cacert=authority).check()


def test_a_small_object_is_one_put_whatever_is_known_of_it(make: Make, calls: list[str]):
    harness = make()
    for size, announced in ((0, None), (5 * MIB - 1, None), (12 * MIB - 1, 12 * MIB - 1), (12 * MIB - 1, 1)):
        calls.clear()
        harness.store.add(harness.new_key(), [bytes(size)], announced)
        assert "put_object" in calls
        assert "create_multipart_upload" not in calls
    calls.clear()
    harness.store.add(harness.new_key(), [bytes(12 * MIB)], 12 * MIB)
    assert calls.count("upload_part") == 3
    assert "put_object" not in calls


def test_a_bucket_is_created_where_the_option_says_so(make: Make):
    harness = make()
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


@pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)
def test_a_user_who_may_only_read(make: Make, seaweedfs: SeaweedFS):
    harness = make()
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


@pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)
def test_rotated_credentials_read_what_the_old_ones_wrote(make: Make, seaweedfs: SeaweedFS):
    harness = make()
    key = harness.put(DATA)
    rotated = harness.made(
        s3_store_access_key=seaweedfs.other_keys.access, s3_store_secret_key=seaweedfs.other_keys.secret
    )
    old_url = f"s3://{seaweedfs.keys.access}:{seaweedfs.keys.secret}@127.0.0.1:{harness.port}/{harness.bucket}/{key}"
    found = rotated.key_of(old_url)
    assert found == key
    with closing(rotated.open(found)) as blob:
        assert b"".join(blob) == DATA


@pytest.mark.parametrize("server", ["ceph"], indirect=True)
def test_a_bucket_of_another_user(make: Make, server: Ceph):
    harness = make()
    key = harness.put(DATA)
    others = {"s3_store_access_key": server.other_keys.access, "s3_store_secret_key": server.other_keys.secret}
    other = harness.made(MemoryIdentities(), s3_store_create_bucket_on_put="true", **others)
    for act in (lambda: other.open(key), lambda: other.delete(key), other.check, lambda: other.add(key, [DATA], None)):
        with pytest.raises(StoreUnavailable, match=r"AccessDenied: .*does the bucket belong to this user"):
            act()
    assert harness.read(key) == DATA


def test_credentials_that_boto3_finds_by_itself(
    make: Make, server: SeaweedFS | Ceph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    harness = make()
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    store = harness.made(s3_store_access_key="", s3_store_secret_key="")
    with pytest.raises(StoreUnavailable, match="there are no credentials"):
        store.check()
    keys = f"aws_access_key_id = {server.keys.access}\naws_secret_access_key = {server.keys.secret}\n"
    (tmp_path / "credentials").write_text(f"[default]\n{keys}")
    harness.made(s3_store_access_key="", s3_store_secret_key="").check()


def test_proxies_of_the_environment_are_not_used(make: Make, monkeypatch: pytest.MonkeyPatch):
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    make().store.check()


def test_a_presigned_address_reads_the_object_and_its_ranges(make: Make):
    harness = make()
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


def test_objects_of_others_in_the_bucket_stay(make: Make):
    harness = make()
    for name in ("a/b", "readme.txt", "zz"):
        harness.client.put_object(Bucket=harness.bucket, Key=name, Body=b"other")
    key = harness.put(DATA)
    assert [entry.key for entry in harness.store.walk()] == [key]
    harness.store.delete(key)
    assert harness.objects() == ["a/b", "readme.txt", "zz"]


def test_uploads_of_later_attempts_are_not_aborted(make: Make):
    harness = make()
    key = harness.new_key()
    for name in (key, key, f"{key}.1"):
        harness.client.create_multipart_upload(Bucket=harness.bucket, Key=name)
    with pytest.raises(BlobNotFound):
        harness.store.delete(key)
    assert harness.unfinished() == [f"{key}.1"]


def test_a_bucket_that_lost_its_mark_is_none_of_ours(make: Make):
    harness = make()
    key = harness.put(DATA)
    harness.client.delete_object(Bucket=harness.bucket, Key=NAME)
    for act in (lambda: harness.store.delete(key), lambda: harness.store.open(harness.new_key()), harness.store.check,
                lambda: harness.store.add(harness.new_key(), [DATA], None), lambda: next(harness.store.walk())):
        with pytest.raises(StoreUnavailable, match=r"no object \.glance-store"):
            act()


# Faults in the middle, put between driver and server


class Fault:
    """Makes the n-th call of an operation fail with an error of botocore, before or after it reached the server."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch
        self.calls: list[str] = []

    def at(self, operation: str, error: Exception, *, number: int = 1, after: bool = False, times: int = 1) -> None:
        inner = S3Bucket._client
        owner = self

        class Client:
            def __init__(self, client: Any) -> None:
                self._client = client

            def __getattr__(self, name: str) -> Any:
                act = getattr(self._client, name)
                if not callable(act):
                    return act

                def called(**parameters: Any) -> Any:
                    owner.calls.append(name)
                    fails = name == operation and number <= owner.calls.count(name) < number + times
                    if fails and not after:
                        raise error
                    answer = act(**parameters)
                    if fails:
                        raise error
                    return answer

                return called

        self._patch.setattr(S3Bucket, "_client", lambda bucket: Client(inner(bucket)))


@pytest.fixture
def fault(monkeypatch: pytest.MonkeyPatch) -> Fault:
    """Faults of calls; pauses before further tries are none."""
    from glance_common.stores.drivers.s3 import upload

    monkeypatch.setattr(upload, "_PAUSES", (0.0, 0.0))
    return Fault(monkeypatch)


def answer_of(code: str, status: int) -> Exception:
    from botocore.exceptions import ClientError

    return ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "operation")


def broken() -> Exception:
    from botocore.exceptions import ConnectionClosedError

    return ConnectionClosedError(endpoint_url="http://server/")


@pytest.mark.parametrize("operation", ["upload_part", "put_object"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_passing_fault_is_overcome(make: Make, fault: Fault, operation: str, after: bool):
    """Also when the data arrived and only the answer was lost: the second try must not take them for others'."""
    harness = make()
    size = 11 * MIB if operation == "upload_part" else 1000
    fault.at(operation, broken(), number=2 if operation == "upload_part" else 1, after=after)
    data = (DATA * 10)[:size]
    key = harness.new_key()
    assert harness.store.add(key, [data], None).size == size
    assert harness.read(key) == data


def test_a_lost_answer_of_the_completion(make: Make, fault: Fault):
    harness = make()
    fault.at("complete_multipart_upload", broken(), after=True)
    key = harness.new_key()
    assert harness.store.add(key, [bytes(11 * MIB)], None).size == 11 * MIB
    assert harness.store.size(key) == 11 * MIB


@pytest.mark.parametrize("operation", ["create_multipart_upload", "upload_part", "complete_multipart_upload"])
@pytest.mark.parametrize(("code", "status"), [("SlowDown", 503), ("AccessDenied", 403)])
def test_a_fault_that_stays_leaves_nothing(make: Make, fault: Fault, operation: str, code: str, status: int):
    harness = make()
    fault.at(operation, answer_of(code, status), times=100)
    with pytest.raises(StoreUnavailable, match=code):
        harness.store.add(harness.new_key(), [bytes(11 * MIB)], None)
    assert (harness.objects(), harness.unfinished()) == ([], [])


def test_parts_that_cannot_be_removed_are_logged_and_go_with_the_key(
    make: Make, fault: Fault, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    harness = make()
    key = harness.new_key()
    with monkeypatch.context() as patch:
        one, two = Fault(patch), Fault(patch)
        one.at("upload_part", answer_of("SlowDown", 503), times=100)
        two.at("abort_multipart_upload", answer_of("SlowDown", 503))
        with caplog.at_level(logging.WARNING), pytest.raises(StoreUnavailable, match="SlowDown"):
            harness.store.add(key, [bytes(11 * MIB)], None)
    assert f"parts of {key} stay until its deletion" in caplog.text
    assert harness.unfinished() == [key]
    with pytest.raises(BlobNotFound):
        harness.store.delete(key)
    assert harness.unfinished() == []


@pytest.mark.parametrize("size", [1000, 11 * MIB])
def test_servers_without_conditions_are_asked_before(make: Make, fault: Fault, size: int):
    harness = make()
    operation = "put_object" if size == 1000 else "complete_multipart_upload"
    fault.at(operation, answer_of("NotImplemented", 501))
    key = harness.new_key()

    def pieces() -> Iterator[bytes]:
        yield bytes(size)
        harness.client.put_object(Bucket=harness.bucket, Key=key, Body=b"the first")

    with pytest.raises(BlobExists):
        harness.store.add(key, pieces(), None)
    assert harness.read(key) == b"the first"
    other = harness.new_key()
    harness.store.add(other, [bytes(size)], None)
    assert harness.store.size(other) == size


@pytest.mark.parametrize("size", [1000, 11 * MIB])
def test_a_key_that_is_taken_in_the_meantime_keeps_its_data(make: Make, size: int):
    harness = make()
    key = harness.new_key()

    def pieces() -> Iterator[bytes]:
        yield bytes(size)
        harness.client.put_object(Bucket=harness.bucket, Key=key, Body=b"the first")

    with pytest.raises(BlobExists):
        harness.store.add(key, pieces(), None)
    assert harness.read(key) == b"the first"
    assert harness.unfinished() == []


def test_a_read_never_goes_on_with_other_data(make: Make, monkeypatch: pytest.MonkeyPatch):
    """The object is replaced behind the store while a read is broken off: no byte of the other one comes."""
    harness = make()
    data = DATA * 8
    key = harness.put(data)
    read = S3Body.read

    def breaking(self: S3Body, size: int) -> bytes:
        monkeypatch.setattr(S3Body, "read", read)
        raise S3Failed("broken off by the test", "ConnectionClosedError", may_pass=True)

    with closing(harness.store.open(key)) as blob:
        pieces = iter(blob)
        got = next(pieces)
        harness.client.put_object(Bucket=harness.bucket, Key=key, Body=bytes(len(data)))
        monkeypatch.setattr(S3Body, "read", breaking)
        with pytest.raises(StoreUnavailable, match="deleted or changed"):
            list(pieces)
    assert data.startswith(got)


def test_a_read_that_breaks_again_and_again_without_a_byte_ends(make: Make, monkeypatch: pytest.MonkeyPatch):
    harness = make()
    key = harness.put(DATA)
    reads: list[int] = []

    def breaking(self: S3Body, size: int) -> bytes:
        reads.append(size)
        raise S3Failed("broken off by the test", "ConnectionClosedError", may_pass=True)

    with closing(harness.store.open(key)) as blob:
        monkeypatch.setattr(S3Body, "read", breaking)
        monkeypatch.setattr(reading, "_PAUSES", (0.0, 0.0, 0.0))
        with pytest.raises(StoreUnavailable, match="broken off by the test"):
            list(blob)
    assert len(reads) == 4


def test_the_configuration_of_the_page_works(seaweedfs: SeaweedFS, tmp_path: Path):
    page = (Path(__file__).parents[2] / "docs" / "stores" / "s3.md").read_text()
    (sample,) = re.findall(r"```ini\n(.*?)```", page, re.DOTALL)
    with seaweedfs.bucket() as bucket:
        for old, new in (
            ("https://s3.example.org", seaweedfs.url), ("AKEXAMPLE", seaweedfs.keys.access),
            ("= ...", f"= {seaweedfs.keys.secret}"), ("= images", f"= {bucket}"),
        ):
            assert old in sample
            sample = sample.replace(old, new)
        (tmp_path / "stores.conf").write_text(sample)
        store = writer(tmp_path)
        key = str(uuid4())
        store.add(key, [DATA], None)
        with closing(store.open(key)) as blob:
            assert b"".join(blob) == DATA
