"""A real Ceph with its gateway from Debian, which speaks S3 and Swift: one monitor, one OSD in memory, one radosgw."""

from __future__ import annotations

import shutil
import signal
import subprocess
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from uuid import uuid4

from deploy.local import processes

from tests.servers.s3 import S3Keys, fresh_bucket, new_keys, s3_client
from tests.servers.swift import SwiftServer, new_swift_user
from tests.support.certificates import server_certificate

PACKAGES = "ceph-mon ceph-osd ceph-common radosgw"
_START_SECONDS = 120
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_ENVIRONMENT = {"PATH": _PATH, "LC_ALL": "C.UTF-8"}

# Without keys between its parts: nothing else reaches them. The OSD looks for free ports by itself (6800 and up).
_CONFIGURATION = """\
[global]
fsid = {fsid}
mon_host = [v2:127.0.0.1:{mon},v1:127.0.0.1:{mon_v1}]
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
ms_bind_ipv6 = false
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
auth_allow_insecure_global_id_reclaim = false
run_dir = {folder}
crash_dir = {folder}
pid_file =
admin_socket =
log_file = {folder}/$name.log
mon_cluster_log_file = {folder}/cluster.log
log_to_stderr = false
err_to_stderr = true
osd_crush_chooseleaf_type = 0
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 4
osd_pool_default_pgp_num = 4
osd_pool_default_pg_autoscale_mode = off
mon_allow_pool_size_one = true
mon_max_pg_per_osd = 1000
# One monitor on one machine: it need not wait a second before each change of its maps.
paxos_propose_interval = 0.05
paxos_min_wait = 0.01

[client.admin]
log_file =

[mon]
mon_data = {folder}/mon
mon_data_avail_crit = 1
mon_data_avail_warn = 2

[osd]
osd_data = {folder}/osd
osd_objectstore = memstore
osd_class_load_list = *
osd_class_default_list = *
osd_max_object_name_len = 2048
memstore_device_bytes = 4294967296

[client.rgw.a]
rgw_frontends = beast endpoint=127.0.0.1:{port} ssl_endpoint=127.0.0.1:{tls_port} \
ssl_certificate={folder}/localhost.crt ssl_private_key={folder}/localhost.key
ms_mon_client_mode = crc
rgw_rados_pool_pg_num_min = 4
rgw_thread_pool_size = 64
rgw_swift_account_in_url = true
rgw_enable_usage_log = false
rgw_run_sync_thread = false
"""


class Ceph(SwiftServer):
    """A cluster with a gateway for S3 and Swift, all files in ``folder``. Its data end with it."""

    def __init__(self, folder: Path) -> None:
        missing = [name for name in ("ceph-mon", "ceph-osd", "ceph", "radosgw") if not shutil.which(name, path=_PATH)]
        assert not missing, f"{', '.join(missing)}: missing; apt-get install {PACKAGES}"
        self.folder = folder
        mon, mon_v1, self.port, self.tls_port = (processes.free_port() for _ in range(4))
        self.url = f"http://{processes.LOOPBACK}:{self.port}"
        self.tls_url = f"https://localhost:{self.tls_port}"
        self.keys, self.other_keys = new_keys(), new_keys()
        """Two users, each with buckets of its own."""
        self.swift_auth_url = f"{self.url}/auth/v1.0"
        self.tls_swift_auth_url = f"{self.tls_url}/auth/v1.0"
        self.swift_user, self.other_swift_user = new_swift_user("images"), new_swift_user("other")
        """The same two, when they speak Swift."""
        self.authority, _ = server_certificate(folder, "localhost")
        """The file of the certificate to trust for https."""
        self._fsid = str(uuid4())
        self._conf = ("-c", str(folder / "ceph.conf"))
        (folder / "ceph.conf").write_text(_CONFIGURATION.format(
            fsid=self._fsid, folder=folder, mon=mon, mon_v1=mon_v1, port=self.port, tls_port=self.tls_port
        ))
        self._monitor = f"[v2:{processes.LOOPBACK}:{mon},v1:{processes.LOOPBACK}:{mon_v1}]"
        self._log = folder / "output.log"
        self._daemons: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Make the cluster and wait until its gateway answers. Raises CalledProcessError, StartError."""
        (self.folder / "mon").mkdir()
        (self.folder / "osd").mkdir()
        uuid = str(uuid4())
        monitors = self.folder / "monmap"
        self._run("monmaptool", "--create", "--fsid", self._fsid, "--addv", "a", self._monitor, monitors)
        self._run("ceph-mon", *self._conf, "--mkfs", "-i", "a", "--monmap", monitors)
        self._daemon("ceph-mon", "-i", "a")
        self._run("ceph", *self._conf, "osd", "new", uuid, "0")
        self._run("ceph-osd", *self._conf, "-i", "0", "--mkfs", "--osd-uuid", uuid, "--no-mon-config")
        self._daemon("ceph-osd", "-i", "0")
        users = (("images", self.keys, self.swift_user), ("other", self.other_keys, self.other_swift_user))
        for name, keys, user in users:
            self._gateway_admin(
                "user", "create", f"--uid={name}", f"--display-name={name}", f"--access-key={keys.access}",
                f"--secret-key={keys.secret}",
            )
            self._gateway_admin(
                "subuser", "create", f"--uid={name}", f"--subuser={user.name}", "--access=full", "--key-type=swift",
                f"--secret-key={user.key}",
            )
        gateway = self._daemon("radosgw", "-n", "client.rgw.a")
        processes.wait_until(
            lambda: not processes.port_is_free(self.port), what="radosgw", process=gateway, log=self._log,
            seconds=_START_SECONDS,
        )
        self.client().list_buckets()

    def stop(self) -> None:
        """End all daemons."""
        for daemon in reversed(self._daemons):
            processes.kill_group(daemon)
        self._daemons.clear()

    def client(self, keys: S3Keys | None = None) -> Any:
        """Return a boto3 client of a user, of the first one by default."""
        return s3_client(self.url, keys or self.keys)

    def bucket(self) -> AbstractContextManager[str]:
        """Give the name of a fresh bucket of the first user, which ends with the block."""
        return fresh_bucket(self.client())

    def _gateway_admin(self, *command: str) -> None:
        self._run("radosgw-admin", *self._conf, "-n", "client.rgw.a", "--log-file=", *command)

    def _run(self, *command: str | Path) -> None:
        with self._log.open("ab") as log:
            subprocess.run(
                command, check=True, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=_ENVIRONMENT,
                timeout=_START_SECONDS,
            )

    def _daemon(self, *command: str) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            daemon = processes.spawn(
                [command[0], "-f", *self._conf, *command[1:]], output=log, env=_ENVIRONMENT, cwd=self.folder,
                death_signal=signal.SIGKILL,
            )
        self._daemons.append(daemon)
        return daemon
