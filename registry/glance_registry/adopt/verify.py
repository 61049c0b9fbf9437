"""Both sides compared row by row: what the other side has, translated as a run does it, and what is here."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from glance_registry.adopt import definitions, tasks, translation
from glance_registry.adopt.places import CannotCome
from glance_registry.adopt.reading import ImageRows, SourceRows
from glance_registry.adopt.recognition import recognize
from glance_registry.adopt.run import Progress, TakeOver
from glance_registry.adopt.source import snapshot
from glance_registry.adopt.writing import is_as_adopted
from glance_registry.db.session import read
from glance_registry.db.tables import images, locations, members, metadef_namespaces, operations

_PAGE = 5000
_FIELDS = (
    "name", "status", "visibility", "owner", "disk_format", "container_format", "size", "virtual_size", "min_disk",
    "min_ram", "protected", "os_hidden", "checksum", "os_hash_algo", "os_hash_value", "properties", "tags",
    "created_at", "updated_at", "deleted_at",
)
_TASK_FIELDS = (
    "kind", "status", "owner", "user_id", "request_id", "input", "result", "message", "created_at", "updated_at",
)
_LONGEST = 40
_AS_ADOPTED = sa.literal_column(f"({is_as_adopted('images')})", sa.Boolean).label("as_adopted")


@dataclass(frozen=True, slots=True)
class RowDifference:
    """One difference: the thing, its field, and how both sides have it, shortened and without addresses of data."""

    thing: str
    field: str
    there: str
    here: str


@dataclass(slots=True)
class Compared:
    """How many rows were compared."""

    images: int = 0
    tasks: int = 0
    namespaces: int = 0


def compare(
    engine: sa.Engine, wanted: TakeOver, compared: Compared, progress: Progress
) -> Iterator[RowDifference]:
    """Yield every difference, and count in ``compared``. Raises as ``run.adopt``."""
    with snapshot(wanted.url) as connection:
        source = SourceRows(connection, recognize(connection), wanted.since)
        total = source.count()
        for page in source.images():
            yield from read(engine, _page, page, wanted)
            compared.images += len(page)
            progress(compared.images, total)
        yield from _compare_tasks(engine, source, compared)
        yield from _compare_definitions(engine, source, compared)
        if wanted.since is None:
            yield from _only_here(engine, source)


def _page(connection: sa.Connection, page: Sequence[ImageRows], wanted: TakeOver) -> list[RowDifference]:
    found: list[RowDifference] = []
    expected: dict[str, translation.Translated] = {}
    for rows in page:
        try:
            each = translation.image(rows, wanted.places)
        except CannotCome as reason:
            found.append(RowDifference(f"image {rows.image.id}", "", "is there", f"left out: {reason}"))
        else:
            expected[each.image["id"]] = each
    ids = list(expected)
    columns = [images.c[name] for name in _FIELDS]
    rows_here = connection.execute(sa.select(images.c.id, _AS_ADOPTED, *columns).where(images.c.id.in_(ids)))
    here = {row.id: row for row in rows_here}
    places = _grouped(connection, locations, ids, locations.c.status != "deleted")
    shared = _grouped(connection, members, ids, sa.true())
    for name, each in expected.items():
        row = here.get(name)
        if row is None:
            found.append(RowDifference(f"image {name}", "", "is there", "missing"))
            continue
        if (each.image["status"], row.status) == ("pending_delete", "deleted"):
            continue  # purged here, as it was to be
        thing = f"image {name}" if row.as_adopted else f"image {name} (changed here)"
        found += [RowDifference(thing, "", "", problem) for problem in each.problems]
        found += _fields(thing, _FIELDS, each.image, row)
        found += _compare_locations(thing, each.locations, places.get(name, []))
        found += _compare_members(thing, each.members, shared.get(name, []))
    return found


def _grouped(
    connection: sa.Connection, table: sa.Table, ids: Sequence[str], condition: sa.ColumnElement[bool]
) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for row in connection.execute(sa.select(table).where(table.c.image_id.in_(ids), condition)):
        found.setdefault(row.image_id, []).append(row)
    return found


def _fields(thing: str, names: Sequence[str], there: Mapping[str, Any], here: Any) -> Iterator[RowDifference]:
    for name in names:
        expected, found = there[name], getattr(here, name)
        if isinstance(found, datetime):
            expected = None if expected is None else datetime.fromisoformat(expected)
        if expected != found:
            yield RowDifference(thing, name, _short(expected), _short(found))


def _compare_locations(thing: str, there: Sequence[Mapping[str, Any]], here: Sequence[Any]) -> Iterator[RowDifference]:
    known = {row.id: row for row in here}
    for each in there:
        row = known.pop(each["id"], None)
        if row is None:
            yield RowDifference(thing, "location", f"one in {each['store']}", "missing")
            continue
        for name in ("store", "status", "size", "metadata"):
            if getattr(row, name) != each[name]:
                yield RowDifference(thing, f"location {name}", _short(each[name]), _short(getattr(row, name)))
        if row.key != each["key"] and not row.external:
            yield RowDifference(thing, "location key", "", "another one")
    for row in known.values():
        yield RowDifference(thing, "location", "", f"one in {row.store}, {row.status}")


def _compare_members(thing: str, there: Sequence[Mapping[str, Any]], here: Sequence[Any]) -> Iterator[RowDifference]:
    known = {row.member: row for row in here}
    for each in there:
        row = known.pop(each["member"], None)
        name = f"member {each['member']}"
        if row is None:
            yield RowDifference(thing, name, each["status"], "missing")
        elif (row.status, row.can_share) != (each["status"], each["can_share"]):
            yield RowDifference(thing, name, each["status"], row.status)
    for row in known.values():
        yield RowDifference(thing, f"member {row.member}", "", row.status)


def _compare_tasks(engine: sa.Engine, source: SourceRows, compared: Compared) -> Iterator[RowDifference]:
    now = source.now()
    for page in source.tasks():
        expected = {}
        for row in page:
            try:
                found = tasks.task(row, now)
            except CannotCome as reason:
                yield RowDifference(f"task {row.id}", "", row.status, f"left out: {reason}")
                continue
            if found is not None:
                expected[found[0]["id"]] = found[0]
        select = sa.select(operations).where(operations.c.id.in_(list(expected)))
        here = {row.id: row for row in read(engine, _all(select))}
        compared.tasks += len(expected)
        for name, values in expected.items():
            if name not in here:
                yield RowDifference(f"task {name}", "", values["status"], "missing")
            else:
                yield from _fields(f"task {name}", _TASK_FIELDS, values, here[name])


def _compare_definitions(engine: sa.Engine, source: SourceRows, compared: Compared) -> Iterator[RowDifference]:
    refused: list[RowDifference] = []

    def refuse(name: str, reason: str) -> None:
        refused.append(RowDifference(name, "", "is there", f"left out: {reason}"))

    names = set()
    for namespace in definitions.read(source, refuse):
        compared.namespaces += 1
        names.add(namespace.values["namespace"])
        yield from read(engine, _namespace, namespace)
    yield from refused
    for row in read(engine, _all(sa.select(metadef_namespaces.c.namespace).order_by(metadef_namespaces.c.id))):
        if row.namespace not in names:
            yield RowDifference(f"namespace {row.namespace}", "", "missing", "is here")


def _namespace(connection: sa.Connection, namespace: definitions.AdoptedNamespace) -> list[RowDifference]:
    thing = f"namespace {namespace.values['namespace']}"
    holder = definitions.holder_of(connection, namespace.values["namespace"])
    if holder is None:
        return [RowDifference(thing, "", "is there", "missing")]
    found = [] if definitions.is_same(holder, namespace.values) else [RowDifference(thing, "", "", "differs")]
    for table, kind in definitions.KINDS.items():
        here = definitions.stored(connection, table, holder.id)
        there = {row["name"]: definitions.comparable(row) for row in namespace.content[table]}
        for name in sorted(here.keys() | there.keys()):
            if here.get(name) != there.get(name):
                told = tuple("is there" if name in side else "missing" for side in (there, here))
                both = told if "missing" in told else ("", "differs")
                found.append(RowDifference(thing, f"{kind} {name}"[:80], *both))
    return found


def _only_here(engine: sa.Engine, source: SourceRows) -> Iterator[RowDifference]:
    last: str | None = None
    while True:
        select = sa.select(images.c.id).order_by(images.c.id).limit(_PAGE)
        ids = [row.id for row in read(engine, _all(select if last is None else select.where(images.c.id > last)))]
        known = source.images_with(ids) if ids else set()
        for name in ids:
            if name not in known:
                yield RowDifference(f"image {name}", "", "missing", "is here")
        if len(ids) < _PAGE:
            return
        last = ids[-1]


def _all(select: sa.Select[Any]) -> Callable[[sa.Connection], Sequence[Any]]:
    return lambda connection: connection.execute(select).all()


def _short(value: Any) -> str:
    text = " ".join(str(value).split()) if value is not None else "none"
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
