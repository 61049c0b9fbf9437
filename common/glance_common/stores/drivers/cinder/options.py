"""The options of a cinder store (stores section 8)."""

import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from oslo_config import cfg

from glance_common.stores.drivers.cinder.place import CinderPlace
from glance_common.stores.settings import StoreConfigError, StoreSettings

OPTIONS: Sequence[cfg.Opt] = [
    cfg.StrOpt(
        "cinder_catalog_info", default="volumev3::publicURL",
        help="How the catalog names Cinder: <type>:<name>:<interface>; the name may be empty. Kind cinder.",
    ),
    cfg.StrOpt(
        "cinder_endpoint_template",
        help="URL of Cinder instead of the one in the catalog, for example http://cinder.example.org:8776/v3; "
        "%(project_id)s and %(tenant)s stand for the id of the project.",
    ),
    cfg.StrOpt(
        "cinder_os_region_name", deprecated_name="os_region_name",
        help="Region of Cinder in the catalog; by default the first one.",
    ),
    cfg.StrOpt("cinder_ca_certificates_file", help="PEM file of the CAs of Cinder and Keystone."),
    cfg.BoolOpt("cinder_api_insecure", default=False, help="Do not check certificates of Cinder and Keystone."),
    cfg.IntOpt(
        "cinder_http_retries", default=3, min=0, max=10,
        help="Further tries of a call that may be repeated, when the connection breaks or the server is busy.",
    ),
    cfg.IntOpt(
        "cinder_state_transition_timeout", default=300, min=1,
        help="Seconds that a volume may take for each change of its state, and this host to attach or detach it.",
    ),
    cfg.StrOpt(
        "cinder_store_auth_address",
        help="URL of Keystone, for the user of the store. Without user the token of each caller is used.",
    ),
    cfg.StrOpt("cinder_store_user_name", help="User of the store, who owns the volumes."),
    cfg.StrOpt("cinder_store_user_domain_name", default="Default", help="Domain of the user."),
    cfg.StrOpt("cinder_store_password", secret=True, help="Password of the user."),
    cfg.StrOpt("cinder_store_project_name", help="Project of the user, in which the volumes are."),
    cfg.StrOpt("cinder_store_project_domain_name", default="Default", help="Domain of the project."),
    cfg.StrOpt(
        "cinder_store_application_credential_id",
        help="Application credential instead of user, password and project.",
    ),
    cfg.StrOpt("cinder_store_application_credential_secret", secret=True, help="Secret of the application credential."),
    cfg.StrOpt(
        "rootwrap_config", default="/etc/glance/rootwrap.conf",
        help="Accepted without effect: os-brick's helper does what needs privileges, see [privsep_osbrick].",
    ),
    cfg.StrOpt("cinder_volume_type", help="Type of the volumes; by default the one that Cinder takes."),
    cfg.BoolOpt("cinder_use_multipath", default=False, help="Attach volumes through several paths where there are."),
    cfg.BoolOpt(
        "cinder_enforce_multipath", default=False, help="Attach no volumes when multipathd does not run."
    ),
    cfg.StrOpt(
        "cinder_mount_point_base", default="/var/lib/glance/mnt",
        help="Folder in which file systems with volumes (NFS) are mounted.",
    ),
    cfg.BoolOpt(
        "cinder_do_extend_attached", default=False,
        help="Extend volumes of images of unknown size while they are attached; not every storage can do that.",
    ),
    cfg.IntOpt(
        "cinder_attachment_retry_attempts", default=5, min=1, max=20,
        help="Further tries to attach a volume that is just being attached elsewhere; each waits twice as long.",
    ),
    cfg.IntOpt(
        "cinder_attachment_lease", default=90, min=5,
        help="Seconds after which a process that did not renew its attachment counts as dead. The clocks of the hosts "
        "must agree better than that.",
    ),
    cfg.FloatOpt("cinder_connect_timeout", default=10.0, min=0.1, help="Seconds to wait for a connection to Cinder."),
    cfg.FloatOpt("cinder_read_timeout", default=60.0, min=0.1, help="Seconds to wait for an answer of Cinder."),
    cfg.IntOpt("cinder_io_timeout", default=60, min=1, help="Seconds for each read or write of an attached volume."),
]

