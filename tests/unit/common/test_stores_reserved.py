"""The reserved stores for staging and tasks (STO-18; stores section 13)."""

import socket
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from oslo_config import cfg
from tests.support.stores import MemoryIdentities, configuration, read

from glance_common.config import loading
from glance_common.config.loading import ConfigError
from glance_common.stores import loader, reserved
from glance_common.stores.contract import BadLocation, StoreUnavailable, UnknownStore
from glance_common.stores.reserved import STAGING, TASKS, init_directories, load_staging, load_tasks


def options(folder: Path, **groups: dict[str, Any]) -> cfg.ConfigOpts:
    folder.mkdir(exist_ok=True)
    conf = configuration(folder, {"DEFAULT": {"staging_host": "node-1"}, **groups})
    loading.register(conf, reserved.list_opts())
    return conf


def staged_in(folder: Path, name: str = "staging", **default: Any) -> cfg.ConfigOpts:
    uri = f"file://{folder}/{name}/"
    return options(folder, DEFAULT={"node_staging_uri": uri, "staging_host": "node-1", **default})


def test_sto18_the_staging_store_keeps_data_in_its_directory(tmp_path: Path):
    (tmp_path / "staging").mkdir()
    store, key = load_staging(staged_in(tmp_path), MemoryIdentities()), str(uuid4())
    store.add(key, [b"da", b"ta"], None)
    assert store.id == "os_glance_staging_store@node-1"
    assert store.directory == tmp_path / "staging"
    assert store.path(key).read_bytes() == read(store, key) == b"data"
    store.delete(key)
    assert not store.path(key).exists()


@pytest.mark.parametrize("key", ["../secret", "/etc/passwd", "", ".work"])
def test_sto18_no_path_leads_out_of_the_directory(tmp_path: Path, key: str):
    with pytest.raises(BadLocation):
        load_staging(staged_in(tmp_path), MemoryIdentities()).path(key)


def test_sto18_a_missing_directory_is_no_reason_not_to_start_and_is_not_created(tmp_path: Path):
    store = load_staging(staged_in(tmp_path), MemoryIdentities())
    with pytest.raises(StoreUnavailable, match="No such file or directory"):
        store.add(str(uuid4()), [b"data"], None)
    assert not (tmp_path / "staging").exists()
    (tmp_path / "staging").mkdir()
    store.add(str(uuid4()), [b"data"], None)


def test_sto18_two_hosts_with_the_same_path_are_two_places(tmp_path: Path):
    """One directory, exchanged between the steps, stands for the same path on two machines."""
    identities, key, place = MemoryIdentities(), str(uuid4()), tmp_path / "staging"
    first = load_staging(staged_in(tmp_path), identities)
    second = load_staging(staged_in(tmp_path, staging_host="node-2"), identities)
    namesake = load_staging(staged_in(tmp_path), identities)
    place.mkdir()
    first.add(key, [b"first"], None)
    place.rename(tmp_path / "disk of node 1")
    place.mkdir()
    second.add(key, [b"second"], None)
    with pytest.raises(StoreUnavailable, match="belongs to another store"):
        namesake.delete(key)
    assert read(second, key) == b"second"
    assert (tmp_path / "disk of node 1" / key).read_bytes() == b"first"


def test_sto18_hosts_that_share_a_directory_share_its_data(tmp_path: Path):
    (tmp_path / "staging").mkdir()
    identities, key = MemoryIdentities(), str(uuid4())
    one, other = (load_staging(staged_in(tmp_path, staging_host="shared"), identities) for _ in range(2))
    one.add(key, [b"data"], None)
    assert one.id == other.id
    assert read(other, key) == b"data"


def test_sto18_the_host_name_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "node-7.example.org")
    store = load_staging(options(tmp_path, DEFAULT={"debug": "false"}), MemoryIdentities())
    assert store.id == "os_glance_staging_store@node-7.example.org"
    assert str(store.directory) == "/var/lib/glance/staging"


def test_sto18_users_neither_see_nor_name_reserved_stores(tmp_path: Path):
    stores = loader.load_stores(staged_in(tmp_path), MemoryIdentities())
    assert stores.ids == ("file", "http")
    for name in (STAGING, f"{STAGING}@node-1", TASKS):
        with pytest.raises(UnknownStore):
            stores.get(name)
    with pytest.raises(BadLocation):
        stores.user_location(f"file://{tmp_path}/staging/{uuid4()}")


def test_sto18_where_the_directories_are(tmp_path: Path):
    conf = options(tmp_path, **{STAGING: {"filesystem_store_datadir": "//a/b/"}, "task": {"work_dir": "/w"}})
    assert str(load_staging(conf, MemoryIdentities()).directory) == "/a/b"
    tasks = load_tasks(conf, MemoryIdentities())
    assert tasks is not None
    assert (tasks.id, str(tasks.directory)) == ("os_glance_tasks_store@node-1", "/w")
    both = {TASKS: {"filesystem_store_datadir": "/t"}, "task": {"work_dir": "/w"}}
    found = load_tasks(options(tmp_path, **both), MemoryIdentities())
    assert found is not None
    assert str(found.directory) == "/t"
    assert load_tasks(options(tmp_path), MemoryIdentities()) is None
    same = options(tmp_path, task={"work_dir": "/var/lib/glance/staging/"})
    assert load_tasks(same, MemoryIdentities()) is None


@pytest.mark.parametrize("uri", ["/tmp/staging", "http://host/x", "file://host/x", "file:///", "file:x", "", "file://[x"])
def test_a_staging_uri_that_is_no_directory_stops_the_start(tmp_path: Path, uri: str):
    conf = options(tmp_path, DEFAULT={"node_staging_uri": uri})
    with pytest.raises(ConfigError, match=r"\[DEFAULT\] node_staging_uri = .*: must be file:///path"):
        load_staging(conf, MemoryIdentities())


@pytest.mark.parametrize("host", ["a/b", "a@b", "a b", "x" * 201])
def test_a_host_name_that_is_none_stops_the_start(tmp_path: Path, host: str):
    with pytest.raises(ConfigError, match="staging_host"):
        load_staging(options(tmp_path, DEFAULT={"staging_host": host}), MemoryIdentities())


def test_staged_and_stored_images_never_share_a_directory(tmp_path: Path):
    conf = staged_in(tmp_path, "images")
    conf.set_override("filesystem_store_datadir", f"{tmp_path}/images/", group="glance_store")
    with pytest.raises(ConfigError, match="is already used by the store file"):
        load_staging(conf, MemoryIdentities())


def test_store_init_creates_what_is_missing_for_the_service_alone(tmp_path: Path):
    conf = options(
        tmp_path,
        DEFAULT={"node_staging_uri": f"file://{tmp_path}/deep/staging"}, task={"work_dir": f"{tmp_path}/tasks"},
    )
    assert init_directories(conf) == [(STAGING, f"{tmp_path}/deep/staging"), (TASKS, f"{tmp_path}/tasks")]
    assert (tmp_path / "deep" / "staging").stat().st_mode & 0o777 == 0o700
    assert init_directories(conf) == []
