"""The proof that a directory is the right one: first use, unmounted, exchanged, swapped in the middle."""

import os
import subprocess
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.stores import FileCase, MemoryIdentities, read

from glance_common.stores.contract import BlobNotFound, StoreForbidden, StoreFull, StoreUnavailable, WriteDenied
from glance_common.stores.drivers.file.driver import FileStore

KEY = "11111111-2222-3333-4444-555555555555"

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")


@pytest.fixture
def case(tmp_path: Path) -> FileCase:
    return FileCase(tmp_path)


def sentinel(case: FileCase, name: str = "a") -> Path:
    return case.folder / name / ".glance-store"


def assert_down(case: FileCase, store: FileStore, reason: str) -> None:
    """Nothing can be written, nothing counts as absent, and the directory stays as it is."""
    before = case.files()
    for act in (
        lambda: store.add(str(uuid.uuid4()), [b"x"], 1), lambda: store.open(KEY), lambda: store.size(KEY),
        lambda: store.delete(KEY), store.check,
    ):
        with pytest.raises(StoreUnavailable, match=reason) as caught:
            act()
        assert not caught.value.permanent
    assert case.files() == before


def test_first_use_marks_the_directory(case: FileCase):
    store = case.store()
    assert not sentinel(case).exists(), "loading is not a use"
    store.add(KEY, [b"x"], None)
    identity = sentinel(case).read_text().strip()
    assert str(uuid.UUID(identity)) == identity
    assert case.identities.table == {("file", str(case.folder / "a")): identity}
    assert [path.name for path in (case.folder / "a").iterdir() if ".glance-store" in path.name] == [".glance-store"]


@pytest.mark.parametrize("first", ["check", "open", "delete"])
def test_every_first_use_marks_it(case: FileCase, first: str):
    store = case.store()
    if first == "check":
        store.check()
    else:
        with pytest.raises(BlobNotFound):
            getattr(store, first)(KEY)
    assert sentinel(case).exists()
    case.store().add(KEY, [b"x"], None)


def test_a_sentinel_that_the_registry_does_not_know_is_taken_over(case: FileCase):
    (case.folder / "a").mkdir()
    identity = str(uuid.uuid4())
    sentinel(case).write_text(identity + "\n")
    case.store().add(KEY, [b"x"], None)
    assert list(case.identities.table.values()) == [identity]
    assert sentinel(case).read_text() == identity + "\n"


def test_a_known_directory_without_its_sentinel_is_down(case: FileCase):
    case.store().check()
    identity = sentinel(case).read_text().strip()
    sentinel(case).unlink()
    for store in (case.store(), case.store()):
        assert_down(case, store, f"has no file .glance-store, which must hold {identity}: is the file system mounted")
    assert not sentinel(case).exists(), "a known directory is never marked again"


def test_a_running_store_sees_the_sentinel_go_and_come_back(case: FileCase):
    store = case.store()
    store.add(KEY, [b"x"], None)
    sentinel(case).rename(case.folder / "kept")
    assert_down(case, store, "no file .glance-store")
    assert case.files() == [KEY], "what is there is not touched"
    (case.folder / "kept").rename(sentinel(case))
    assert read(store, KEY) == b"x"
    (case.folder / "a" / KEY).unlink()
    with pytest.raises(BlobNotFound):
        store.delete(KEY)


def test_another_sentinel_is_another_store(case: FileCase):
    store = case.store()
    store.check()
    sentinel(case).write_text(f"{uuid.uuid4()}\n")
    assert_down(case, store, "belongs to another store")
    assert_down(case, case.store(), "belongs to another store")


@pytest.mark.parametrize("content", [b"", b"not a uuid\n", b"\xff" * 40, b"x" * 5000])
def test_a_damaged_sentinel(case: FileCase, content: bytes):
    store = case.store()
    store.check()
    sentinel(case).write_bytes(content)
    assert_down(case, store, "does not hold a uuid")


