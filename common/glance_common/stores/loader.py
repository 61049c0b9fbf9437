"""From options to stores.

Rules: stores section 12, configuration section 1.6.

``enabled_backends = fast:file, slow:file`` makes one store an id, its options in the group ``[<id>]``. Without it the
options of older files, all in ``[glance_store]``, make one store a kind, whose id is the name of the kind.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from types import MappingProxyType
from urllib.parse import urlsplit

from oslo_config import cfg

from glance_common.config import loading
from glance_common.config.older import OlderPlace
from glance_common.fetch import url_filter
from glance_common.stores.contract import RESERVED, BadLocation, LocationRefused, Store, UnknownStore
from glance_common.stores.decorators.base import Logged, Retrying
from glance_common.stores.decorators.circuit import Circuit, Guarded
from glance_common.stores.decorators.encryption import EncryptedKeys, KeyCipher
from glance_common.stores.decorators.metrics import MeasuredStore
from glance_common.stores.direct_reads import OPTIONS as DIRECT_OPTIONS
from glance_common.stores.direct_reads import DirectReads, direct_reads
from glance_common.stores.kinds import drivers
from glance_common.stores.settings import Driver, Identities, StoreConfigError, StoreSettings

GROUP = "glance_store"
DEFAULTS = "backend_defaults"
_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


_ALIASES = {"filesystem": "file", "https": "http", "vmware_datastore": "vmware"}

_CLASS_PATH = re.compile(r"(?:glance\.store|glance_store\._drivers)\.(\w{1,40})\.Store")
"""How files of 2013 to 2016 name a kind: by the class of its driver."""

_OLDER_NAMES = {"stores": "known_stores"}
"""What an option was called while it stood in [DEFAULT]."""

USER_SCHEMES = frozenset({
    "http", "https", "rbd", "cinder", "s3", "s3+http", "s3+https", "swift", "swift+http", "swift+https", "vsphere",
})
"""Schemes that a user may register as a location, if a store has them; never a local or internal one (S-09, S-10)."""

_CHOICE_OPTS: list[cfg.Opt] = [
    cfg.ListOpt("stores", default=["file", "http"], help="Kinds of stores; only without enabled_backends."),
    cfg.StrOpt("default_store", default="file", help="Kind that uploads go to; only without enabled_backends."),
    cfg.StrOpt("default_backend", help="Id of the store that uploads go to; required with enabled_backends."),
]

_STORE_OPTS: list[cfg.Opt] = [
    cfg.StrOpt("store_description", help="Text for users in the list of stores."),
    *DIRECT_OPTIONS,
    cfg.IntOpt("weight", default=0, help="Of the stores that hold an image the one with most weight is read first."),
]

_KEY_LENGTHS = (16, 24, 32)

_SHARED_OPTS: list[cfg.Opt] = [
    cfg.IntOpt(
        "store_max_waiting", default=16, min=1,
        help="Calls of one process that may wait at the same time for the first answer of one store behind a network; "
        "further ones are answered 503, so that a store that hangs does not take all threads.",
    ),
    cfg.StrOpt(
        "metadata_encryption_key", secret=True,
        help="Secret of 16, 24 or 32 characters that the URLs of locations outside of the service's own stores are "
        "encrypted with in the database; the same for glance-api and glance-scrubber. URLs that were registered "
        "without it are still read. It cannot be changed: what it encrypted is readable with it alone.",
    ),
]

_ENABLED = cfg.ListOpt(
    "enabled_backends",
    help="Stores as id:kind, separated by commas; the options of each are in the group named like its id, what "
    "they share in [backend_defaults].",
)


class Stores:
    """The configured stores. Iterating yields them in the order to read copies: by weight, then as written."""

    def __init__(
        self, stores: Sequence[Store], default: str, direct: Mapping[str, DirectReads] = MappingProxyType({})
    ) -> None:
        self._stores = {store.id: store for store in stores}
        self._ordered = sorted(stores, key=lambda store: -store.weight)
        self.default = self._stores[default]
        self._direct = direct

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids as written in the configuration."""
        return tuple(self._stores)

    def __iter__(self) -> Iterator[Store]:
        return iter(self._ordered)

    def get(self, store: str) -> Store:
        """Return the store with the id. Raises UnknownStore."""
        try:
            return self._stores[store]
        except KeyError:
            raise UnknownStore(f"no store {store!r} is configured") from None

    def direct_address(self, store: str, key: str, client: str) -> str | None:
        """Return a URL at which the client reads the object for some seconds; None for clients that read through us.

        It is a credential. Raises UnknownStore, and as ``Store.presign``.
        """
        terms = self._direct.get(store)
        if terms is None or not terms.allows(client):
            return None
        return self.get(store).presign(key, terms.seconds)

    def by_url(self, url: str) -> Store:
        """Return the store that a location URL belongs to. Raises UnknownStore."""
        for store in self._ordered:
            if store.key_of(url) is not None:
                return store
        raise UnknownStore("the location belongs to no configured store")

    def user_location(self, url: str) -> tuple[Store, str]:
        """Return store and key of a location URL that a user wants to register.

        Raises BadLocation for a scheme that users may not name, whatever its spelling (S-09, S-10), LocationRefused for
        a malformed http or https URL, and UnknownStore.
        The URL filter judges http and https URLs when the caller asks ``store.size`` (S-32).
        """
        try:
            scheme = urlsplit(url).scheme
        except ValueError:
            raise BadLocation("the location is not a URL") from None
        if scheme not in USER_SCHEMES:
            raise BadLocation(f"locations with the scheme {scheme!r} cannot be registered")
        if scheme in url_filter.DEFAULT_PORTS:
            try:
                url_filter.parse(url, userinfo=True)
            except url_filter.UrlRefused as error:
                raise LocationRefused(url_filter.as_told(error)) from None
        try:
            store = self.by_url(url)
        except UnknownStore:
            ids = [store.id for store in self if scheme in store.capabilities.schemes]
            if not ids:
                raise
            raise UnknownStore(
                f"the location belongs to no configured store: it has the scheme of {', '.join(ids)}, but another "
                "server or place, or a name that none of our images can have"
            ) from None
        key = store.key_of(url)
        assert key is not None
        return store, key


