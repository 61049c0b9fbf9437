"""The options of one vmware store, checked at the start (stores section 9)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from oslo_config import cfg

from glance_common.stores.drivers.vmware.place import Datastore, VmwarePlace
from glance_common.stores.settings import StoreConfigError, StoreSettings

OPTIONS: Sequence[cfg.Opt] = [
    cfg.StrOpt("vmware_server_host", help="Name or address of the vCenter or ESX host, maybe with :port. Kind vmware."),
    cfg.StrOpt("vmware_server_username", help="User of the vCenter or ESX host."),
    cfg.StrOpt("vmware_server_password", secret=True, help="Password of that user."),
    cfg.MultiStrOpt(
        "vmware_datastores",
        help="A datastore as datacenter:datastore[:weight], with the whole path of a datacenter in folders; may be "
        "repeated. An image goes to a datastore of the highest weight, among these to the one with most free space.",
    ),
    cfg.StrOpt(
        "vmware_store_image_dir", default="/openstack_glance", help="Directory of the images in each datastore."
    ),
    cfg.IntOpt("vmware_api_retry_count", default=10, min=1, help="Logins that one call may need when sessions expire."),
    cfg.FloatOpt(
        "vmware_task_poll_interval", default=5.0, min=0.01,
        help="Seconds between two questions for the state of a task at most; the first ones come sooner.",
    ),
    cfg.FloatOpt("vmware_task_timeout", default=300.0, min=0.1, help="Seconds until a task has to be done."),
    cfg.FloatOpt("vmware_connect_timeout", default=10.0, min=0.1, help="Seconds to wait for a connection."),
    cfg.FloatOpt("vmware_read_timeout", default=60.0, min=0.1, help="Seconds to wait for an answer or the next bytes."),
    cfg.StrOpt("vmware_ca_file", help="CA certificates for the servers, instead of the well-known ones."),
    cfg.BoolOpt(
        "vmware_insecure", default=False, deprecated_name="vmware_api_insecure",
        help="Do not check the certificates of the servers; ignored when vmware_ca_file or vmware_thumbprint is set.",
    ),
    cfg.StrOpt(
        "vmware_thumbprint",
        help="SHA-256 or SHA-1 of the certificate of vmware_server_host, in hexadecimal digits with or without colons: "
        "no other certificate is accepted, and this one needs no authority.",
    ),
]

_HOST = re.compile(r"(?P<name>[A-Za-z0-9_.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:(?P<port>[0-9]{1,5}))?")
_WEIGHT = re.compile(r"(-?[0-9]{1,9})?")
_FINGERPRINT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\\]")


@dataclass(frozen=True, slots=True)
class VmwareOptions:
    """The options. ``verify`` is what requests takes; times in seconds."""

    place: VmwarePlace
    user: str
    password: str = field(repr=False)
    logins: int
    poll_interval: float
    task_timeout: float
    connect_timeout: float
    read_timeout: float
    verify: bool | str
    thumbprint: str | None

    @property
    def call_timeout(self) -> float:
        """Seconds of one call with all that belongs to it."""
        return self.connect_timeout + self.read_timeout


def parse(settings: StoreSettings) -> VmwareOptions:
    """Return the options of the store. Raises StoreConfigError."""
    place = parse_place(settings)
    user, password = (settings.value(f"vmware_server_{name}") or "" for name in ("username", "password"))
    if not user:
        raise settings.refuse("vmware_server_username", "must be set")
    if not password:
        raise settings.refuse_secret("vmware_server_password", "must be set")
    return VmwareOptions(
        place=place, user=user, password=password,
        logins=settings.value("vmware_api_retry_count"),
        poll_interval=settings.value("vmware_task_poll_interval"),
        task_timeout=settings.value("vmware_task_timeout"),
        connect_timeout=settings.value("vmware_connect_timeout"),
        read_timeout=settings.value("vmware_read_timeout"),
        verify=_verify(settings),
        thumbprint=_thumbprint(settings),
    )


def parse_place(settings: StoreSettings) -> VmwarePlace:
    """Return server, directory and datastores of the store. Raises StoreConfigError."""
    host = (settings.value("vmware_server_host") or "").strip()
    found = _HOST.fullmatch(host)
    if found is None or not 0 < int(found["port"] or 443) < 65536:
        # The value may be a URL with a password, so it is not shown.
        raise settings.refuse_secret("vmware_server_host", "must be a name or an address, maybe with :port")
    directory = (settings.value("vmware_store_image_dir") or "").strip("/ ")
    if not directory or {"", ".", ".."} & set(directory.split("/")) or _UNPRINTABLE.search(directory):
        raise settings.refuse("vmware_store_image_dir", "must be a directory without '.' and '..'")
    return VmwarePlace(host, directory, tuple(_datastores(settings)))


def _datastores(settings: StoreSettings) -> list[Datastore]:
    found: list[Datastore] = []
    for text in settings.value("vmware_datastores") or []:
        parts = [part.strip() for part in text.rsplit(":", 2)]
        weight = parts[2] if len(parts) == 3 else ""
        if len(parts) < 2 or not parts[0].strip("/") or not parts[1] or _WEIGHT.fullmatch(weight) is None:
            raise _refused_datastore(settings, text, "must be datacenter:datastore[:weight] with a whole number")
        # Brackets end the name of a datastore in the paths of the API.
        if _UNPRINTABLE.search(text) or {"[", "]", "/"} & set(parts[1]):
            raise _refused_datastore(settings, text, "must not have control characters, brackets or backslashes")
        datastore = Datastore(parts[0].strip("/"), parts[1], int(weight or 0))
        if any(datastore.is_same(other) for other in found):
            raise _refused_datastore(settings, text, "must not name a datastore twice")
        found.append(datastore)
    if not found:
        raise settings.refuse("vmware_datastores", "must name at least one datastore as datacenter:datastore[:weight]")
    return sorted(found, key=lambda datastore: -datastore.weight)


def _refused_datastore(settings: StoreSettings, text: str, allowed: str) -> StoreConfigError:
    return StoreConfigError(settings.group, "vmware_datastores", text, allowed)


def _verify(settings: StoreSettings) -> bool | str:
    path: str | None = settings.value("vmware_ca_file")
    if not path:
        return not settings.value("vmware_insecure")
    if not Path(path).is_file():
        raise settings.refuse("vmware_ca_file", "must be a readable file of PEM certificates")
    return path


def _thumbprint(settings: StoreSettings) -> str | None:
    text: str = (settings.value("vmware_thumbprint") or "").replace(":", "").lower()
    if not text:
        return None
    if _FINGERPRINT.fullmatch(text) is None:
        raise settings.refuse("vmware_thumbprint", "must be the 64 (SHA-256) or 40 (SHA-1) hexadecimal digits")
    return text
