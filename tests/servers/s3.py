"""What tests need of every S3 server: credentials, clients and buckets."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from uuid import uuid4


@dataclass(frozen=True, slots=True)
class S3Keys:
    """Credentials of a user of the server."""

    access: str
    secret: str = field(repr=False)


def new_keys() -> S3Keys:
    """Return credentials that no other user has."""
    return S3Keys(f"AK{uuid4().hex[:18].upper()}", uuid4().hex)


@cache
def s3_client(url: str, keys: S3Keys) -> Any:
    """Return a boto3 client of a server, the same one each time; threads may share it."""
    # Imported here, because this module is loaded by every test run. A session of its own: making clients of the
    # shared one is not safe in threads.
    import boto3
    from botocore.config import Config

    return boto3.session.Session().client(
        "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id=keys.access,
        aws_secret_access_key=keys.secret,
        config=Config(s3={"addressing_style": "path"}, proxies={}, retries={"total_max_attempts": 3}),
    )


class Buckets:
    """The buckets of a server that tests get, each empty, and for one test at a time.

    Empty ones are given out again: the first object of a new one takes SeaweedFS a quarter of a second.
    """

    def __init__(self) -> None:
        self._empty: deque[str] = deque()

    @contextmanager
    def one(self, client: Any) -> Iterator[str]:
        """Give the name of an empty bucket for the block."""
        if self._empty:
            name = self._empty.popleft()
        else:
            name = f"images-{uuid4().hex[:12]}"
            client.create_bucket(Bucket=name)
        try:
            yield name
        finally:
            with suppress(client.exceptions.NoSuchBucket):
                _empty(client, name)
                self._empty.append(name)


def remove_bucket(client: Any, name: str) -> None:
    """Remove a bucket with all that is in it; nothing happens when there is none."""
    with suppress(client.exceptions.NoSuchBucket):
        _empty(client, name)
        client.delete_bucket(Bucket=name)


def _empty(client: Any, name: str) -> None:
    for upload in client.list_multipart_uploads(Bucket=name).get("Uploads", []):
        client.abort_multipart_upload(Bucket=name, Key=upload["Key"], UploadId=upload["UploadId"])
    while objects := client.list_objects_v2(Bucket=name).get("Contents"):
        for found in objects:
            client.delete_object(Bucket=name, Key=found["Key"])
