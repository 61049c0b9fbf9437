"""The one-shot commands of glance-scrubber: verify, reconcile, quarantine, dead letters (tools section 2)."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from uuid import uuid4

from oslo_config import cfg

from glance_common import progress
from glance_common.damage import DamageReporter
from glance_common.leases import LeaseKeeper
from glance_common.model.context import system_context
from glance_common.model.errors import BadRequest, GlanceError, NotFound, Unavailable
from glance_common.notifications import Notifications
from glance_common.observability.log_context import working_for
from glance_common.registry_client import RegistryClient
from glance_common.stores.contract import Store, StoreError, UnknownStore
from glance_common.stores.loader import Stores
from glance_scrubber import table
from glance_scrubber.rate import Rate
from glance_scrubber.reconcile import HEADINGS, Fix, Note, Reconcile, StoreDifference
from glance_scrubber.repair import Repair, RepairTools
from glance_scrubber.verify import StoreDown, Verify, VerifyTools

RECONCILE = "reconcile"

MEGABYTE = 1e6


@dataclass(frozen=True, slots=True)
class Workshop:
    """What verify, reconcile and repair share in one process; ``lease`` in seconds."""

    registry: RegistryClient
    stores: Stores
    notifications: Notifications
    lease: int
    pool_size: int
    stop: threading.Event

    def verify(self, rate: float) -> Verify:
        """Return a new verification that reads at most ``rate`` bytes per second, 0 = as many as it can."""
        bucket = Rate(rate, self.stop)
        leases, reporter = LeaseKeeper(self.lease), self.reporter()
        repair = Repair(RepairTools(self.registry, self.stores, leases, reporter, bucket.take))
        return Verify(
            VerifyTools(self.registry, self.stores, leases, reporter, repair, bucket, self.pool_size, self.stop)
        )

    def reporter(self) -> DamageReporter:
        """Return what puts damaged copies into quarantine."""
        return DamageReporter(self.registry.quarantine, self.notifications)


@dataclass(frozen=True, slots=True)
class Turn:
    """A run over a store that this process holds: the key behind which it goes on, and how it writes down the next."""

    cursor: str | None
    note: Note


def check(conf: cfg.ConfigOpts) -> None:
    """Raise BadRequest for options of the command line that do not go together."""
    modes = {
        "--daemon": conf.daemon, "--restore": conf.restore, "--verify": conf.verify_now,
        "--reconcile": conf.reconcile_now, "--quarantine": conf.quarantine_action,
        "--dead-letters": conf.dead_letters_action,
    }
    chosen = [name for name, value in modes.items() if value]
    if len(chosen) > 1:
        raise BadRequest(f"{' and '.join(chosen)} cannot be used together")
    mode = chosen[0] if chosen else ""
    needs = {
        "--store": (conf.wanted_store, ("--verify", "--reconcile")), "--image": (conf.wanted_image, ("--verify",)),
        "--rate": (conf.wanted_rate is not None, ("--verify",)), "--fix": (conf.fix_now, ("--reconcile",)),
        "ID": (conf.wanted_id, ("--quarantine",)),
    }
    for name, (value, allowed) in needs.items():
        if value and mode not in allowed:
            raise BadRequest(f"{name} can only be used with {' or '.join(allowed)}")
    if conf.wanted_store and conf.wanted_image:
        raise BadRequest("--store and --image cannot be used together")
    if mode == "--quarantine" and (conf.quarantine_action == "list") == bool(conf.wanted_id):
        raise BadRequest("--quarantine list takes no ID, release and discard take one")


def verify(workshop: Workshop, conf: cfg.ConfigOpts) -> int:
    """Verify one image, one store or all; return 1 when a copy is damaged or could not be read."""
    rate = conf.scrubber.verify_rate if conf.wanted_rate is None else conf.wanted_rate
    work = workshop.verify(rate * MEGABYTE)
    failed = False
    with progress.shown(lambda: f"verify: {work.tally.line()}"):
        if conf.wanted_image:
            try:
                work.image(conf.wanted_image)
            except StoreDown as error:
                raise Unavailable(str(error)) from error
        else:
            for store in _chosen(workshop.stores, conf.wanted_store):
                failed |= not _told(partial(work.store, store.id), f"verify {store.id}")
    table.say(f"verified: {work.tally.line()}")
    if workshop.stop.is_set():
        table.tell("ERROR: stopped before the end; the next run goes on from there")
        return 1
    return 1 if failed or not work.tally.is_good else 0


def _told(work: Callable[[], object], what: str) -> bool:
    """Do the work for one store, so that its trouble keeps no other from being done; return whether it was done."""
    try:
        work()
    except (StoreDown, StoreError, GlanceError) as error:
        table.tell(f"ERROR: {what}: {error}")
        return False
    return True


def reconcile(workshop: Workshop, conf: cfg.ConfigOpts) -> int:
    """Compare one store, or all that can list, with the registry; return 1 when something differs and is not mended."""
    stores = _chosen(workshop.stores, conf.wanted_store)
    able = [store for store in stores if store.capabilities.walk]
    for store in stores:
        if store not in able:
            table.tell(f"{'ERROR: ' if not able else ''}store {store.id} cannot list its objects")
    if not able:
        return 1
    good = [_reconcile(workshop, store, fix=conf.fix_now) for store in able]
    if workshop.stop.is_set():
        table.tell(f"ERROR: stopped before the end{'; the next run goes on from there' if conf.fix_now else ''}")
        return 1
    return 0 if all(good) else 1


def _reconcile(workshop: Workshop, store: Store, *, fix: bool) -> bool:
    context = system_context(f"req-{uuid4()}")
    work = Reconcile(workshop.registry, store, context, workshop.stop)
    mend = Fix(workshop.registry, workshop.reporter(), context, store) if fix else None

    def run() -> None:
        with _alone(workshop, store.id) if fix else nullcontext() as turn, working_for(context.request_id):
            if turn is not None and turn.cursor is not None:
                table.say(f"{store.id}: goes on behind {turn.cursor}, where the last run was stopped")
            rows = (row.cells() for row in _mended(work, mend, turn))
            with progress.shown(lambda: f"{store.id} {progress.bar(work.seen.key)} {work.seen.line()}"):
                table.show(HEADINGS, rows)
                if mend is not None and not workshop.stop.is_set():
                    mend.finish()

    is_done = _told(run, f"reconcile {store.id}")
    if is_done:
        table.say(f"{store.id}: {work.seen.line()}")
        if mend is not None:
            table.say(f"{store.id}: {mend.line()}")
    return is_done and (not mend.left if mend is not None else not sum(work.seen.found.values()))


def _mended(work: Reconcile, mend: Fix | None, turn: Turn | None) -> Iterator[StoreDifference]:
    if mend is None or turn is None:
        yield from work.differences()
        return

    def note(key: str) -> None:
        mend.tell()
        turn.note(key)

    for difference in work.differences(turn.cursor, note):
        mend.take(difference)
        yield difference


@contextmanager
def _alone(workshop: Workshop, store: str) -> Iterator[Turn]:
    """Hold the run over a store, so that no second process changes it. Raises Conflict when another one does."""
    context, token = system_context(f"req-{uuid4()}"), str(uuid4())
    runs = workshop.registry.store_runs
    cursor = runs.start(context, RECONCILE, store, token, lease=workshop.lease)
    renew = partial(runs.renew, context, RECONCILE, store, token, lease=workshop.lease)
    is_done = False
    try:
        with LeaseKeeper(workshop.lease).keep(context, renew, f"the reconcile run of store {store}") as lease:
            # A note that is refused ends the run: another process has taken it over.
            yield Turn(cursor, lambda key: renew(cursor=key))
            lease.check()
        is_done = not workshop.stop.is_set()
    finally:
        runs.end(context, RECONCILE, store, token, finished=is_done)


def _chosen(stores: Stores, wanted: str | None) -> list[Store]:
    if not wanted:
        return list(stores)
    try:
        return [stores.get(wanted)]
    except UnknownStore as error:
        raise NotFound(f"there is no store {wanted[:80]!r}; configured are {', '.join(stores.ids)}") from error