def list_opts() -> loading.OptionTable:
    """Return the options of all kinds of stores, for registration and for the sample files."""
    options = [opt for driver in drivers().values() for opt in driver.options()]
    return [
        ("DEFAULT", [_ENABLED, *_SHARED_OPTS]),
        (GROUP, [*_older(_CHOICE_OPTS), *DIRECT_OPTIONS, *_older(options)]),
        (DEFAULTS, [*_STORE_OPTS, *options]),
        *(entry for driver in drivers().values() for entry in _host_options(driver).items()),
        *url_filter.list_opts(),
    ]


def _older(options: Sequence[cfg.Opt]) -> list[cfg.Opt]:
    """Return copies of options of one store that files of 2013 to 2016 may have in [DEFAULT], see ``OlderPlace``."""
    found = []
    for opt in options:
        copied = copy(opt)
        name = _OLDER_NAMES.get(opt.name, opt.name)
        copied.deprecated_opts = [*opt.deprecated_opts, OlderPlace(name)]
        found.append(copied)
    return found


def _host_options(driver: type[Driver]) -> Mapping[str, Sequence[cfg.Opt]]:
    """Return group → options of what the stores of a kind share on a host."""
    found: Callable[[], Mapping[str, Sequence[cfg.Opt]]] = getattr(driver, "host_options", dict)
    return found()


def store_opts(conf: cfg.ConfigOpts) -> loading.OptionTable:
    """Return the groups of the enabled stores with their options; they are known only when the files are read.

    Raises StoreConfigError for a bad ``enabled_backends``.
    """
    return [(store, [*_STORE_OPTS, *drivers()[kind].options()]) for store, kind in _enabled(conf).items()]


def load_stores(conf: cfg.ConfigOpts, identities: Identities) -> Stores:
    """Return the configured stores. One that is down is loaded all the same; raises ConfigError for bad options."""
    chosen = _chosen(conf)
    _refuse_shared_places(chosen)
    cipher = _cipher(conf)
    most_waiting: int = conf.store_max_waiting
    stores: list[Store] = []
    direct: dict[str, DirectReads] = {}
    for settings, driver in chosen:
        store = driver.build(settings, identities)
        terms = direct_reads(settings, store)
        if terms is not None:
            direct[store.id] = terms
        stores.append(_wrapped(driver, store, most_waiting, cipher))
    return Stores(stores, _default(conf, [store.id for store in stores]), direct)


def ids(conf: cfg.ConfigOpts) -> tuple[str, ...]:
    """Return the ids of the configured stores. Raises ConfigError."""
    return tuple(settings.id for settings, _ in _chosen(conf))


def init_directories(conf: cfg.ConfigOpts) -> list[tuple[str, str]]:
    """Create the missing directories of all stores and return (store id, directory) of each that was created.

    They get their sentinels at first use. Raises ConfigError, OSError.
    """
    return [
        (settings.id, created)
        for settings, driver in _chosen(conf)
        for created in driver.create_places(settings)
    ]


def places(conf: cfg.ConfigOpts) -> list[tuple[str, str]]:
    """Return (place, store id) of all that the configured stores own alone, for example directories.

    Raises ConfigError.
    """
    return [(place, settings.id) for settings, driver in _chosen(conf) for place in driver.places(settings)]


def kinds_in_use(conf: cfg.ConfigOpts) -> list[str]:
    """Return the kind of each configured store. Raises ConfigError."""
    return list(_enabled(conf).values()) or _single(conf)


