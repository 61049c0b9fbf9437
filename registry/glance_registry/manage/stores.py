"""glance-manage store: the directories of file stores, and whether each store works."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any
from uuid import uuid4

from oslo_config import cfg
from sqlalchemy import Engine

from glance_common.model.errors import GlanceError, NotFound
from glance_common.stores import loader, reserved
from glance_common.stores.contract import BlobNotFound, Store, StoreError, UnknownStore
from glance_registry.db.session import make_engine
from glance_registry.locations import use_cases
from glance_registry.manage.terminal import add_command, add_group, say
from glance_registry.wsgi import database_url

PROBE = b"glance-manage store check\n" * 4096
"""What is written: 104 KiB, more than one packet and less than one part."""

HEADINGS = ("store", "kind", "step", "ms", "result")

Step = tuple[str, float, str | None]
"""Name, seconds, and what went wrong."""


class RegisteredPlaces:
    """The table of the places of stores; fulfils ``settings.Identities``."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def known(self, store: str, place: str) -> str | None:
        """See the protocol."""
        return use_cases.known_identities(self._engine, store).get(place)

    def register(self, store: str, place: str, identity: str) -> str:
        """See the protocol."""
        return use_cases.register_identity(self._engine, store, place, identity)


def add_commands(parsers: Any) -> Any:
    """Add the commands of ``store`` to the parsers of glance-manage; return their group, where more may be added."""
    commands = add_group(parsers, "store", "stores")
    add_command(commands, "init", "create the directories of the file stores", init)
    checking = add_command(commands, "check", "write, read, list and delete a small object in each store", check)
    checking.add_argument("store", nargs="?", help="the id of one store; without it all are checked")
    return commands


def init(conf: cfg.ConfigOpts, _arguments: Any) -> int:
    """Create the directories of the file stores; the services never do, so that no mount point is filled by mistake."""
    created = [*loader.init_directories(conf), *reserved.init_directories(conf)]
    for store, path in created:
        say(f"{store}: created {path}")
    if not created:
        say("Every directory is there.")
    return 0


def check(conf: cfg.ConfigOpts, arguments: Any) -> int:
    """Print what a small object went through in each store, with milliseconds; return 1 when a step failed."""
    stores = loader.load_stores(conf, RegisteredPlaces(make_engine(database_url(conf))))
    try:
        chosen = [stores.get(arguments.store)] if arguments.store else list(stores)
    except UnknownStore as error:
        raise NotFound(str(error)) from error
    lines, failed = [HEADINGS], False
    for store in chosen:
        for step, took, problem in _steps(store):
            failed |= problem is not None
            lines.append((store.id, store.kind, step, f"{took * 1000:.1f}", problem or "ok"))
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    for line in lines:
        say("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    return 1 if failed else 0


def reached(store: Store) -> Step:
    """Return the first step: whether the store answers and is the right one. Nothing is written."""
    return _timed("check", store.check)


def _steps(store: Store) -> Iterator[Step]:
    """Yield name, seconds and problem of each step; what was written is deleted whatever fails before."""
    yield reached(store)
    if store.capabilities.add:
        yield from _object_steps(store, str(uuid4()))


def _object_steps(store: Store, key: str) -> Iterator[Step]:
    keys: list[str] = []
    deleted: list[Step] = []
    try:
        yield _timed("write", _write, store, key, keys)
        if keys:
            yield _timed("read", _read, store, keys[0], 0, None)
            if store.capabilities.ranges:
                yield _timed("range", _read, store, keys[0], len(PROBE) // 2, 1000)
            if store.capabilities.walk:
                yield _timed("list", _find, store, keys[0])
    finally:
        deleted.append(_timed("delete", _delete, store, keys[0] if keys else key, bool(keys)))
    yield from deleted


def _timed(step: str, act: Callable[..., object], *args: Any) -> Step:
    began, problem = time.monotonic(), None
    try:
        act(*args)
    except (StoreError, GlanceError) as error:
        problem = f"{type(error).__name__}: {error}"
    return step, time.monotonic() - began, problem


def _write(store: Store, key: str, keys: list[str]) -> None:
    keys.append(store.add(key, [PROBE], len(PROBE)).key or key)


def _read(store: Store, key: str, offset: int, length: int | None) -> None:
    with closing(store.open(key, offset, length)) as blob:
        found = b"".join(blob)
    if found != PROBE[offset : None if length is None else offset + length]:
        raise StoreError(f"{len(found)} bytes came back that are not those that were written")


def _find(store: Store, key: str) -> None:
    found = next(store.walk(key[:-1]), None)
    if found is None or found.key != key or found.size != len(PROBE):
        raise StoreError("the list of the store does not hold what was written")


def _delete(store: Store, key: str, was_written: bool) -> None:
    try:
        store.delete(key)
    except BlobNotFound:
        if was_written:
            raise
