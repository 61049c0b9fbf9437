"""Faults put between the s3 driver and real S3 servers: nothing is lost, and nothing is left."""

import logging
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError
from tests.conformance.s3_kit import MIB, MakeS3

from glance_common.stores.conformance.harness import DATA
from glance_common.stores.contract import BlobExists, BlobNotFound, StoreUnavailable
from glance_common.stores.drivers.s3 import reading, upload
from glance_common.stores.drivers.s3.client import S3Body, S3Bucket
from glance_common.stores.drivers.s3.errors import S3Failed


class Fault:
    """Makes the n-th call of an operation fail with an error of botocore, before or after it reached the server."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch
        self.calls: list[str] = []
        self.fired = 0

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
                    if not fails:
                        return act(**parameters)
                    owner.fired += 1
                    if after:
                        with suppress(ClientError):
                            answer = act(**parameters)
                            if "Body" in answer:
                                answer["Body"].close()
                    raise error

                return called

        self._patch.setattr(S3Bucket, "_client", lambda bucket: Client(inner(bucket)))


@pytest.fixture
def fault(monkeypatch: pytest.MonkeyPatch) -> Fault:
    """Faults of calls; pauses before further tries are none."""
    monkeypatch.setattr(upload, "_PAUSES", (0.0, 0.0))
    return Fault(monkeypatch)


def answer_of(code: str, status: int) -> Exception:
    return ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "operation")


def broken() -> Exception:
    return ConnectionClosedError(endpoint_url="http://server/")


@pytest.mark.parametrize(
    ("operation", "size"),
    [("get_object", 1000), ("head_object", 1000), ("put_object", 1000), ("create_multipart_upload", 11 * MIB),
     ("upload_part", 11 * MIB), ("complete_multipart_upload", 11 * MIB)],
)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_passing_fault_is_overcome(make_s3: MakeS3, fault: Fault, operation: str, size: int, after: bool):
    """Also when the data arrived and only the answer was lost: the second try must not take them for others'."""
    harness = make_s3()
    fault.at(operation, broken(), number=2 if operation == "upload_part" else 1, after=after)
    data = (DATA * 10)[:size]
    key = harness.new_key()
    assert harness.store.add(key, [data], None).size == size
    assert fault.fired == 1
    assert harness.read(key) == data
    harness.store.delete(key)
    assert (harness.objects(), harness.unfinished()) == ([], [])


def test_a_completion_whose_answers_are_all_lost(make_s3: MakeS3, fault: Fault):
    harness = make_s3()
    fault.at("complete_multipart_upload", answer_of("SlowDown", 503), after=True, times=100)
    key = harness.new_key()
    assert harness.store.add(key, [bytes(11 * MIB)], None).size == 11 * MIB
    assert harness.store.size(key) == 11 * MIB


@pytest.mark.parametrize("operation", ["create_multipart_upload", "upload_part", "complete_multipart_upload"])
@pytest.mark.parametrize(("code", "status"), [("SlowDown", 503), ("AccessDenied", 403)])
def test_a_fault_that_stays_leaves_nothing(make_s3: MakeS3, fault: Fault, operation: str, code: str, status: int):
    harness = make_s3()
    fault.at(operation, answer_of(code, status), times=100)
    with pytest.raises(StoreUnavailable, match=code):
        harness.store.add(harness.new_key(), [bytes(11 * MIB)], None)
    assert (harness.objects(), harness.unfinished()) == ([], [])


def test_parts_that_cannot_be_removed_are_logged_and_go_with_the_key(
    make_s3: MakeS3, fault: Fault, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    harness = make_s3()
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
def test_servers_without_conditions_are_asked_before(make_s3: MakeS3, fault: Fault, size: int):
    harness = make_s3()
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
def test_a_key_that_is_taken_in_the_meantime_keeps_its_data(make_s3: MakeS3, size: int):
    harness = make_s3()
    key = harness.new_key()

    def pieces() -> Iterator[bytes]:
        yield bytes(size)
        harness.client.put_object(Bucket=harness.bucket, Key=key, Body=b"the first")

    with pytest.raises(BlobExists):
        harness.store.add(key, pieces(), None)
    assert harness.read(key) == b"the first"
    assert harness.unfinished() == []


def test_a_read_never_goes_on_with_other_data(make_s3: MakeS3, monkeypatch: pytest.MonkeyPatch):
    """The object is replaced behind the store while a read is broken off: no byte of the other one comes."""
    harness = make_s3()
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


def test_a_read_that_breaks_again_and_again_without_a_byte_ends(make_s3: MakeS3, monkeypatch: pytest.MonkeyPatch):
    harness = make_s3()
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