PRIVSEP = "privsep_osbrick"
LOCKS = "oslo_concurrency"

SHARED_OPTIONS: Mapping[str, Sequence[cfg.Opt]] = {
    PRIVSEP: [cfg.StrOpt(
        "helper_command",
        help="Command that starts os-brick's helper, which attaches volumes as root, without the arguments that "
        "oslo.privsep adds. By default sudo privsep-helper; processes of root need none.",
    )],
    LOCKS: [cfg.StrOpt(
        "lock_path", default="/var/lib/glance/locks",
        help="Folder of the locks of cinder stores, which all processes of a host share.",
    )],
}
"""Options of the host, not of one store."""

_LOGIN = (
    "cinder_store_auth_address", "cinder_store_user_name", "cinder_store_password", "cinder_store_project_name",
)
_CREDENTIAL = (
    "cinder_store_auth_address", "cinder_store_application_credential_id",
    "cinder_store_application_credential_secret",
)
_INTERFACES = ("publicURL", "internalURL", "adminURL", "public", "internal", "admin")
_URL = re.compile(r"https?://[^/?#@\s]+(/[^?#@\s]*)?")
_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,255}")


@dataclass(frozen=True, slots=True)
class CinderLogin:
    """The user of a store, or an application credential."""

    address: str
    user: str
    project: str
    user_domain: str
    project_domain: str
    credential: str
    secret: str = field(repr=False)
    """Password or secret of the credential."""


@dataclass(frozen=True, slots=True)
class CinderEndpoint:
    """Where Cinder is: in the catalog, or a template."""

    service: str
    name: str
    interface: str
    region: str | None
    template: str | None


@dataclass(frozen=True, slots=True)
class CinderTransport:
    """How Cinder and Keystone are reached; times in seconds."""

    verify: bool | str
    connect: float
    read: float
    retries: int


@dataclass(frozen=True, slots=True)
class BrickOptions:
    """How this host attaches volumes; times in seconds."""

    host: str
    multipath: bool
    enforce_multipath: bool
    mount_base: str
    lock_path: str
    helper: str | None
    change: float
    """For attaching and detaching."""
    transfer: float
    """For each read and write."""


@dataclass(frozen=True, slots=True)
class CinderOptions:
    """The options, checked. Times are in seconds."""

    place: CinderPlace
    login: CinderLogin | None
    endpoint: CinderEndpoint
    transport: CinderTransport
    brick: BrickOptions
    type: str | None
    change: float
    """For each change of the state of a volume."""
    lease: float
    extends_attached: bool
    attach_retries: int


def parse(settings: StoreSettings) -> CinderOptions:
    """Return the options. Raises StoreConfigError."""
    value = settings.value
    return CinderOptions(
        place=parse_place(settings), login=_login(settings), endpoint=_endpoint(settings),
        transport=CinderTransport(
            _verify(settings), value("cinder_connect_timeout"), value("cinder_read_timeout"),
            value("cinder_http_retries"),
        ),
        brick=_brick(settings), type=_type(settings) or None, change=value("cinder_state_transition_timeout"),
        lease=value("cinder_attachment_lease"), extends_attached=value("cinder_do_extend_attached"),
        attach_retries=value("cinder_attachment_retry_attempts"),
    )


def parse_place(settings: StoreSettings) -> CinderPlace:
    """Return server, project and type; nothing is connected. Raises StoreConfigError."""
    login = _login(settings)
    server = urlsplit(login.address).netloc.lower() if login else ""
    project = (login.project or login.credential) if login else ""
    return CinderPlace(settings.id, server, project, _type(settings))


