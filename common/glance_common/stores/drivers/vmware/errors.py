"""What went wrong with a call to a vCenter or a host, and what an operator has to mend: one table.

The texts are ours: what the server says may quote the request.
"""

import ssl
from dataclasses import dataclass

from glance_common.stores.contract import InUse, StoreError, StoreFull, StoreUnavailable

MISSING = frozenset({"FileNotFound", "404"})
TAKEN = frozenset({"FileAlreadyExists", "409"})
EXPIRED = frozenset({"NotAuthenticated", "401"})
DENIED = frozenset({"NoPermission", "403"})
BROKEN, SILENT = "broken", "silent"
"""No answer came: the connection ended, or the server did not keep the limits of time."""
SERVER = frozenset({BROKEN, SILENT, "certificate", "login", "answer", "InvalidLogin", "NotAuthenticated", "401"})
"""Failures that concern the server, whatever the datastore: asking for the next one would take as long again."""


class VmwareFailed(StoreUnavailable):
    """A call failed. ``code`` is the name of the fault, the status of HTTP, or one of those above."""

    def __init__(self, text: str, code: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class _Meaning:
    """What to tell the operator, and the error where it is not VmwareFailed."""

    text: str
    error: type[StoreError] | None = None


_FULL = _Meaning("there is no room in the datastore", StoreFull)
_LOGIN = _Meaning("the server refuses the user or the password")
_DENIED = _Meaning("the user lacks a privilege: Datastore.Browse, Datastore.FileManagement")
_AWAY = _Meaning("the datastore cannot be reached, or is in maintenance")
_BUSY = _Meaning("the server is busy or restarts")
_TABLE = {
    "InvalidLogin": _LOGIN,
    "NoPermission": _DENIED,
    "403": _DENIED,
    "NotAuthenticated": _Meaning("the session expired, and each new one as well"),
    "401": _Meaning("the server does not take its own sessions"),
    "FileNotFound": _Meaning("the file or its directory is missing"),
    "404": _Meaning("the file, its directory or the datastore is missing"),
    "FileAlreadyExists": _Meaning("the file is there"),
    "409": _Meaning("the file is there"),
    "FileLocked": _Meaning("the file is in use", InUse),
    "NoDiskSpace": _FULL,
    "InsufficientStorageSpace": _FULL,
    "InsufficientDiskSpace": _FULL,
    "FileTooLarge": _Meaning("the file is too large for the datastore", StoreFull),
    "413": _FULL,
    "507": _FULL,
    "InvalidDatastore": _Meaning("there is no such datastore"),
    "InvalidDatastorePath": _Meaning("the server takes the name of the datastore or directory for malformed"),
    "InaccessibleDatastore": _AWAY,
    "InvalidDatastoreState": _AWAY,
    "HostNotConnected": _AWAY,
    "HostCommunication": _AWAY,
    "ManagedObjectNotFound": _Meaning("the datacenter or datastore was removed"),
    "408": _BUSY, "429": _BUSY, "502": _BUSY, "503": _BUSY, "504": _BUSY,
}


def failed(code: str, what: str, *bases: str) -> StoreError:
    """Return the error for a fault, also known by the names of its bases, or for a status; ``what``: call and place."""
    for name in (code, *bases):
        if name in _TABLE:
            meaning = _TABLE[name]
            text = f"{what}: {meaning.text} ({code})"
            return VmwareFailed(text, name) if meaning.error is None else meaning.error(text)
    return VmwareFailed(f"{what}: the server cannot do it ({code})", code)


def broken(error: BaseException, what: str, reason: str | None) -> VmwareFailed:
    """Return the error for an exchange without an answer; ``reason`` is what the peer did wrong, when that is known."""
    if reason is not None:
        return VmwareFailed(f"{what}: the server {reason}", SILENT)
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLCertVerificationError) or "ingerprint" in str(seen):
            return VmwareFailed(
                f"{what}: the certificate of the server does not fit: vmware_ca_file, vmware_thumbprint", "certificate"
            )
        seen = seen.__cause__ or seen.__context__
    return VmwareFailed(f"{what}: the connection failed or broke ({type(error).__name__})", BROKEN)