def _cipher(conf: cfg.ConfigOpts) -> KeyCipher | None:
    secret: str | None = conf.metadata_encryption_key
    if not secret:
        return None
    if len(secret.encode()) not in _KEY_LENGTHS:
        raise loading.ConfigError("DEFAULT", "metadata_encryption_key", "***", "must have 16, 24 or 32 characters")
    return KeyCipher(secret)


def _wrapped(driver: type[Driver], store: Store, most_waiting: int, cipher: KeyCipher | None) -> Store:
    if driver.traits.one_peer:
        store = Guarded(store, Circuit(f"store {store.id}", most_waiting))
    seen = MeasuredStore(Logged(Retrying(store) if driver.traits.remote else store))
    return EncryptedKeys(seen, cipher) if driver.traits.keys_are_urls else seen


def _chosen(conf: cfg.ConfigOpts) -> list[tuple[StoreSettings, type[Driver]]]:
    """Return the settings of each store with its driver, in the order of the configuration."""
    if not conf.enabled_backends:
        return [(StoreSettings(kind, conf, GROUP, None, 0), drivers()[kind]) for kind in _single(conf)]
    table = store_opts(conf)
    loading.register(conf, table)
    for group, options in table:
        _inherit(conf, group, options)
    loading.check_values(conf, table)
    return [
        (StoreSettings(store, conf, store, conf[store].store_description, conf[store].weight), drivers()[kind])
        for store, kind in _enabled(conf).items()
    ]


def _inherit(conf: cfg.ConfigOpts, group: str, options: Sequence[cfg.Opt]) -> None:
    """Let what ``[backend_defaults]`` says be the default in the group of a store."""
    for opt in options:
        conf.set_default(opt.dest, conf[DEFAULTS][opt.dest], group=group)


def _single(conf: cfg.ConfigOpts) -> list[str]:
    """Return the kinds of ``[glance_store] stores``, each once."""
    kinds = [_kind(name) for name in conf[GROUP].stores]
    unknown = [kind for kind in kinds if kind not in drivers()]
    if unknown or not kinds:
        raise StoreConfigError(GROUP, "stores", ",".join(conf[GROUP].stores), f"must be out of {', '.join(drivers())}")
    return list(dict.fromkeys(kinds))


def _kind(name: str) -> str:
    spelled = _CLASS_PATH.fullmatch(name)
    short = spelled[1] if spelled else name
    return _ALIASES.get(short, short)


def _enabled(conf: cfg.ConfigOpts) -> dict[str, str]:
    """Return id → kind of ``enabled_backends``; empty when it is unset."""
    entries = conf.enabled_backends or []
    found: dict[str, str] = {}
    for entry in entries:
        store, _, kind = (part.strip() for part in entry.partition(":"))
        problem = _problem(store, kind)
        if store in found:
            problem = f"names the store {store} twice"
        elif store in conf and not isinstance(conf[store], cfg.ConfigOpts.GroupAttr):
            # conf.<id> would from now on be the group and not the option.
            problem = f"the id {store} is not allowed: an option has that name"
        if problem:
            raise StoreConfigError("DEFAULT", "enabled_backends", ", ".join(entries), problem)
        found[store] = _ALIASES.get(kind, kind)
    return found


def _problem(store: str, kind: str) -> str | None:
    if _ID.fullmatch(store) is None or not kind:
        return "must be id:kind, separated by commas; an id has letters, digits, '_', '.' and '-'"
    if store.startswith(RESERVED):
        return f"the id {store} is not allowed: ids that begin with {RESERVED} are reserved"
    if store in {"DEFAULT", GROUP, DEFAULTS, url_filter.GROUP}:
        return f"the id {store} is not allowed: the group of that name has another meaning"
    if _ALIASES.get(kind, kind) not in drivers():
        return f"the kind of the store {store} must be one of {', '.join(drivers())}"
    return None


def _default(conf: cfg.ConfigOpts, ids: Sequence[str]) -> str:
    if conf.enabled_backends:
        option, default = "default_backend", conf[GROUP].default_backend
    else:
        option, default = "default_store", _ALIASES.get(conf[GROUP].default_store, conf[GROUP].default_store)
    if default not in ids:
        raise StoreConfigError(GROUP, option, default, f"must be one of the enabled stores: {', '.join(ids)}")
    chosen: str = default
    return chosen


def _refuse_shared_places(chosen: Sequence[tuple[StoreSettings, type[Driver]]]) -> None:
    """Two stores in one directory or bucket would each delete the data of the other."""
    owners: dict[str, str] = {}
    for settings, driver in chosen:
        for place in driver.places(settings):
            owner = owners.setdefault(place, settings.id)
            if owner != settings.id:
                raise StoreConfigError(
                    settings.group, driver.traits.place_option, place, f"is already used by the store {owner}"
                )