def test_a_damaged_sentinel_is_not_taken_over(case: FileCase):
    (case.folder / "a").mkdir()
    sentinel(case).write_bytes(b"")
    assert_down(case, case.store(), "does not hold a uuid")
    assert case.identities.table == {}


def test_a_missing_directory_is_never_made(case: FileCase):
    store = case.store()
    (case.folder / "a").rmdir()
    assert_down(case, store, "No such file or directory")
    assert not (case.folder / "a").exists()


def test_a_file_in_place_of_the_directory(case: FileCase):
    store = case.store()
    (case.folder / "a").rmdir()
    (case.folder / "a").touch()
    with pytest.raises(StoreUnavailable, match="Not a directory"):
        store.check()


def test_the_loser_of_two_hosts_with_disks_of_their_own_is_down(case: FileCase):
    """The same path on two hosts without shared storage: only the first one registered is the store."""
    one = case.store()
    one.check()
    (case.folder / "a").rename(case.folder / "disk of host one")
    assert_down(case, case.store(), "has no file .glance-store")


def test_losing_the_race_to_register(case: FileCase):
    class Late(MemoryIdentities):
        def register(self, store: str, place: str, identity: str) -> str:
            return self.table.setdefault((store, place), "00000000-0000-4000-8000-000000000000")

    case.identities = Late()
    assert_down(case, case.store(), "instead of 00000000-0000-4000-8000-000000000000")


def test_another_process_uses_it_first_just_before_the_registry_answers(case: FileCase):
    one = case.store()

    class Overtaken(MemoryIdentities):
        def known(self, store: str, place: str) -> str | None:
            if not self.is_asked:
                self.is_asked = True
                one.check()
            return super().known(store, place)

        is_asked = False

    identities = Overtaken()
    identities.table = case.identities.table
    case.identities = identities
    case.store().add(KEY, [b"x"], None)
    assert list(identities.table.values()) == [sentinel(case).read_text().strip()]


