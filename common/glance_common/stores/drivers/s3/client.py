"""The calls to an S3 server: boto3's core, set up for one bucket. The only module here that needs the library."""

import os
from collections.abc import Callable
from functools import cache, partial
from typing import Any, TypeVar

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.loaders import Loader
from botocore.parsers import ResponseParserError
from botocore.session import Session
from urllib3.exceptions import HTTPError

from glance_common.fetch.exchanges import Exchanges
from glance_common.fetch.guards import ExchangeLimits, Guard
from glance_common.stores.drivers.s3.errors import MISSING_KEY, S3Failed, too_slow, translated
from glance_common.stores.drivers.s3.guarding import guard_client
from glance_common.stores.drivers.s3.options import S3Options
from glance_common.stores.room import SharedRoom

_FAILURES = (BotoCoreError, ClientError, ResponseParserError, HTTPError, OSError)
_CONNECTIONS = 128
"""Kept open for the next calls; more than that may be open."""

_LARGEST_DOCUMENT = 16 * 1024 * 1024
"""Bytes of the largest answer but data: some servers list 10 000 uploads at a time."""

_SLOWEST = 64 * 1024
"""Bytes a second that a server takes in at least."""

_READS_OF_A_COMPLETION = 10
"""Times of a read that joining the parts may take: a server that works on it sends blanks meanwhile."""

_WINDOW = 60.0
"""Seconds of waiting over which the rate of incoming data is averaged."""

T = TypeVar("T")


class S3Bucket:
    """The bucket of one store. Calls raise S3Failed, and StoreFull when there is no room."""

    def __init__(self, options: S3Options) -> None:
        self._options = options
        self._place = options.place
        self._made: tuple[int, Any] | None = None
        self._exchanges = Exchanges()
        self.room = SharedRoom(options.part * options.at_once)
        """Memory for parts that are sent. It stays the same for several uploads and for larger parts: fewer are on
        their way then."""
        self.knows_conditions = True
        """Whether the server takes If-None-Match; set to False when it says so."""

    def call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """Return the answer to an operation, named as boto3 names it. It has to come whole in the time of a read, with
        more for the data that are sent."""
        method = getattr(self._client(), operation)
        guard = self._exchanges.begin(self._limits(operation, parameters.get("ContentLength", 0)))
        act = partial(method, Bucket=self._place.bucket, **parameters)
        answer: dict[str, Any] = self._guarded(operation, act, guard)
        return answer

    def get(self, **parameters: Any) -> "S3Body":
        """Return the answer to ``get_object``, whose data are still to be read."""
        method = self._client().get_object
        guard = self._exchanges.begin(self._limits("get_object", 0))
        answer = self._guarded("get_object", partial(method, Bucket=self._place.bucket, **parameters), guard)
        guard.begin_body(document=False)
        return S3Body(self, answer, guard)

    def head(self, key: str) -> dict[str, Any] | None:
        """Return what the server says about an object, None when it has none. That alone proves nothing."""
        try:
            return self.call("head_object", Key=key)
        except S3Failed as failed:
            if failed.code in MISSING_KEY:
                return None
            raise

    def read(self, body: "S3Body", size: int) -> bytes:
        """Return the next ``size`` bytes of a body, in any thread; fewer only at its end. Raises S3Failed."""
        self._exchanges.go_on(body.guard)
        body.guard.begin_read()
        piece: bytes = b""
        try:
            piece = self._guarded("read", partial(body.answer["Body"].read, size), body.guard)
        finally:
            body.guard.end_read(len(piece))
        return piece

    def _limits(self, operation: str, data: int) -> ExchangeLimits:
        options = self._options
        reads = _READS_OF_A_COMPLETION if operation == "complete_multipart_upload" else 1
        return ExchangeLimits(
            connect=options.connect_timeout, idle=options.read_timeout,
            answer=options.connect_timeout + options.read_timeout * reads + data / _SLOWEST,
            document=_LARGEST_DOCUMENT, window=_WINDOW,
        )

    def presign(self, key: str, seconds: int) -> str:
        """Return a signed URL for reading the object."""
        # Without the type the server takes one of its own, and the client glance reads data of no other one.
        parameters = {"Bucket": self._place.bucket, "Key": key, "ResponseContentType": "application/octet-stream"}
        sign = self._client().generate_presigned_url
        url: str = self._guarded("presign", partial(sign, "get_object", Params=parameters, ExpiresIn=seconds))
        return url

    def _guarded(self, operation: str, act: Callable[[], T], guard: Guard | None = None) -> T:
        try:
            return act()
        except _FAILURES as error:
            # Not chained: texts of these errors may hold what was sent.
            if guard is not None and guard.reason is not None:
                raise too_slow(guard.reason, operation, self._place.name) from None
            raise translated(error, operation, self._place.name) from None

    def _client(self) -> Any:
        """Return the client of this process: after a fork connections cannot be shared. Threads share it.

        Two threads may make one at the same moment; the later one stays.
        """
        made = self._made
        if made is None or made[0] != os.getpid():
            client = self._guarded("connect", partial(_new_client, self._options))
            guard_client(client, self._exchanges, self._options.verify)
            self._made = made = (os.getpid(), client)
        return made[1]


class S3Body:
    """The answer to ``get_object``."""

    def __init__(self, bucket: S3Bucket, answer: dict[str, Any], guard: Guard) -> None:
        self.answer = answer
        self.guard = guard
        self._bucket = bucket

    def read(self, size: int) -> bytes:
        """Return the next ``size`` bytes, in any thread; fewer only at the end. Raises S3Failed."""
        return self._bucket.read(self, size)

    def close(self) -> None:
        """Give the connection back, or end it when data are still to come."""
        self.answer["Body"].close()


def _new_client(options: S3Options) -> Any:
    keys = options.credentials
    # A session of its own: one is not safe in threads, and remembers the credentials that it found.
    session = Session()
    session.register_component("data_loader", _models())
    return session.create_client(
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


@cache
def _models() -> Loader:
    """Return what reads the description of the S3 protocol, and keeps it: for each client anew it would be 12 MB."""
    loader: Loader = Session().get_component("data_loader")
    return loader


def _payload(options: S3Options) -> dict[str, bool]:
    """Data need no digest of their own in the signature where TLS protects them."""
    return {"payload_signing_enabled": False} if options.place.secure else {}
