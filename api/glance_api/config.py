"""The options of glance-api: names, groups and defaults of the original's ``glance-api.conf``, and a few of our own.

The table holds what the daemons share as well; the options of a store are in its driver.
"""

from oslo_config import cfg, types

from glance_api.cache import settings as cache_settings
from glance_api.clients import key_manager
from glance_api.http.middleware import cors_opts
from glance_api.imports import options as import_options
from glance_api.imports import settings as import_settings
from glance_api.services.limits import ByteCount
from glance_api.transfers import accel
from glance_common import health_switches, server
from glance_common.config import loading, paste
from glance_common.config.loading import OptionTable
from glance_common.config.log_options import FORMAT_OPTS, LOG_OPTS
from glance_common.notifications import options as notifications
from glance_common.observability import profiling
from glance_common.stores import loader, reserved

MAX_IMAGE_SIZE = 2**63 - 1
"""Bytes; the largest number that the size columns hold (S-56)."""

API_OPTS: list[cfg.Opt] = [
    cfg.StrOpt(
        "public_endpoint",
        help="URL under which clients reach this service: it stands in the versions document, and its path in the "
        "Location of what they create. Unset: the URL of the request.",
    ),
    cfg.BoolOpt("enable_v1_api", default=True, help="Serve the Images API v1, for clients that know nothing newer."),
    cfg.BoolOpt("allow_anonymous_access", default=False, help="Let callers without identity read what policy allows."),
    cfg.IntOpt(
        "max_request_id_length", default=64, min=0,
        help="Longest X-Openstack-Request-ID that is accepted from a client; 0 = no limit.",
    ),
    cfg.IntOpt("limit_param_default", default=25, min=1, help="Images on a page when the request has no limit."),
    cfg.IntOpt(
        "api_limit_max", default=1000, min=1,
        help="Most images on one page. A page ends at 10000 rows all the same, and at max_page_bytes of "
        "glance-registry; the next link goes on from there.",
    ),
    cfg.IntOpt(
        "max_json_body", default=1024 * 1024, min=1024,
        help="Largest JSON body of a request, in bytes. The original has no such limit.",
    ),
    cfg.BoolOpt(
        "compress_documents", default=False,
        help="Send JSON documents compressed to clients that accept gzip. Saves network, costs processor time; image "
        "data are never compressed.",
    ),
    cfg.IntOpt(
        "max_image_document", default=512 * 1024, min=4096, max=8 * 1024 * 1024,
        help="Largest image document, in bytes: name, properties and tags together; glance-registry, which has an "
        "option of this name too, counts locations as well. An image that is larger already may become smaller only.",
    ),
    cfg.IntOpt("image_member_quota", default=128, help="Most members of an image; negative = unlimited."),
    cfg.IntOpt("image_property_quota", default=128, help="Most properties of an image; negative = unlimited."),
    cfg.IntOpt("image_tag_quota", default=128, help="Most tags of an image; negative = unlimited."),
    cfg.Opt(
        "user_storage_quota", type=ByteCount(), default=0,
        help="Most bytes that the images of one owner may have in stores, each copy counted: a number, optionally "
        "followed by B, KB, MB, GB or TB (powers of 1024), without a space; 0 = no limit.",
    ),
    cfg.BoolOpt(
        "use_keystone_limits", default=False,
        help="Take limits from Keystone instead of user_storage_quota: image_size_total, image_stage_total (MiB), "
        "image_count_total and image_count_uploading, registered for the endpoint that [oslo_limit] names.",
    ),
    cfg.BoolOpt(
        "show_image_direct_url", default=False,
        help="Show direct_url, the address of the data in the store. A user who knows it may change the data on some "
        "stores: only for an internal endpoint.",
    ),
    cfg.BoolOpt(
        "show_multiple_locations", default=False,
        help="Show the locations of images to those whom policy get_image_location allows it. The warning of "
        "show_image_direct_url holds here too.",
    ),
    cfg.BoolOpt(
        "allow_additional_image_properties", default=True,
        help="Accept properties that the image schema does not name.",
    ),
    cfg.StrOpt(
        "schema_image_file", default="schema-image.json",
        help="JSON file with additional properties of the image schema; a relative name is searched where the "
        "configuration files are.",
    ),
    cfg.StrOpt(
        "property_protection_file",
        help="File that says who may create, read, update and delete which additional properties. Each section is a "
        "regular expression that is searched in the name of the property, the first that fits decides, and without "
        "one no caller may; its keys are create, read, update and delete. Unset: no property is protected.",
    ),
    cfg.StrOpt(
        "property_protection_rule_format", default="roles", choices=["roles", "policies"],
        help="What the values in property_protection_file are: roles with commas between them, or one policy rule "
        "each. @ allows all callers, ! and no value none.",
    ),
]

