"""The options of the rbd store, judged with Ceph's own modules; no cluster is needed."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.stores import load

from glance_common.config.loading import ConfigError
from glance_common.stores.contract import UnknownStore
from glance_common.stores.settings import StoreConfigError

FSID = "0f6ee2a0-9d4c-4d7b-8d4c-6a5d3a7b9c1e"


def stores(folder: Path, conf: str | None, **options: object):
    path = folder / "ceph.conf"
    if conf is not None:
        path.write_text(conf)
    return load(folder, {
        "DEFAULT": {"enabled_backends": "main:rbd"}, "glance_store": {"default_backend": "main"},
        "main": {"rbd_store_ceph_conf": path, **options},
    })


def test_a_cluster_that_is_away_stops_nothing(tmp_path: Path):
    """Its URLs are known as well."""
    store = stores(tmp_path, f"[global]\nfsid = {FSID}\nmon_host = 127.0.0.1:9\n").default
    key = "11111111-1111-4111-8111-111111111111"
    assert store.url(key) == f"rbd://{FSID}/images/{key}/snap"
    assert store.details() == {
        "fsid": FSID, "pool": "images", "chunk_size": 8 * 1024 * 1024, "thin_provisioning": False,
    }


@pytest.mark.parametrize(
    ("conf", "options", "text"),
    [
        (None, {}, "must be a configuration file of Ceph that can be read"),
        ("this is no file [of options", {}, "[main] rbd_store_ceph_conf = "),
        ("[global]\nmon_host = 127.0.0.1\n", {}, "must be a file with fsid"),
        (f"[global]\nfsid = {FSID}\n", {"rbd_store_chunk_size": 3}, "rbd_store_chunk_size = 3: must be a power of two"),
        (f"[global]\nfsid = {FSID}\n", {"rbd_store_chunk_size": 64}, "rbd_store_chunk_size = 64"),
        (f"[global]\nfsid = {FSID}\n", {"rbd_store_operation_timeout": 0}, "rbd_store_operation_timeout = 0"),
    ],
)
def test_bad_options_stop_the_start(tmp_path: Path, conf: str | None, options: dict[str, object], text: str):
    with pytest.raises(ConfigError) as caught:
        stores(tmp_path, conf, **options)
    assert text in str(caught.value)


def test_two_stores_cannot_share_a_pool(tmp_path: Path):
    path = tmp_path / "ceph.conf"
    path.write_text(f"[global]\nfsid = {FSID}\n")
    options = {"rbd_store_ceph_conf": path}
    with pytest.raises(StoreConfigError, match=f"rbd_store_pool = rbd://{FSID}/images: is already used by the store a"):
        load(tmp_path, {
            "DEFAULT": {"enabled_backends": "a:rbd,b:rbd"}, "glance_store": {"default_backend": "a"},
            "a": options, "b": options,
        })


def test_a_location_elsewhere_is_refused_with_the_reason(tmp_path: Path):
    found = stores(tmp_path, f"[global]\nfsid = {FSID}\n")
    key = "11111111-1111-4111-8111-111111111111"
    assert found.user_location(f"rbd://{FSID}/images/{key}/snap") == (found.get("main"), key)
    for place in (f"{FSID[::-1]}/images/{key}", f"{FSID}/vms/{key}", f"{FSID}/images/{key};x"):
        with pytest.raises(UnknownStore, match="has the scheme of main, but another server or place, or a name"):
            found.user_location(f"rbd://{place}/snap")
