"""What the service functions work with: built once in each worker process, handed to them by argument.

``Services`` has everything. A function that needs little of it asks for one of the protocols here.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from glance_api.cache.facade import ImageCache
from glance_api.clients.key_manager import KeyManager
from glance_api.imports.signals import WorkSignal
from glance_api.policy.enforcer import Enforcer
from glance_api.policy.properties import PropertyProtections
from glance_api.services.limits import LimitSource
from glance_api.services.old_lists import OldLists
from glance_api.settings import Settings
from glance_api.transfers.permits import RemoteChecks
from glance_common.delete_queue import DeletePublisher
from glance_common.fetch.url_filter import UrlFilter
from glance_common.leases import LeaseKeeper
from glance_common.notifications import Notifications
from glance_common.registry_client import RegistryClient
from glance_common.stores.contract import Store
from glance_common.stores.loader import Stores


class Staging(Store, Protocol):
    """The staging store of this node: files in one directory."""

    directory: Path

    def path(self, key: str) -> Path:
        """Return the file of the key, whether it is there or not. Raises BadLocation."""


class EventServices(Protocol):
    """What it takes to tell other services what happened."""

    @property
    def settings(self) -> Settings: ...

    @property
    def registry(self) -> RegistryClient: ...

    @property
    def notifications(self) -> Notifications: ...


class RecordServices(EventServices, Protocol):
    """What it takes to read and change records: no data of images, no other servers."""

    @property
    def policy(self) -> Enforcer: ...


class RestoreServices(RecordServices, Protocol):
    """What it takes to bring a deleted image back."""

    @property
    def limits(self) -> LimitSource: ...


class QuotaServices(Protocol):
    """What it takes to reserve room and to report usage."""

    @property
    def settings(self) -> Settings: ...

    @property
    def registry(self) -> RegistryClient: ...

    @property
    def limits(self) -> LimitSource: ...


class AttemptServices(QuotaServices, Protocol):
    """What it takes to write data in one attempt, once its store is chosen."""

    @property
    def keys(self) -> KeyManager: ...

    @property
    def leases(self) -> LeaseKeeper: ...

    @property
    def old_lists(self) -> OldLists: ...


class LocationServices(Protocol):
    """What it takes to show where the data of an image are."""

    @property
    def settings(self) -> Settings: ...

    @property
    def stores(self) -> Stores: ...


class SharingServices(RecordServices, LocationServices, Protocol):
    """What it takes to change who may see an image."""

    @property
    def old_lists(self) -> OldLists: ...


class CheckServices(LocationServices, Protocol):
    """What it takes to check data that are under a URL."""

    @property
    def remote_checks(self) -> RemoteChecks: ...

    @property
    def url_filter(self) -> UrlFilter: ...


@dataclass(frozen=True, slots=True)
class Services:
    """The collaborators of one process.

    ``registry`` keeps the records, ``stores`` the bytes; ``deletes`` tells the scrubbers what is due and
    ``notifications`` other services what happened; ``keys`` is the key manager; ``policy`` says who may do what,
    ``protections`` with which properties (None: every caller with all); ``remote_checks`` bounds the requests that
    wait for servers which callers name; ``leases`` keeps transfers that run alive; ``limits`` says how much each owner
    may have. ``staging`` is where data wait on this node for their import, ``task_store`` where tasks work (often the
    same); ``url_filter`` says what may be fetched for users, ``work`` reaches the workers of this process;
    ``old_lists`` are images of which stores have older lists of readers than the records; ``cache`` is the image cache,
    None when it is off.
    """

    settings: Settings
    registry: RegistryClient
    stores: Stores
    deletes: DeletePublisher
    notifications: Notifications
    keys: KeyManager
    policy: Enforcer
    protections: PropertyProtections | None
    remote_checks: RemoteChecks
    leases: LeaseKeeper
    limits: LimitSource
    staging: Staging
    task_store: Staging
    url_filter: UrlFilter
    work: WorkSignal
    old_lists: OldLists = field(default_factory=OldLists)
    cache: ImageCache | None = None
