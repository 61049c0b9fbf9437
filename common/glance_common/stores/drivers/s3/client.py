"""The calls to an S3 server: boto3, set up for one bucket. The only module here that needs the library."""

import os
from collections.abc import Callable
from typing import Any, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from glance_common.stores.drivers.s3.errors import MISSING_KEY, S3Failed, translated
from glance_common.stores.drivers.s3.options import S3Options

_FAILURES = (BotoCoreError, ClientError, ResponseParserError, HTTPError, OSError)
_CONNECTIONS = 128
"""Kept open for the next calls; more than that may be open."""

T = TypeVar("T")


class S3Bucket:
    """The bucket of one store. Calls raise S3Failed, and StoreFull when there is no room."""

    def __init__(self, options: S3Options) -> None:
        self._options = options
        self._place = options.place
        self._made: tuple[int, Any] | None = None
        self.knows_conditions = True
        """Whether the server takes If-None-Match; set to False when it says so."""

    def call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """Return the answer to an operation, named as boto3 names it."""
        method = getattr(self._client(), operation)
        answer: dict[str, Any] = self._guarded(operation, lambda: method(Bucket=self._place.bucket, **parameters))
        return answer

    def head(self, key: str) -> dict[str, Any] | None:
        """Return what the server says about an object, None when it has none. That alone proves nothing."""
        try:
            return self.call("head_object", Key=key)
        except S3Failed as failed:
            if failed.code in MISSING_KEY:
                return None
            raise

    def read(self, body: Any, size: int) -> bytes:
        """Return the next ``size`` bytes of the body of an answer; fewer only at its end."""
        piece: bytes = self._guarded("read", lambda: body.read(size))
        return piece

    def presign(self, key: str, seconds: int) -> str:
        """Return a signed URL for reading the object."""
        parameters = {"Bucket": self._place.bucket, "Key": key}
        sign = self._client().generate_presigned_url
        url: str = self._guarded("presign", lambda: sign("get_object", Params=parameters, ExpiresIn=seconds))
        return url

    def _guarded(self, operation: str, act: Callable[[], T]) -> T:
        try:
            return act()
        except _FAILURES as error:
            # Not chained: texts of these errors may hold what was sent.
            raise translated(error, operation, self._place.name) from None

    def _client(self) -> Any:
        """Return the client of this process: after a fork connections cannot be shared. Threads share it.

        Two threads may make one at the same moment; the later one stays.
        """
        made = self._made
        if made is None or made[0] != os.getpid():
            client = self._guarded("connect", lambda: _new_client(self._options))
            self._made = made = (os.getpid(), client)
        return made[1]


def _new_client(options: S3Options) -> Any:
    keys = options.credentials
    # A session of its own: the shared one is not safe in threads.
    return boto3.session.Session().client(
        "s3",
        endpoint_url=options.place.endpoint,
        region_name=options.region,
        verify=options.verify,
        aws_access_key_id=keys.access if keys else None,
        aws_secret_access_key=keys.secret if keys else None,
        config=Config(
            signature_version="s3v4",
            connect_timeout=options.connect_timeout,
            read_timeout=options.read_timeout,
            # Who calls the store tries again: twice in two places would be four times.
            retries={"mode": "standard", "total_max_attempts": 1},
            max_pool_connections=_CONNECTIONS,
            tcp_keepalive=True,
            # None would be the proxies of the environment.
            proxies={},
            s3={"addressing_style": options.addressing} | _payload(options),
            request_checksum_calculation=options.request_checksums,
            response_checksum_validation=options.response_checksums,
        ),
    )


def _payload(options: S3Options) -> dict[str, bool]:
    """Data need no digest of their own in the signature where TLS protects them."""
    return {"payload_signing_enabled": False} if options.place.secure else {}