def test_first_use_by_many_processes_at_once(case: FileCase):
    barrier, problems = threading.Barrier(8), []

    class Slow(MemoryIdentities):
        def known(self, store: str, place: str) -> str | None:
            found = super().known(store, place)
            barrier.wait(60)
            return found

    case.identities = Slow()
    stores = [case.store() for _ in range(8)]

    def use(store: FileStore) -> None:
        try:
            store.check()
        except StoreUnavailable as error:
            problems.append(error)

    threads = [threading.Thread(target=use, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert list(case.identities.table.values()) == [sentinel(case).read_text().strip()]


def test_the_registry_is_asked_once_a_process(case: FileCase):
    asked = []

    class Counting(MemoryIdentities):
        def known(self, store: str, place: str) -> str | None:
            asked.append(place)
            return super().known(store, place)

    case.identities = Counting()
    store = case.store()
    for _ in range(3):
        key = str(uuid.uuid4())
        store.add(key, [b"x"], None)
        store.delete(key)
    assert len(asked) == 1


def test_an_error_of_the_registry_comes_out_and_is_not_remembered(case: FileCase):
    class Down(Exception):
        pass

    class Flaky(MemoryIdentities):
        down = True

        def known(self, store: str, place: str) -> str | None:
            if self.down:
                raise Down
            return super().known(store, place)

    case.identities = identities = Flaky()
    store = case.store()
    with pytest.raises(Down):
        store.add(KEY, [b"x"], None)
    assert list((case.folder / "a").iterdir()) == []
    identities.down = False
    store.add(KEY, [b"x"], None)


def test_a_directory_swapped_between_check_and_write_gets_nothing(case: FileCase):
    store = case.store()

    def pieces() -> Iterator[bytes]:
        (case.folder / "a").rename(case.folder / "moved")
        (case.folder / "a").mkdir()
        yield b"x"

    store.add(KEY, pieces(), None)
    assert list((case.folder / "a").iterdir()) == []
    assert case.files("moved") == [KEY]


def test_a_directory_swapped_between_choice_and_write(case: FileCase, monkeypatch: pytest.MonkeyPatch):
    store = case.store()
    choose = store._choose

    def swap(key: str, size: int) -> object:
        chosen = choose(key, size)
        (case.folder / "a").rename(case.folder / "moved")
        (case.folder / "a").mkdir()
        return chosen

    monkeypatch.setattr(store, "_choose", swap)
    with pytest.raises(StoreUnavailable, match=r"no file \.glance-store"):
        store.add(KEY, [b"x"], None)
    assert list((case.folder / "a").iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_that_may_not_be_written(case: FileCase):
    store = case.store()
    store.check()
    (case.folder / "a").chmod(0o500)
    try:
        with pytest.raises(WriteDenied):
            store.add(KEY, [b"x"], None)
    finally:
        (case.folder / "a").chmod(0o700)


@pytest.fixture
def mounted(case: FileCase) -> Iterator[Path]:
    """The directory ``a`` as a mount point with a file system of 1 MiB; unmounted at the end if need be."""
    place = case.folder / "a"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], check=True)
    try:
        yield place
    finally:
        while place.is_mount():
            subprocess.run(["umount", "--lazy", place], check=True)


@needs_root
def test_full_disk(case: FileCase, mounted: Path):
    store = case.store()
    source = iter([bytes(4096)])
    with pytest.raises(StoreFull):
        store.add(KEY, source, 2 * 1024 * 1024)
    assert list(source) == [bytes(4096)], "an announced size that does not fit is refused before the first piece"
    with pytest.raises(StoreFull):
        store.add(KEY, [b"x" * 65536] * 40, None)
    assert case.files() == []
    store.add(KEY, [b"x" * 65536] * 5, None)


@needs_root
def test_a_disk_that_became_read_only(case: FileCase, mounted: Path):
    store = case.store()
    store.add(KEY, [b"x"], None)
    subprocess.run(["mount", "-o", "remount,ro", mounted], check=True)
    with pytest.raises(WriteDenied):
        store.add(str(uuid.uuid4()), [b"x"], None)
    with pytest.raises(StoreForbidden):
        store.delete(KEY)
    assert read(store, KEY) == b"x"


@needs_root
def test_a_read_only_disk_that_was_never_used(case: FileCase, mounted: Path):
    subprocess.run(["mount", "-o", "remount,ro", mounted], check=True)
    assert_down(case, case.store(), "cannot be written: Read-only file system")


@needs_root
def test_unmounted_while_running(case: FileCase, mounted: Path):
    store = case.store()
    store.add(KEY, [b"x"], None)
    subprocess.run(["umount", mounted], check=True)
    assert_down(case, store, "is the file system mounted")
    assert list(mounted.iterdir()) == [], "nothing lands on the bare mount point"


@needs_root
def test_unmounted_and_mounted_again(case: FileCase):
    disk, place = case.folder / "disk", case.folder / "a"
    for folder in (disk, place):
        folder.mkdir()
    subprocess.run(["mount", "--bind", disk, place], check=True)
    try:
        store = case.store()
        store.add(KEY, [b"x"], None)
    finally:
        subprocess.run(["umount", place], check=True)
    assert_down(case, store, "is the file system mounted")
    subprocess.run(["mount", "--bind", disk, place], check=True)
    try:
        assert read(store, KEY) == b"x"
        store.delete(KEY)
    finally:
        subprocess.run(["umount", place], check=True)


@needs_root
def test_unmounted_in_the_middle_of_an_upload(case: FileCase):
    disk, place = case.folder / "disk", case.folder / "a"
    for folder in (disk, place):
        folder.mkdir()
    subprocess.run(["mount", "--bind", disk, place], check=True)
    store = case.store()

    def pieces() -> Iterator[bytes]:
        yield b"before"
        subprocess.run(["umount", "--lazy", place], check=True)
        yield b"after"

    store.add(KEY, pieces(), None)
    assert list(place.iterdir()) == []
    assert (disk / KEY).read_bytes() == b"beforeafter"
