"""Options of the s3 driver, parsed and checked (configuration section 1.7, stores section 5)."""

import re
from dataclasses import dataclass
from pathlib import Path

from oslo_config import cfg

from glance_common.stores.drivers.s3.place import BadHost, S3Place, parse_host
from glance_common.stores.settings import StoreSettings

MIB = 1024 * 1024
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
_FORMATS = {"auto": "auto", "path": "path", "virtual": "virtual", "subdomain": "virtual"}
_CHECKSUMS = ("when_required", "when_supported")

OPTIONS: list[cfg.Opt] = [
    cfg.StrOpt(
        "s3_store_host",
        help="Address of the S3 server: a name or an address, maybe with scheme, port and path. Without a scheme it is "
        "asked by http.",
    ),
    cfg.StrOpt("s3_store_region_name", default="", help="Region of the bucket; signatures name it."),
    cfg.StrOpt(
        "s3_store_access_key", secret=True,
        help="Access key. Without it boto3 looks for credentials: environment, files of AWS, the host's role.",
    ),
    cfg.StrOpt("s3_store_secret_key", secret=True, help="Secret key of s3_store_access_key."),
    cfg.StrOpt("s3_store_bucket", help="Bucket of the image data. It may hold objects of others as well."),
    cfg.BoolOpt(
        "s3_store_create_bucket_on_put", default=False,
        help="Create the bucket at the first upload when it does not exist. A bucket that was used before is never "
        "created again: it would look as if all images were gone.",
    ),
    cfg.StrOpt(
        "s3_store_bucket_url_format", default="auto",
        help="How URLs name the bucket: path (host/bucket), virtual (bucket.host; subdomain means the same), or auto.",
    ),
    cfg.IntOpt(
        "s3_store_large_object_size", default=100, min=1, max=5120,
        help="MiB from which an image is sent in parts. An image that is larger than one part is sent in parts in any "
        "case: an upload never holds more in memory.",
    ),
    cfg.IntOpt(
        "s3_store_large_object_chunk_size", default=10, min=5, max=5120,
        help="MiB of one part. Parts of very large images are larger, since there are at most 10 000.",
    ),
    cfg.IntOpt(
        "s3_store_thread_pools", default=10, min=1, max=100,
        help="Parts of one image that are sent at the same time. The uploads of a process together hold so many parts "
        "in memory, and each of them up to two more.",
    ),
    cfg.StrOpt(
        "s3_store_cacert", default="",
        help="File of the CA certificates that an https server is checked with instead of the well-known ones.",
    ),
    cfg.BoolOpt(
        "s3_store_enable_data_integrity_protection", default=False,
        help="Take the two checksum options as they are set; otherwise both are when_required.",
    ),
    cfg.StrOpt(
        "s3_store_request_checksum_calculation", default="when_required", choices=_CHECKSUMS,
        help="When uploads carry a checksum of their own. Some servers, for example Ceph's, refuse those over https.",
    ),
    cfg.StrOpt(
        "s3_store_response_checksum_validation", default="when_required", choices=_CHECKSUMS,
        help="When whole downloads are compared with a checksum that the server sends.",
    ),
    cfg.FloatOpt("s3_store_connect_timeout", default=10.0, min=0.1, help="Seconds to wait for a connection."),
    cfg.FloatOpt(
        "s3_store_read_timeout", default=60.0, min=0.1, help="Seconds to wait for an answer, or for the next bytes."
    ),
]


@dataclass(frozen=True, slots=True)
class S3Credentials:
    """The two keys. None in their place: boto3 finds some by itself."""

    access: str
    secret: str

    def __repr__(self) -> str:
        return "S3Credentials(***)"


@dataclass(frozen=True, slots=True)
class S3Options:
    """The options of one s3 store, checked; sizes in bytes, times in seconds."""

    place: S3Place
    region: str | None
    credentials: S3Credentials | None
    creates_bucket: bool
    addressing: str
    large_object: int
    part: int
    at_once: int
    verify: bool | str
    request_checksums: str
    response_checksums: str
    connect_timeout: float
    read_timeout: float


def parse(settings: StoreSettings) -> S3Options:
    """Return the options of the store. Raises StoreConfigError."""
    place = parse_place(settings)
    request, response = _checksums(settings)
    return S3Options(
        place=place,
        region=settings.value("s3_store_region_name") or None,
        credentials=_credentials(settings),
        creates_bucket=settings.value("s3_store_create_bucket_on_put"),
        addressing=_addressing(settings),
        large_object=settings.value("s3_store_large_object_size") * MIB,
        part=settings.value("s3_store_large_object_chunk_size") * MIB,
        at_once=settings.value("s3_store_thread_pools"),
        verify=_verify(settings, place),
        request_checksums=request,
        response_checksums=response,
        connect_timeout=settings.value("s3_store_connect_timeout"),
        read_timeout=settings.value("s3_store_read_timeout"),
    )


def parse_place(settings: StoreSettings) -> S3Place:
    """Return server and bucket of the store. Raises StoreConfigError."""
    host = (settings.value("s3_store_host") or "").strip()
    if not host:
        raise settings.refuse("s3_store_host", "must be set")
    bucket = (settings.value("s3_store_bucket") or "").strip()
    if _BUCKET.fullmatch(bucket) is None:
        raise settings.refuse("s3_store_bucket", "must be set to the name of a bucket")
    try:
        secure, server = parse_host(host)
    except BadHost as error:
        # The value may hold a password, so it is not shown.
        raise settings.refuse_secret("s3_store_host", str(error)) from None
    return S3Place(secure, server, bucket)


def _credentials(settings: StoreSettings) -> S3Credentials | None:
    access, secret = (settings.value(name) or "" for name in ("s3_store_access_key", "s3_store_secret_key"))
    if bool(access) != bool(secret):
        missing = "s3_store_secret_key" if access else "s3_store_access_key"
        raise settings.refuse_secret(missing, "must be set, as the other key is; or leave both to boto3")
    return S3Credentials(access, secret) if access else None


def _checksums(settings: StoreSettings) -> tuple[str, str]:
    request: str = settings.value("s3_store_request_checksum_calculation")
    response: str = settings.value("s3_store_response_checksum_validation")
    protected: bool = settings.value("s3_store_enable_data_integrity_protection")
    return (request, response) if protected else (_CHECKSUMS[0], _CHECKSUMS[0])


def _addressing(settings: StoreSettings) -> str:
    text: str = settings.value("s3_store_bucket_url_format").lower()
    if text not in _FORMATS:
        raise settings.refuse("s3_store_bucket_url_format", f"must be one of {', '.join(_FORMATS)}")
    return _FORMATS[text]


def _verify(settings: StoreSettings, place: S3Place) -> bool | str:
    path: str = settings.value("s3_store_cacert")
    if not path:
        return True
    if not Path(path).is_file():
        raise settings.refuse("s3_store_cacert", "must be a readable file of PEM certificates")
    if not place.secure:
        raise settings.refuse("s3_store_cacert", "has no effect without https:// in s3_store_host")
    return path
