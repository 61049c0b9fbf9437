"""The harness of the s3 driver: a bucket of a real server, and what an administrator of it sees."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from deploy.local import processes
from tests.conformance.remote import PATIENT, SHORT
from tests.servers.s3 import S3Keys
from tests.support.stores import MemoryIdentities, bare, load
from tests.support.waiting import wait_for

from glance_common.stores.conformance.harness import RemoteHarness
from glance_common.stores.contract import Store
from glance_common.stores.place_mark import NAME

MIB = 1024 * 1024
_WRITER = """
import sys
from pathlib import Path
from tests.conformance.s3_kit import writer
store = writer(Path(sys.argv[1]))
def pieces():
    while True:
        yield bytes(range(256)) * 4096
store.add(sys.argv[2], pieces(), None)
"""


class S3Harness(RemoteHarness):
    """Objects in a bucket. ``client`` is boto3's and sees everything; ``options`` are those of the store."""

    part = 5 * MIB
    in_flight = 24 * MIB
    """Two parts on their way, the one that comes in, and 9 MiB for the rest."""
    read_ahead = 80 * MIB
    """Two sections of 32 MiB, and what the connections hold."""
    timeout = SHORT

    def __init__(self, folder: Path, client: Any, keys: S3Keys, options: Mapping[str, Any]) -> None:
        self.folder = folder
        self.client = client
        self.bucket = str(options["s3_store_bucket"])
        self.port = int(str(options["s3_store_host"]).rpartition(":")[2])
        self.identities = MemoryIdentities()
        self.options = {
            "s3_store_access_key": keys.access, "s3_store_secret_key": keys.secret,
            "s3_store_bucket_url_format": "path", "s3_store_large_object_size": 12,
            "s3_store_large_object_chunk_size": 5, "s3_store_thread_pools": 2, "s3_store_connect_timeout": PATIENT,
            "s3_store_read_timeout": PATIENT, **options,
        }
        super().__init__(self.made())
        self.store.check()  # so that boto3 is loaded before a test counts memory

    def made(self, identities: MemoryIdentities | None = None, **options: Any) -> Store:
        """Return the driver with these options changed."""
        groups = {"glance_store": {"stores": "s3", "default_store": "s3", **self.options, **options}}
        return bare(load(self.folder, groups, identities or self.identities).default)

    def objects(self) -> list[str]:
        found = self.client.list_objects_v2(Bucket=self.bucket).get("Contents", [])
        return [entry["Key"] for entry in found if entry["Key"] != NAME]

    def unfinished(self) -> list[str]:
        return [upload["Key"] for upload in self.client.list_multipart_uploads(Bucket=self.bucket).get("Uploads", [])]

    def at(self, port: int) -> Store:
        host = str(self.options["s3_store_host"]).replace(str(self.port), str(port))
        return self.made(s3_store_host=host, s3_store_connect_timeout=SHORT, s3_store_read_timeout=SHORT)

    def without_place(self) -> Store:
        return self.made(s3_store_bucket=f"none-{uuid4().hex[:12]}")

    def with_wrong_credentials(self) -> Store:
        return self.made(s3_store_secret_key="SecretThatIsWrong")

    def exchanged(self) -> Store:
        """Another bucket in the place of ours: the registry knows our mark, the bucket holds another one."""
        other = f"other-{uuid4().hex[:12]}"
        self.client.create_bucket(Bucket=other)
        self.client.put_object(Bucket=other, Key=NAME, Body=str(uuid4()).encode())
        identities = MemoryIdentities()
        store = self.made(identities, s3_store_bucket=other)
        identities.register("s3", f"s3://127.0.0.1:{self.port}/{other}", self.store.identity())
        return store

    def write_until_killed(self, key: str) -> None:
        self.made()  # writes the file of options that the other process reads
        process = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(self.folder), key], cwd=Path(__file__).parents[2],
            stdin=subprocess.DEVNULL, start_new_session=True,
        )
        try:
            wait_for(lambda: self._parts(key) >= 2, "two parts of the killed upload")
        finally:
            processes.kill_group(process)

    def _parts(self, key: str) -> int:
        for upload in self.client.list_multipart_uploads(Bucket=self.bucket).get("Uploads", []):
            if upload["Key"] == key:
                with suppress(self.client.exceptions.NoSuchUpload):
                    parts = self.client.list_parts(Bucket=self.bucket, Key=key, UploadId=upload["UploadId"])
                    return len(parts.get("Parts", []))
        return 0


MakeS3 = Callable[..., S3Harness]
"""Returns a harness over a fresh bucket, with options of the store."""


def writer(folder: Path) -> Store:
    """Return the store whose file of options is in ``folder``."""
    from oslo_config import cfg

    from glance_common.config import loading
    from glance_common.stores import loader

    conf = cfg.ConfigOpts()
    loading.register(conf, loader.list_opts())
    conf(["--config-file", str(folder / "stores.conf")], project="glance", default_config_dirs=[])
    return loader.load_stores(conf, MemoryIdentities()).default