def _type(settings: StoreSettings) -> str:
    name: str = settings.value("cinder_volume_type") or ""
    if name and _NAME.fullmatch(name) is None:
        raise settings.refuse("cinder_volume_type", "must be the name of a volume type")
    return name


def _login(settings: StoreSettings) -> CinderLogin | None:
    names = _CREDENTIAL if any(settings.value(name) for name in _CREDENTIAL[1:]) else _LOGIN
    given = [name for name in names if settings.value(name)]
    if not given:
        return None
    for name in names:
        if not settings.value(name):
            raise settings.refuse_secret(name, f"must be set, as {given[0]} is; without them callers' tokens are used")
    address: str = settings.value("cinder_store_auth_address").rstrip("/")
    if _URL.fullmatch(address) is None:
        raise settings.refuse_secret(
            "cinder_store_auth_address", "must be a URL of Keystone, such as https://keystone.example.org/v3"
        )
    if names is _CREDENTIAL:
        credential, secret = settings.value(names[1]), settings.value(names[2])
        return CinderLogin(address, "", "", "", "", credential, secret)
    return CinderLogin(
        address, settings.value("cinder_store_user_name"), settings.value("cinder_store_project_name"),
        settings.value("cinder_store_user_domain_name"), settings.value("cinder_store_project_domain_name"), "",
        settings.value("cinder_store_password"),
    )


def _endpoint(settings: StoreSettings) -> CinderEndpoint:
    parts = settings.value("cinder_catalog_info").split(":")
    if len(parts) != 3 or not parts[0] or parts[2] not in _INTERFACES:
        raise settings.refuse(
            "cinder_catalog_info", f"must be <type>:<name>:<interface> with one of {', '.join(_INTERFACES)}"
        )
    if parts[0] == "volumev2":
        raise settings.refuse("cinder_catalog_info", "must be of version 3: version 2 has no attachments")
    template: str | None = settings.value("cinder_endpoint_template") or None
    if template is not None:
        _check_template(settings, template)
    region = settings.value("cinder_os_region_name") or None
    return CinderEndpoint(parts[0], parts[1], parts[2].removesuffix("URL"), region, template)


def _check_template(settings: StoreSettings, template: str) -> None:
    try:
        url = filled(template, "0" * 32)
    except (KeyError, ValueError, TypeError):
        url = ""
    if _URL.fullmatch(url) is None or "/v3" not in url:
        raise settings.refuse_secret(
            "cinder_endpoint_template",
            "must be a URL with /v3, in which only %(project_id)s and %(tenant)s are replaced",
        )


def filled(template: str, project: str) -> str:
    """Return the URL for a project. Raises KeyError, ValueError, TypeError for a bad template."""
    return (template % {"project_id": project, "tenant": project, "tenant_id": project}).rstrip("/")


def _verify(settings: StoreSettings) -> bool | str:
    path: str = settings.value("cinder_ca_certificates_file") or ""
    if path and not Path(path).is_file():
        raise settings.refuse("cinder_ca_certificates_file", "must be a readable file of PEM certificates")
    if settings.value("cinder_api_insecure"):
        return False
    return path or True


def _brick(settings: StoreSettings) -> BrickOptions:
    conf = settings.conf
    if not settings.value("cinder_mount_point_base").startswith("/"):
        raise settings.refuse("cinder_mount_point_base", "must be an absolute path")
    locks: str = conf[LOCKS].lock_path or ""
    if not locks.startswith("/"):
        raise StoreConfigError(LOCKS, "lock_path", locks, "must be an absolute path: the store keeps locks there")
    return BrickOptions(
        host=socket.gethostname(), multipath=settings.value("cinder_use_multipath"),
        enforce_multipath=settings.value("cinder_enforce_multipath"),
        mount_base=settings.value("cinder_mount_point_base"), lock_path=locks,
        helper=conf[PRIVSEP].helper_command or None, change=settings.value("cinder_state_transition_timeout"),
        transfer=settings.value("cinder_io_timeout"),
    )
