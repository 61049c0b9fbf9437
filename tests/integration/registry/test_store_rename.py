"""glance-manage store rename: a store whose id was changed in the configuration works under the new one."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from tests.support.owners import Owners, new_id

from glance_common.config import loading
from glance_common.model.errors import Conflict
from glance_common.stores.contract import StoreUnavailable
from glance_common.stores.loader import load_stores
from glance_registry.config import list_manage_opts
from glance_registry.db.session import run_transaction
from glance_registry.db.tables import metadata, orphans, store_identities
from glance_registry.locations import store_identity, store_rename
from glance_registry.manage import main
from glance_registry.manage.stores import RegisteredPlaces

OLD, NEW = "fast", "nvme"


class Installation:
    """File stores over one directory, by the ids that the configuration has at the moment."""

    def __init__(self, folder: Path, owners: Owners) -> None:
        self.owners = owners
        self.images = folder / "images"
        self.images.mkdir()
        self.file = folder / "glance-api.conf"
        self.configure(OLD)

    def configure(self, *ids: str) -> None:
        """Write the configuration; every id after the first has a directory of its own."""
        url = self.owners.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
        lines = [f"[DEFAULT]\nenabled_backends = {','.join(f'{each}:file' for each in ids)}",
                 f"[glance_store]\ndefault_backend = {ids[0]}", f"[database]\nconnection = {url}"]
        for number, each in enumerate(ids):
            folder = self.images if not number else self.images.with_name(each)
            folder.mkdir(exist_ok=True)
            lines.append(f"[{each}]\nfilesystem_store_datadir = {folder}")
        self.file.write_text("\n".join(lines))

    def manage(self, *arguments: str) -> int:
        """Run glance-manage."""
        return main.main(["--config-file", str(self.file), *arguments])

    def read(self, store: str, key: str) -> bytes:
        """Read an object as a service does that starts now."""
        conf = loading.load("glance-manage", ["--config-file", str(self.file)], list_manage_opts())
        stores = load_stores(conf, RegisteredPlaces(self.owners.engine))
        with closing(stores.get(store).open(key, 0, None)) as blob:
            return b"".join(blob)

    def image(self, store: str = OLD) -> tuple[str, str]:
        """Return an active image with data in the directory, and its location."""
        image = self.owners.create()
        location = self.owners.upload(image, store=store)
        (self.images / image).write_bytes(b"data")
        return image, location

    def stores(self) -> dict[str, int]:
        """Return how many locations each store has."""
        with self.owners.engine.connect() as connection:
            rows = connection.execute(sa.text("SELECT store, count(*) FROM locations GROUP BY store"))
            return {row[0]: row[1] for row in rows}

    def places(self) -> dict[tuple[str, str], str]:
        """Return the uuid of each store and place that it has."""
        held = sa.select(store_identities).where(store_identity.IS_HELD)
        with self.owners.engine.connect() as connection:
            return {(row.store, row.place): row.identity for row in connection.execute(held)}


@pytest.fixture
def installation(tmp_path: Path, owners: Owners) -> Installation:
    """Of one store that was used."""
    made = Installation(tmp_path, owners)
    assert made.manage("store", "check") == 0
    return made


def test_data_are_read_under_the_new_id(
    installation: Installation, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_rename, "BATCH", 2)
    images = [installation.image() for _ in range(5)]
    deleted, location = installation.image()
    installation.owners.delete(deleted)
    [identity] = installation.places().values()
    installation.configure(NEW)
    with pytest.raises(StoreUnavailable, match=f"is the place of the store {OLD}"):
        installation.read(NEW, images[0][0])
    capsys.readouterr()
    assert installation.manage("store", "rename", OLD, NEW, "--dry-run") == 0
    assert capsys.readouterr().out == f"6 locations and 1 places would go from {OLD} to {NEW}.\n"
    assert installation.stores() == {OLD: 6}
    assert installation.manage("store", "rename", OLD, NEW) == 0
    assert capsys.readouterr().out == f"6 locations and 1 places went from {OLD} to {NEW}.\n"
    assert installation.stores() == {NEW: 6}
    assert installation.places() == {(NEW, str(installation.images)): identity}
    assert all(installation.read(NEW, image) == b"data" for image, _ in images)
    assert installation.owners.claim(location, stores=[NEW])["store"] == NEW
    assert installation.manage("store", "check") == 0
    assert installation.manage("store", "rename", OLD, NEW) == 1, "a mistyped id is told"
    assert f"no location and no place belongs to the store {OLD}" in capsys.readouterr().err


def test_the_directory_may_move_as_well(installation: Installation) -> None:
    image, _ = installation.image()
    installation.configure(NEW)
    moved = installation.images.with_name("elsewhere")
    installation.images.rename(moved)
    installation.file.write_text(installation.file.read_text().replace(str(installation.images), str(moved)))
    assert installation.manage("store", "rename", OLD, NEW) == 0
    assert installation.read(NEW, image) == b"data"


def test_a_rename_that_was_broken_off_is_done_again(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_rename, "BATCH", 2)
    images = [installation.image()[0] for _ in range(5)]
    installation.configure(NEW)
    real = store_rename.move

    def broken(connection: sa.Connection, store: store_rename.Renamed, after: str | None) -> tuple[int, str | None]:
        if after is not None:
            raise KeyboardInterrupt
        return real(connection, store, after)

    monkeypatch.setattr(store_rename, "move", broken)
    assert installation.manage("store", "rename", OLD, NEW) == 130
    monkeypatch.setattr(store_rename, "move", real)
    assert installation.stores() == {OLD: 3, NEW: 2}
    with pytest.raises(StoreUnavailable, match=f"is the place of the store {OLD}"):
        installation.read(NEW, images[0])
    assert installation.manage("store", "rename", OLD, NEW) == 0
    assert all(installation.read(NEW, image) == b"data" for image in images)
    assert installation.stores() == {NEW: 5}
    assert {store for store, _ in installation.places()} == {NEW}


@pytest.mark.parametrize(("configured", "arguments", "said"), [
    ((OLD, NEW), (OLD, NEW), "the store fast is configured still"),
    ((NEW,), (OLD, "other"), "no store other is configured, but nvme"),
    ((NEW,), ("os_glance_staging_store", NEW), "are reserved"),
    ((NEW,), (OLD, "os_glance_staging_store"), "are reserved"),
    ((NEW,), ("fats", NEW), "no location and no place belongs to the store fats"),
])
def test_what_is_refused(
    installation: Installation, configured: tuple[str, ...], arguments: tuple[str, str], said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    installation.image()
    installation.configure(*configured)
    before = installation.places()
    capsys.readouterr()
    assert installation.manage("store", "rename", *arguments) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("ERROR: ")
    assert said in line
    assert (installation.stores(), installation.places()) == ({OLD: 1}, before)


def test_a_new_id_with_another_place_is_refused(
    installation: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its data would be looked for in the wrong directory, and their purge would find nothing."""
    installation.image()
    installation.configure("first", NEW)
    assert installation.manage("store", "check", NEW) == 0
    assert installation.manage("store", "rename", OLD, NEW) == 1
    assert f"the store {NEW} has another place: {installation.images.with_name(NEW)}" in capsys.readouterr().err
    assert installation.stores() == {OLD: 1}