LOCATION_OPTS: list[cfg.Opt] = [
    cfg.IntOpt("image_location_quota", default=10, help="Most locations of an image; negative = unlimited."),
    cfg.StrOpt(
        "location_strategy", default="location_order", choices=["location_order", "store_type"],
        help="Which of an image's locations is read first: the one in the store with most weight, among equal ones "
        "the one that was added first (location_order); or first of all the kind of store that comes first in "
        "[store_type_location_strategy] store_type_preference (store_type).",
    ),
]

HASH_OPTS: list[cfg.Opt] = [
    cfg.BoolOpt(
        "do_secure_hash", default=True,
        help="Hash the data of locations that the location API registers: before the image becomes active when "
        "validation_data came with it, otherwise afterwards. Off: validation_data are believed.",
    ),
    cfg.IntOpt(
        "http_retries", default=3, min=1, max=100,
        help="How often the data of a location are read anew when they could not be hashed.",
    ),
]

STRATEGY_OPTS: list[cfg.Opt] = [
    cfg.ListOpt(
        "store_type_preference", default=[],
        help="Kinds of stores or schemes of their URLs, the preferred one first; used by location_strategy = "
        "store_type. What is not listed comes last.",
    ),
]

DATA_OPTS: list[cfg.Opt] = [
    cfg.IntOpt(
        "image_size_cap", default=1024**4, min=1, max=MAX_IMAGE_SIZE, help="Largest image, in bytes (default 1 TiB)."
    ),
    cfg.StrOpt(
        "hashing_algorithm", default="sha512",
        choices=["sha224", "sha256", "sha384", "sha512", "sha3_224", "sha3_256", "sha3_384", "sha3_512", "blake2b",
                 "blake2s", "sha1", "md5"],
        help="Algorithm of os_hash_value. sha256 is the fastest where the processor has instructions for it.",
    ),
    cfg.BoolOpt(
        "compute_checksum", default=True,
        help="Compute the MD5 of new data, which clients see as checksum, Content-MD5 and the ETag of v1. It bounds "
        "the speed of an upload; without it checksum is null and clients verify by os_hash_value.",
    ),
    cfg.StrOpt(
        "verify_downloads", default="remote", choices=["remote", "always", "never"],
        help="Which whole downloads are compared with the digests of the image while they are sent: those from remote "
        "stores; always, also local files, which the kernel then cannot send by itself, and no client is sent to a "
        "store; or never. A damaged copy never arrives whole and goes into quarantine. Copies and the image cache are "
        "always verified.",
    ),
    cfg.IntOpt(
        "max_transfers", min=1,
        help="Uploads and downloads that one process carries at the same time; more are answered 503. Unset: threads "
        "less 4, or less max_remote_checks and 2, so that metadata calls always find a thread.",
    ),
    cfg.IntOpt(
        "max_transfers_per_project", min=0,
        help="How many of max_transfers one project may have; more are answered 503 while others still find a permit. "
        "Unset: three quarters, at least 1. 0 = no limit of its own. Without authentication there is none.",
    ),
    cfg.IntOpt(
        "max_remote_checks", min=1,
        help="Requests of one process that may wait at the same time for servers that callers name: those that "
        "register a location or ask for an import from a URL; more are answered 503. Unset: a quarter of threads. "
        "With authentication one project has at most half of them.",
    ),
    cfg.FloatOpt(
        "remote_check_timeout", default=15.0, min=0.1,
        help="Seconds that such a request may wait for those servers in all: names, connections, TLS, redirects, "
        "headers.",
    ),
]

UPLOAD_OPTS: list[cfg.Opt] = [
    cfg.IntOpt(
        "lease", default=60, min=3, max=86400,
        help="Seconds after which an upload whose process died may be cleaned up. A living process renews it three "
        "times within its length, so it does not bound how long an upload may take.",
    ),
]

NOAUTH_OPTS: list[cfg.Opt] = [
    cfg.StrOpt(
        "noauth_project_id", default="00000000000000000000000000000001",
        help="Project of every caller when [paste_deploy] flavor is empty.",
    ),
    cfg.StrOpt("noauth_user_id", default="noauth", help="User of every caller when [paste_deploy] flavor is empty."),
    cfg.ListOpt(
        "noauth_roles", default=["admin", "member", "reader"],
        help="Roles of every caller when [paste_deploy] flavor is empty.",
    ),
    cfg.BoolOpt(
        "allow_insecure_bind", default=False,
        help="Accept a bind_host that other machines reach although callers are not authenticated (flavor empty or "
        "trusted-auth).",
    ),
]

