"""Options of the swift driver, parsed and checked (configuration section 1.7, stores section 6)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from oslo_config import cfg

from glance_common.stores.drivers.swift.logins import BadLogin, SwiftLogin, login_of_options, read_references
from glance_common.stores.settings import StoreSettings

MIB = 1024 * 1024
_URL = re.compile(r"https?://[^/@\s?#]+/[^\s?#]+")
_CONTAINER = re.compile(r"[^/\x00-\x1f]{1,220}")

_NO_BUFFER = "uploads pass through and need no space on a disk"

OPTIONS: list[cfg.Opt] = [
    cfg.StrOpt(
        "swift_store_auth_version", default="3", choices=["1", "1.0", "2", "2.0", "3"],
        help="Version of the protocol in which the service logs in: 3 and 2 are Keystone's, 1 is Swift's own.",
    ),
    cfg.StrOpt(
        "swift_store_auth_address",
        help="Address of the service that gives tokens, such as https://keystone.example.org/v3. Without a scheme it "
        "is asked by https.",
    ),
    cfg.StrOpt("swift_store_user", secret=True, help="Who the service logs in as: project:user (account:user in v1)."),
    cfg.StrOpt("swift_store_key", secret=True, help="Password of swift_store_user."),
    cfg.StrOpt(
        "swift_store_application_credential_id", secret=True,
        help="Application credential to log in with instead of user and key; only with version 3.",
    ),
    cfg.StrOpt(
        "swift_store_application_credential_secret", secret=True, help="Secret of the application credential."
    ),
    cfg.StrOpt("swift_store_project_name", help="Project of swift_store_user, when that names none."),
    cfg.StrOpt("swift_store_project_id", help="As swift_store_project_name, by id."),
    cfg.StrOpt(
        "swift_store_config_file",
        help="File with accounts, such as glance-swift.conf: one section each, with auth_address, user and key. "
        "Images are written to the one that default_swift_reference names, and read from all.",
    ),
    cfg.StrOpt("default_swift_reference", default="ref1", help="Section of swift_store_config_file to write to."),
    cfg.StrOpt("swift_store_region", help="Region of the catalog whose Swift is used; without it the first one."),
    cfg.StrOpt(
        "swift_store_endpoint",
        help="URL of the account, up to the container, to use instead of the one that the login tells.",
    ),
    cfg.StrOpt(
        "swift_store_endpoint_type", default="publicURL",
        choices=["publicURL", "internalURL", "adminURL", "public", "internal", "admin"],
        help="Which address of the catalog is used.",
    ),
    cfg.StrOpt("swift_store_service_type", default="object-store", help="Type of the service in the catalog."),
    cfg.StrOpt(
        "swift_store_container", default="glance",
        help="Container of the image data. It may hold objects of others as well.",
    ),
    cfg.BoolOpt(
        "swift_store_create_container_on_put", default=False,
        help="Create the container at the first upload when it does not exist. A container that was used before is "
        "never created again: it would look as if all images were gone.",
    ),
    cfg.IntOpt(
        "swift_store_multiple_containers_seed", default=0, min=0, max=32,
        help="Spread images over several containers: so many characters of the image id are added to the name of the "
        "container. 0: all images are in one.",
    ),
    cfg.BoolOpt(
        "swift_store_multi_tenant", default=False,
        help="Keep the data of each image in a container of its own, in the account of the project that uploads it. "
        "The user of the store needs the right to use these accounts.",
    ),
    cfg.ListOpt(
        "swift_store_admin_tenants", default=[],
        help="With swift_store_multi_tenant: projects whose users may read and write the containers of all images.",
    ),
    cfg.IntOpt(
        "swift_store_large_object_size", default=5120, min=1,
        help="MiB from which an image is sent in segments. Smaller ones are one object.",
    ),
    cfg.IntOpt(
        "swift_store_large_object_chunk_size", default=200, min=1,
        help="MiB of one segment. Segments of very large images are larger, since servers limit their number.",
    ),
    cfg.IntOpt(
        "swift_store_segments_at_once", default=1, min=1, max=20,
        help="Segments of one image that are sent at the same time. With 1 they pass through without being held in "
        "memory. With more, an upload holds up to so many of them in memory and one more; they are sent again after a "
        "fault that passes. Choose a small swift_store_large_object_chunk_size then.",
    ),
    cfg.IntOpt(
        "swift_store_retry_get_count", default=0, min=0,
        help="Times that a download whose connection broke goes on at the byte where it broke.",
    ),
    cfg.IntOpt(
        "swift_store_expire_soon_interval", default=60, min=0,
        help="Seconds before the end of a token from which the service takes a new one.",
    ),
    cfg.BoolOpt(
        "swift_store_auth_insecure", default=False,
        help="Do not check the certificates of the servers. Who is in between can read and change everything.",
    ),
    cfg.StrOpt(
        "swift_store_cacert",
        help="File of the CA certificates that https servers are checked with instead of the well-known ones.",
    ),
    cfg.BoolOpt(
        "swift_store_use_trusts", default=True, help="Without effect.",
        deprecated_for_removal=True,
        deprecated_reason="when the token of a caller ends in an upload, the user of the store goes on",
    ),
    cfg.BoolOpt(
        "swift_store_ssl_compression", default=True, help="Without effect.",
        deprecated_for_removal=True, deprecated_reason="TLS is never compressed",
    ),
    cfg.BoolOpt(
        "swift_buffer_on_upload", default=False, help="Without effect.",
        deprecated_for_removal=True, deprecated_reason=_NO_BUFFER,
    ),
    cfg.StrOpt(
        "swift_upload_buffer_dir", help="Without effect.",
        deprecated_for_removal=True, deprecated_reason=_NO_BUFFER,
    ),
    cfg.StrOpt(
        "swift_store_temp_url_key", secret=True,
        help="Key of the account or the container (X-Account-Meta-Temp-URL-Key) that addresses for "
        "presigned_downloads_for are signed with.",
    ),
    cfg.FloatOpt("swift_store_connect_timeout", default=10.0, min=0.1, help="Seconds to wait for a connection."),
    cfg.FloatOpt(
        "swift_store_read_timeout", default=60.0, min=0.1, help="Seconds to wait for an answer, or for the next bytes."
    ),
]


@dataclass(frozen=True, slots=True)
class SwiftTransport:
    """How servers are reached; times in seconds."""

    verify: bool | str
    connect_timeout: float
    read_timeout: float


@dataclass(frozen=True, slots=True)
class SwiftEndpoint:
    """Which Swift of the catalog is used; ``url`` is used instead of any."""

    service: str
    interface: str
    region: str | None
    url: str | None


@dataclass(frozen=True, slots=True)
class SwiftOptions:
    """The options of one swift store, checked; sizes in bytes, times in seconds.

    ``logins``: reference → login; without a file of references the only one is "".
    """

    logins: Mapping[str, SwiftLogin]
    reference: str
    endpoint: SwiftEndpoint
    transport: SwiftTransport
    container: str
    creates_container: bool
    seed: int
    large_object: int
    segment: int
    at_once: int
    resumes: int
    expire_soon: int
    temp_url_key: str | None = field(repr=False)
    multi_tenant: bool
    admin_projects: tuple[str, ...]

    @property
    def login(self) -> SwiftLogin:
        """The login of the account that is written to."""
        return self.logins[self.reference]


def parse(settings: StoreSettings) -> SwiftOptions:
    """Return the options of the store. Raises StoreConfigError."""
    reference, logins = parse_logins(settings)
    if settings.value("swift_store_multi_tenant") and reference:
        raise settings.refuse("swift_store_multi_tenant", "must be false when swift_store_config_file is set")
    _check_direct_reads(settings)
    return SwiftOptions(
        logins=logins,
        reference=reference,
        endpoint=SwiftEndpoint(
            service=settings.value("swift_store_service_type"),
            interface=settings.value("swift_store_endpoint_type").removesuffix("URL"),
            region=settings.value("swift_store_region") or None,
            url=_endpoint_url(settings),
        ),
        transport=SwiftTransport(
            verify=_verify(settings),
            connect_timeout=settings.value("swift_store_connect_timeout"),
            read_timeout=settings.value("swift_store_read_timeout"),
        ),
        container=parse_container(settings),
        creates_container=settings.value("swift_store_create_container_on_put"),
        seed=settings.value("swift_store_multiple_containers_seed"),
        large_object=settings.value("swift_store_large_object_size") * MIB,
        segment=settings.value("swift_store_large_object_chunk_size") * MIB,
        at_once=settings.value("swift_store_segments_at_once"),
        resumes=settings.value("swift_store_retry_get_count"),
        expire_soon=settings.value("swift_store_expire_soon_interval"),
        temp_url_key=settings.value("swift_store_temp_url_key") or None,
        multi_tenant=settings.value("swift_store_multi_tenant"),
        admin_projects=tuple(settings.value("swift_store_admin_tenants")),
    )


def parse_container(settings: StoreSettings) -> str:
    """Return the name of the container. Raises StoreConfigError."""
    container: str = settings.value("swift_store_container") or ""
    if _CONTAINER.fullmatch(container) is None or container in {".", ".."}:
        raise settings.refuse("swift_store_container", "must be a name of at most 220 characters without '/'")
    return container


def parse_logins(settings: StoreSettings) -> tuple[str, Mapping[str, SwiftLogin]]:
    """Return the reference to write to, and the login of each reference. Raises StoreConfigError."""
    file: str = settings.value("swift_store_config_file") or ""
    if not file:
        try:
            return "", {"": login_of_options(settings.value)}
        except BadLogin as bad:
            # The value may hold a password, so it is not shown.
            raise settings.refuse_secret(f"swift_store_{bad.name}", bad.rule) from None
    path = settings.conf.find_file(file) or file
    try:
        logins = read_references(Path(path), settings.value("swift_store_auth_version"))
    except BadLogin as bad:
        raise settings.refuse("swift_store_config_file", f"{bad.name}: {bad.rule}") from None
    except OSError as error:
        raise settings.refuse("swift_store_config_file", f"must be a readable file: {error.strerror}") from None
    reference: str = settings.value("default_swift_reference")
    if reference not in logins:
        allowed = f"must be one of the sections of {file}: {', '.join(logins) or 'it has none'}"
        raise settings.refuse("default_swift_reference", allowed)
    return reference, logins


def _endpoint_url(settings: StoreSettings) -> str | None:
    url: str = (settings.value("swift_store_endpoint") or "").rstrip("/")
    if url and _URL.fullmatch(url) is None:
        raise settings.refuse_secret(
            "swift_store_endpoint", "must be a URL of an account, such as https://swift.example.org/v1/AUTH_images"
        )
    return url or None


def _verify(settings: StoreSettings) -> bool | str:
    path: str = settings.value("swift_store_cacert") or ""
    if path and not Path(path).is_file():
        raise settings.refuse("swift_store_cacert", "must be a readable file of PEM certificates")
    if settings.value("swift_store_auth_insecure"):
        return False
    return path or True


def _check_direct_reads(settings: StoreSettings) -> None:
    """Refuse clients that shall read at the store when there is no key to sign addresses with."""
    own = settings.group == settings.id and settings.is_set("presigned_downloads_for")
    if own and settings.value("presigned_downloads_for") and not settings.value("swift_store_temp_url_key"):
        raise settings.refuse_secret("swift_store_temp_url_key", "must be set, as presigned_downloads_for is")
