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

from glance_common.stores.ceph_modules import FOLDERS
from tests.servers.s3 import Buckets, S3Keys, new_keys, s3_client
from tests.servers.swift import SwiftServer, new_swift_user
from tests.support.certificates import server_certificate

PACKAGES = "ceph-mon ceph-osd ceph-common radosgw python3-rados python3-rbd"
_START_SECONDS = 300
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_ENVIRONMENT = {"PATH": _PATH, "LC_ALL": "C.UTF-8"}

# The OSD looks for free ports by itself (6800 and up).
_CONFIGURATION = """\
[global]
fsid = {fsid}
mon_host = [v2:127.0.0.1:{mon},v1:127.0.0.1:{mon_v1}]
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
ms_bind_ipv6 = false
auth_cluster_required = cephx
auth_service_required = cephx
auth_client_required = cephx
auth_allow_insecure_global_id_reclaim = false
keyring = {folder}/keyring
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
mon_allow_pool_delete = true
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
osd_objectstore = {store}
osd_class_load_list = *
osd_class_default_list = *
osd_max_object_name_len = 2048
osd_client_watch_timeout = 10
# After kill -9 the next one waits for this share of 20 s, in which clients may still read from the old one.
osd_pool_default_read_lease_ratio = 0.1
memstore_device_bytes = {memory}
bluestore_block_size = 8589934592

[client.rgw.a]
rgw_frontends = beast endpoint=127.0.0.1:{port} ssl_endpoint=127.0.0.1:{tls_port} \
ssl_certificate={folder}/localhost.crt ssl_private_key={folder}/localhost.key tcp_nodelay=1
ms_mon_client_mode = crc
rgw_rados_pool_pg_num_min = 4
rgw_thread_pool_size = 64
rgw_swift_account_in_url = true
rgw_enable_usage_log = false
rgw_run_sync_thread = false
"""


# Each part has a key of its own, all in one file.
_CAPS = {
    "mon.": {"mon": "allow *"},
    "osd.0": {"mon": "allow profile osd", "osd": "allow *"},
    "client.admin": {"mon": "allow *", "osd": "allow *"},
    "client.rgw.a": {"mon": "allow rw", "osd": "allow rwx"},
}


class Ceph(SwiftServer):
    """A cluster, all files in ``folder``. Its data end with it; with the store ``bluestore`` they survive kill -9.

    Without, ``memory`` is the bytes that they may take.
    """

    def __init__(
        self, folder: Path, *, store: str = "memstore", memory: int = 4 << 30, gateway: bool = True
    ) -> None:
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
        self._buckets = Buckets()
        self.fsid = str(uuid4())
        self.monitor_port = mon
        self._has_gateway = gateway
        self._conf = ("-c", str(folder / "ceph.conf"))
        (folder / "ceph.conf").write_text(_CONFIGURATION.format(
            fsid=self.fsid, folder=folder, store=store, mon=mon, mon_v1=mon_v1, port=self.port, tls_port=self.tls_port,
            memory=memory,
        ))
        self._monitor = f"[v2:{processes.LOOPBACK}:{mon},v1:{processes.LOOPBACK}:{mon_v1}]"
        self._log = folder / "output.log"
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """Make the cluster and wait until it answers. Raises CalledProcessError, StartError."""
        (self.folder / "mon").mkdir()
        (self.folder / "osd").mkdir()
        uuid = str(uuid4())
        monitors = self.folder / "monmap"
        keyring = self.folder / "keyring"
        self._run("ceph-authtool", "--create-keyring", keyring)
        for name, caps in _CAPS.items():
            granted = [word for service, cap in caps.items() for word in ("--cap", service, cap)]
            self._run("ceph-authtool", keyring, "--name", name, "--gen-key", *granted)
        self._run("monmaptool", "--create", "--fsid", self.fsid, "--addv", "a", self._monitor, monitors)
        self._run("ceph-mon", *self._conf, "--mkfs", "-i", "a", "--monmap", monitors, "--keyring", keyring)
        self.start_daemon("mon.a")
        self._run("ceph", *self._conf, "osd", "new", uuid, "0")
        self._run("ceph-osd", *self._conf, "-i", "0", "--mkfs", "--osd-uuid", uuid, "--no-mon-config")
        self.start_daemon("osd.0")
        if self._has_gateway:
            self._make_gateway()

    def _make_gateway(self) -> None:
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
        self.start_gateway()
        self.client().list_buckets()

    def stop(self) -> None:
        """End all daemons."""
        for name in reversed(list(self._daemons)):
            self.kill(name)

    def start_daemon(self, name: str) -> None:
        """Start the monitor (``mon.a``) or the OSD (``osd.0``), with the data that it has."""
        kind, _, number = name.partition(".")
        self._daemon(name, f"ceph-{kind}", "-i", number)

    def start_gateway(self) -> None:
        """Start radosgw (``rgw.a``) and wait until it takes connections. Raises StartError."""
        gateway = self._daemon("rgw.a", "radosgw", "-n", "client.rgw.a")
        processes.wait_until(
            lambda: not processes.port_is_free(self.port), what="radosgw", process=gateway, log=self._log,
            seconds=_START_SECONDS,
        )

    def pid(self, name: str) -> int:
        """Return the process id of a daemon that runs."""
        return self._daemons[name].pid

    def is_running(self, name: str) -> bool:
        """Say whether a daemon was started and not killed."""
        return name in self._daemons

    def kill(self, name: str) -> None:
        """Kill a daemon with -9."""
        processes.kill_group(self._daemons.pop(name))

    def freeze(self) -> None:
        """SIGSTOP all daemons: the cluster hangs, on old connections and new ones."""
        for daemon in self._daemons.values():
            processes.signal_group(daemon, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let them run on."""
        for daemon in self._daemons.values():
            processes.signal_group(daemon, signal.SIGCONT)

    def command(self, *words: str | Path) -> str:
        """Return what a command of Ceph prints, which acts as the administrator. Raises CalledProcessError."""
        return subprocess.run(
            [words[0], *self._conf, *words[1:]], check=True, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            env=_ENVIRONMENT, timeout=_START_SECONDS,
        ).stdout

    def client(self, keys: S3Keys | None = None) -> Any:
        """Return a boto3 client of a user, of the first one by default."""
        return s3_client(self.url, keys or self.keys)

    def bucket(self) -> AbstractContextManager[str]:
        """Give the name of an empty bucket of the first user for the block."""
        return self._buckets.one(self.client())

    def _gateway_admin(self, *command: str) -> None:
        self._run("radosgw-admin", *self._conf, "-n", "client.rgw.a", "--log-file=", *command)

    def _run(self, *command: str | Path) -> None:
        with self._log.open("ab") as log:
            subprocess.run(
                command, check=True, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=_ENVIRONMENT,
                timeout=_START_SECONDS,
            )

    def _daemon(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            daemon = processes.spawn(
                [command[0], "-f", *self._conf, *command[1:]], output=log, env=_ENVIRONMENT, cwd=self.folder,
                death_signal=signal.SIGKILL,
            )
        self._daemons[name] = daemon
        return daemon


def link_modules(folder: Path) -> Path:
    """Make a folder with Debian's modules of Ceph for Python, and nothing else of Debian's; return it."""
    folder.mkdir()
    for module in (each for name in ("rados", "rbd") for each in Path(FOLDERS[0]).glob(f"{name}.*.so")):
        (folder / module.name).symlink_to(module)
    return folder