IMAGE_FORMAT_OPTS: list[cfg.Opt] = [
    cfg.ListOpt(
        "container_formats", deprecated_group="DEFAULT",
        default=["ami", "ari", "aki", "bare", "ovf", "ova", "docker", "compressed"],
        help="Values of container_format.",
    ),
    cfg.ListOpt(
        "disk_formats", deprecated_group="DEFAULT",
        default=["ami", "ari", "aki", "vhd", "vhdx", "vmdk", "raw", "qcow2", "vdi", "iso", "ploop"],
        help="Values of disk_format.",
    ),
    cfg.BoolOpt(
        "require_image_format_match", default=True,
        help="Refuse data that are not of the declared disk_format. Unsafe data are refused in any case.",
    ),
    cfg.ListOpt(
        "vmdk_allowed_types", default=["streamOptimized", "monolithicSparse"],
        help="Create types of VMDK images that are accepted; empty = none.",
    ),
    cfg.ListOpt(
        "gpt_safety_checks_nonfatal", default=[], item_type=types.String(choices=["mbr", "gptmbr"]),
        help="Findings about partition tables that are logged and not refused.",
    ),
]

LIMIT_OPTS: list[cfg.Opt] = [
    cfg.StrOpt("endpoint_id", help="The id of this service's endpoint in Keystone, for which limits are registered."),
    cfg.StrOpt("endpoint_service_type", help="Without endpoint_id: type of this service in Keystone's catalog."),
    cfg.StrOpt("endpoint_service_name", help="Without endpoint_id: name of this service in Keystone's catalog."),
    cfg.StrOpt("endpoint_region_name", help="Without endpoint_id: region of this service's endpoint."),
    cfg.StrOpt(
        "endpoint_interface", default="public",
        choices=["public", "publicURL", "internal", "internalURL", "admin", "adminURL"],
        help="Without endpoint_id: interface of this service's endpoint.",
    ),
]
"""The account in the same group (auth_type, auth_url, username, …) belongs to keystoneauth."""

PASTE_OPTS: list[cfg.Opt] = [
    cfg.StrOpt(
        "flavor",
        help="How callers are authenticated: unset = every caller is one fixed administrator; keystone = tokens are "
        "checked by Keystone; trusted-auth = a proxy in front sets the identity headers. '+caching' and "
        "'+cachemanagement' may stand behind each; image_cache_dir switches the image cache on with and without them. "
        "Other names are those of pipelines in the paste file.",
    ),
]

def list_opts() -> OptionTable:
    """Return every option of glance-api, except those of single stores (their ids name them) and of libraries."""
    return [
        *loading.list_opts(),
        *server.list_opts(bind_host_default=None, bind_port_default=9292, metrics_default="127.0.0.1:9392"),
        ("DEFAULT", [*API_OPTS, *LOCATION_OPTS, *HASH_OPTS, *DATA_OPTS, *accel.OPTS, *NOAUTH_OPTS]),
        ("DEFAULT", cache_settings.OPTS),
        ("store_type_location_strategy", STRATEGY_OPTS),
        ("upload", UPLOAD_OPTS),
        ("image_format", IMAGE_FORMAT_OPTS),
        ("oslo_limit", LIMIT_OPTS),
        (paste.GROUP, [*PASTE_OPTS, paste.CONFIG_FILE_OPT]),
        (health_switches.GROUP, health_switches.OPTS),
        *import_options.list_opts(),
        ("cors", cors_opts()),
        ("profiler", profiling.OPTS),
        *notifications.list_opts(),
        ("key_manager", key_manager.KEY_MANAGER_OPTS),
        ("barbican", key_manager.BARBICAN_OPTS),
        *import_settings.list_opts(),
        *loader.list_opts(),
        *reserved.list_opts(),
    ]


def list_cache_opts() -> OptionTable:
    """Return the options of glance-cache.conf: what the tools of the image cache need of those of glance-api."""
    shared = [*LOG_OPTS, *FORMAT_OPTS, *loading.REGISTRY_CLIENT_OPTS, *cache_settings.OPTS, *import_settings.NODE_OPTS]
    return [("DEFAULT", shared), ("registry", loading.REGISTRY_OPTS), *loader.list_opts()]
