"""The s3 driver: one bucket of one server (stores section 5)."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from oslo_config import cfg

from glance_common.stores.base import BaseStore, StreamBlob
from glance_common.stores.contract import (
    BlobExists,
    BlobNotFound,
    Capabilities,
    Stored,
    StoredObject,
    StoreUnavailable,
    WriteDenied,
    is_key,
    require_key,
    require_range,
)
from glance_common.stores.drivers.s3 import options as s3_options
from glance_common.stores.drivers.s3.errors import MISSING_KEY, S3Failed
from glance_common.stores.drivers.s3.options import MIB, S3Options
from glance_common.stores.drivers.s3.place import SCHEMES
from glance_common.stores.drivers.s3.reading import open_object
from glance_common.stores.drivers.s3.upload import TAKEN, S3Upload, insist
from glance_common.stores.place_mark import NAME, PlaceMark
from glance_common.stores.settings import Identities, StoreConfigError, StoreSettings, Traits

if TYPE_CHECKING:
    from glance_common.stores.drivers.s3.client import S3Bucket

PAGE = 1000
"""Objects that one listing asks for: the most that servers give."""

_LONGEST_MARK = 100
_ABORTS = 5
"""Rounds of listing and aborting uploads: parts under way may come in after the first one."""


class S3Store(BaseStore):
    """Objects in a bucket; fulfils ``contract.Store`` and ``settings.Driver``."""

    kind = "s3"
    traits = Traits(remote=True, one_peer=True, place_option="s3_store_bucket")
    capabilities = Capabilities(schemes=SCHEMES, add=True, delete=True, ranges=True, walk=True, presign=True)

    def __init__(self, settings: StoreSettings, options: S3Options, bucket: "S3Bucket", identities: Identities) -> None:
        super().__init__(settings, identities)
        self._options = options
        self._place = options.place
        self._bucket = bucket
        self._mark = PlaceMark(
            self.id, self._place.name, identities, read=self._read_mark, write=self._write_mark
        )

    @classmethod
    def options(cls) -> Sequence[cfg.Opt]:
        """Return the options of one s3 store."""
        return s3_options.OPTIONS

    @classmethod
    def build(cls, settings: StoreSettings, identities: Identities) -> Self:
        """Return the store. Raises StoreConfigError for bad options, and when boto3 is not installed."""
        options = s3_options.parse(settings)
        try:
            from glance_common.stores.drivers.s3.client import S3Bucket
        except ImportError:
            raise StoreConfigError(
                settings.group, "s3_store_host", settings.value("s3_store_host"),
                "needs the package boto3: pip install glance-services[s3]",
            ) from None
        return cls(settings, options, S3Bucket(options), identities)

    @classmethod
    def places(cls, settings: StoreSettings) -> Sequence[str]:
        """Return server and bucket. Raises StoreConfigError."""
        return [s3_options.parse_place(settings).name]

    def add(self, key: str, pieces: Iterable[bytes], size: int | None) -> Stored:
        """See the contract. An object appears whole or not at all."""
        require_key(key)
        insist(self._prove_or_create)
        if insist(partial(self._bucket.head, key)) is not None:
            raise BlobExists(f"{self._place.name}: {key} is there")
        try:
            return Stored(S3Upload(self._bucket, self._options, key).write(pieces, size), {})
        except S3Failed as failed:
            if failed.code in {"AccessDenied", "403"}:
                raise WriteDenied(str(failed)) from None
            raise

    def open(self, key: str, offset: int = 0, length: int | None = None) -> StreamBlob:
        """See the contract."""
        require_key(key)
        require_range(offset, length)
        blob = open_object(self._bucket, key, offset, length)
        if blob is None:
            raise self._missing(key)
        return blob

    def size(self, key: str) -> int:
        """See the contract."""
        require_key(key)
        try:
            found = self._bucket.head(key)
        except S3Failed as failed:
            if not failed.silent:
                # The answer to HEAD has no words; the one to this says what is wrong.
                self._mark.prove()
            raise
        if found is None:
            raise self._missing(key)
        size: int = found["ContentLength"]
        return size

    def delete(self, key: str) -> None:
        """See the contract. Uploads of the key that are under way are stopped."""
        require_key(key)
        self._mark.prove()
        self._abort_uploads(key)
        if self._bucket.head(key) is None:
            raise BlobNotFound(f"{self._place.name}: there is no {key}")
        self._bucket.call("delete_object", Key=key)

    def url(self, key: str) -> str:
        """See the contract."""
        require_key(key)
        return self._place.url(key)

    def key_of(self, url: str) -> str | None:
        """See the contract. URLs of older installations with credentials are understood; these are ignored (STO-22)."""
        return self._place.key_of(url)

    def details(self) -> dict[str, Any]:
        """Return the sizes in MiB from which and in which images are cut, and how many parts are sent at a time."""
        return {
            "s3_store_large_object_size": self._options.large_object // MIB,
            "s3_store_large_object_chunk_size": self._options.part // MIB,
            "s3_store_thread_pools": self._options.at_once,
        }

    def identity(self) -> str:
        """See the contract."""
        return self._mark.prove()

    def walk(self, after: str | None = None) -> Iterator[StoredObject]:
        """See the contract."""
        self._mark.prove()
        while True:
            begin = after or ""
            page = self._bucket.call("list_objects_v2", MaxKeys=PAGE, StartAfter=begin)
            for found in page.get("Contents", ()):
                after = found["Key"]
                if is_key(after):
                    yield StoredObject(after, found["Size"], found["LastModified"].timestamp())
            if not page.get("IsTruncated"):
                return
            if (after or "") <= begin:
                raise StoreUnavailable(f"{self._place.name}: the list of objects does not go on behind {after}")

    def presign(self, key: str, seconds: int) -> str | None:
        """See the contract."""
        require_key(key)
        return self._bucket.presign(key, seconds)

    def _missing(self, key: str) -> BlobNotFound:
        """Return the error for a missing object, after the proof that this is the right bucket."""
        self._mark.prove()
        return BlobNotFound(f"{self._place.name}: there is no {key}")

    def _abort_uploads(self, key: str) -> None:
        for _ in range(_ABORTS):
            uploads = list(self._uploads(key))
            if not uploads:
                return
            for upload in uploads:
                try:
                    self._bucket.call("abort_multipart_upload", Key=key, UploadId=upload)
                except S3Failed as failed:
                    if failed.code != "NoSuchUpload":
                        raise
        raise StoreUnavailable(f"{self._place.name}: uploads of {key} come back after they were aborted")

    def _uploads(self, key: str) -> Iterator[str]:
        """Yield the ids of the unfinished uploads of exactly this key; later attempts have it as a prefix."""
        markers: dict[str, str] = {}
        while True:
            page = self._bucket.call("list_multipart_uploads", Prefix=key, **markers)
            yield from (upload["UploadId"] for upload in page.get("Uploads", ()) if upload["Key"] == key)
            if not page.get("IsTruncated"):
                return
            begin = {name: page.get(f"Next{name}", "") for name in ("KeyMarker", "UploadIdMarker")}
            if begin == markers:
                raise StoreUnavailable(f"{self._place.name}: the list of uploads does not end")
            markers = begin

    def _prove_or_create(self) -> None:
        """Prove the bucket; create it where that is wanted, but never one that was used before."""
        try:
            self._mark.prove()
        except S3Failed as failed:
            is_new = self._options.creates_bucket and failed.code == "NoSuchBucket"
            if not is_new or self.identities.known(self.id, self._place.name) is not None:
                raise
            self._create_bucket()
            self._mark.prove()

    def _create_bucket(self) -> None:
        region = self._options.region
        place = {} if region in {None, "us-east-1"} else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        try:
            self._bucket.call("create_bucket", **place)
        except S3Failed as failed:
            if failed.code != "BucketAlreadyOwnedByYou":
                raise

    def _read_mark(self) -> str | None:
        try:
            body = self._bucket.get(Key=NAME)
        except S3Failed as failed:
            if failed.code in MISSING_KEY:
                return None
            raise
        try:
            return body.read(_LONGEST_MARK).decode(errors="replace")
        finally:
            body.close()

    def _write_mark(self, identity: str, *, replace: bool) -> None:
        conditions = {} if replace or not self._bucket.knows_conditions else {"IfNoneMatch": "*"}
        try:
            self._bucket.call("put_object", Key=NAME, Body=identity.encode(), **conditions)
        except S3Failed as failed:
            if failed.code == "NotImplemented":
                self._bucket.knows_conditions = False
                self._write_mark(identity, replace=True)
            elif failed.code not in TAKEN:
                raise
