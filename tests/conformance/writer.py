"""Adds data without end to the store of a configuration, until it is killed.

usage: python -m tests.conformance.writer CONFIG STORE KEY IDENTITIES. One line goes to stdout for each MiB that the
store has taken; IDENTITIES is the table of places as JSON: [[store, place, uuid], …].
"""

import json
import sys
from collections.abc import Iterator

from oslo_config import cfg
from tests.support.stores import MemoryIdentities

from glance_common.config import loading
from glance_common.stores import loader

MIB = 1024 * 1024


def pieces() -> Iterator[bytes]:
    while True:
        yield bytes(MIB)
        print("taken", flush=True)  # noqa: T201 - the parent reads it


def main(config: str, store: str, key: str, table: str) -> None:
    conf = cfg.ConfigOpts()
    loading.register(conf, loader.list_opts())
    conf(["--config-file", config], project="glance", default_config_dirs=[])
    identities = MemoryIdentities()
    identities.table = {(name, place): identity for name, place, identity in json.loads(table)}
    loader.load_stores(conf, identities).get(store).add(key, pieces(), None)


if __name__ == "__main__":
    main(*sys.argv[1:])