def test_a_new_id_with_data_of_an_unknown_place_is_refused(
    installation: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    installation.image()
    installation.image(store=NEW)
    installation.configure(NEW)
    assert installation.manage("store", "rename", OLD, NEW) == 1
    assert f"the store {NEW} has locations already" in capsys.readouterr().err
    assert installation.stores() == {OLD: 1, NEW: 1}


def test_a_new_id_that_took_the_place_by_a_new_mark_gets_the_rows(installation: Installation) -> None:
    """As earlier versions advised: the mark of the old id was removed, and the new id wrote its own."""
    image, _ = installation.image()
    (installation.images / ".glance-store").unlink()
    installation.configure(NEW)
    assert installation.manage("store", "check") == 0
    [kept] = [identity for (store, _), identity in installation.places().items() if store == NEW]
    assert installation.manage("store", "rename", OLD, NEW) == 0
    assert installation.places() == {(NEW, str(installation.images)): kept}
    assert installation.read(NEW, image) == b"data"


def test_a_service_that_still_writes_under_the_old_id_is_told(
    installation: Installation, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    installation.image()
    installation.configure(NEW)
    real = store_rename.end

    def late(connection: sa.Connection, store: store_rename.Renamed) -> int:
        installation.image()
        return real(connection, store)

    monkeypatch.setattr(store_rename, "end", late)
    assert installation.manage("store", "rename", OLD, NEW) == 1
    assert "1 locations moved, but 1 came to fast meanwhile" in capsys.readouterr().err
    monkeypatch.setattr(store_rename, "end", real)
    assert installation.manage("store", "rename", OLD, NEW) == 0
    assert installation.stores() == {NEW: 2}


def test_what_came_under_the_old_id_after_the_rename_follows_too(
    installation: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    """As by a service that has not read the new configuration yet."""
    first, _ = installation.image()
    installation.configure(NEW)
    assert installation.manage("store", "rename", OLD, NEW) == 0
    late, _ = installation.image()
    capsys.readouterr()
    assert installation.manage("store", "rename", OLD, NEW) == 0
    assert capsys.readouterr().out == f"1 locations and 0 places went from {OLD} to {NEW}.\n"
    assert installation.stores() == {NEW: 2}
    assert [installation.read(NEW, image) for image in (first, late)] == [b"data", b"data"]
    installation.configure(OLD)
    with pytest.raises(StoreUnavailable, match=f"is the place of the store {NEW}"):
        installation.read(OLD, late)


def test_a_place_that_was_given_up_is_taken_back(installation: Installation) -> None:
    image, _ = installation.image()
    before = installation.places()
    for old, new in ((OLD, NEW), (NEW, OLD)):
        installation.configure(new)
        assert installation.manage("store", "rename", old, new) == 0
        assert installation.read(new, image) == b"data"
    assert installation.places() == before


def test_an_id_that_is_used_again_is_another_store(
    installation: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    installation.image()
    [(_, place)] = installation.places()
    installation.configure(NEW)
    assert installation.manage("store", "rename", OLD, NEW) == 0
    installation.configure(NEW, OLD)
    assert installation.manage("store", "check") == 0
    installation.configure(NEW)
    assert installation.manage("store", "rename", OLD, NEW) == 1
    assert f"the store {NEW} has another place: {place}" in capsys.readouterr().err
    mark = new_id()
    assert run_transaction(installation.owners.engine, store_identity.register, OLD, place, mark) == mark


def test_orphans_stay_listed_and_claimed(installation: Installation) -> None:
    """Were one of them dropped, an upload could take its key while a process removes what is there."""
    token = new_id()
    rows = [
        {"id": new_id(), "store": store, "key": key, "size": 4, "token": claim}
        for store, key, claim in ((OLD, "a", token), (NEW, "a", None), (OLD, "b", None), (OLD, "c", None),
                                  (NEW, "c", token))
    ]
    with installation.owners.engine.begin() as connection:
        connection.execute(sa.insert(orphans), rows)
    installation.configure(NEW)
    assert installation.manage("store", "rename", OLD, NEW) == 0
    with installation.owners.engine.connect() as connection:
        found = connection.execute(sa.select(orphans.c.store, orphans.c.key, orphans.c.token).order_by(orphans.c.key))
        assert [tuple(row) for row in found] == [(NEW, "a", token), (NEW, "b", None), (NEW, "c", token)]


def test_two_stores_with_data_under_one_key_stay_apart(owners: Owners) -> None:
    image, _ = owners.active()
    identity = new_id()
    run_transaction(owners.engine, store_identity.register, "fast", "/a", identity)
    owners.add_copy(image, NEW)
    with owners.engine.begin() as connection:
        connection.execute(sa.insert(store_identities).values(store=NEW, place="/a", identity=identity))
    store = store_rename.Renamed("fast", NEW)
    owners.run(store_rename.begin, store)
    with pytest.raises(Conflict, match="have data under the same key"):
        owners.run(store_rename.move, store, None)


def test_every_table_that_names_a_store_follows() -> None:
    names = {table.name for table in metadata.sorted_tables if "store" in table.c}
    assert names - {"locations", "store_identities", "orphans", "store_runs"} == set()
