"""A real OpenStack Swift: proxy, account, container and object server with one device, on loopback only.

Its accounts are in the configuration (tempauth); it also takes the tokens of a Keystone.
"""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from deploy.local import processes

from tests.servers.keystone import GLANCE, Keystone
from tests.servers.memcached import Memcached
from tests.support import environments

_START_SECONDS = 300
_PATIENCE = 120
"""Seconds that servers wait for each other."""
_KINDS = ("account", "container", "object")

_SWIFT = """\
[swift-hash]
swift_hash_path_prefix = {prefix}
swift_hash_path_suffix = {suffix}
[swift-constraints]
max_file_size = {largest}
[storage-policy:0]
name = gold
default = yes
"""
_COMMON = """\
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
user = {user}
swift_dir = {etc}
workers = 0
log_level = INFO
log_address = /nonexistent
log_udp_host =
"""
_BACKEND = """\
devices = {folder}/srv
mount_check = false
disable_fallocate = true
fallocate_reserve = 0
[pipeline:main]
pipeline = {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
# What no listing got in time would come with a daemon that does not run here.
conn_timeout = {patience}
node_timeout = {patience}
container_update_timeout = {patience}
"""
_PROXY = """\
[pipeline:main]
pipeline = catch_errors gatekeeper healthcheck cache listing_formats bulk tempurl {keystone}tempauth copy \
container_quotas account_quotas slo dlo versioned_writes symlink proxy_logging proxy-server
[app:proxy-server]
use = egg:swift#proxy
# One process serves all objects here: several large reads at once may keep another one waiting for long.
conn_timeout = {patience}
node_timeout = {patience}
recoverable_node_timeout = {patience}
# The only server of each kind is never passed over.
error_suppression_limit = 1000000
account_autocreate = true
allow_account_management = true
[filter:tempauth]
use = egg:swift#tempauth
{users}
storage_url_scheme = http
token_life = {token_life}
[filter:cache]
use = egg:swift#memcache
memcache_servers = {memcached}
connect_timeout = {patience}
pool_timeout = {patience}
io_timeout = {patience}
[filter:slo]
use = egg:swift#slo
rate_limit_after_segment = 100000
max_manifest_segments = {segments}
[filter:dlo]
use = egg:swift#dlo
rate_limit_after_segment = 100000
[filter:versioned_writes]
use = egg:swift#versioned_writes
allow_object_versioning = true
"""
_KEYSTONE = """\
[filter:authtoken]
paste.filter_factory = keystonemiddleware.auth_token:filter_factory
www_authenticate_uri = {url}
auth_url = {url}
auth_type = password
username = {user}
password = {user}
project_name = {project}
user_domain_id = default
project_domain_id = default
delay_auth_decision = true
cache = swift.cache
[filter:keystoneauth]
use = egg:swift#keystoneauth
reseller_prefix = KEY
operator_roles = admin, member
reseller_admin_role = service
"""
_FILTERS = (
    "catch_errors", "gatekeeper", "healthcheck", "listing_formats", "bulk", "tempurl", "copy", "container_quotas",
    "account_quotas", "symlink", "proxy_logging",
)

# Swift reads its limits from /etc/swift when it is imported, whatever swift_dir says: name our folder before.
_PROGRAM = """\
import importlib, sys
from swift.common import utils
utils.set_swift_dir(sys.argv.pop(1))
from swift.common import constraints
constraints.reload_constraints()
kind = sys.argv.pop(1)
main = importlib.import_module("swift.%s.server" % {"object": "obj"}.get(kind, kind)).main
sys.exit(main())
"""


@dataclass(frozen=True, slots=True)
class SwiftUser:
    """What a user logs in with (auth v1): ``name`` is ``account:user``."""

    name: str
    key: str = field(repr=False)


def new_swift_user(account: str) -> SwiftUser:
    """Return a user of an account with a key of its own."""
    return SwiftUser(f"{account}:swift", uuid4().hex)


class SwiftServer:
    """What tests need of every server that speaks the Swift API; ``swift_auth_url`` is where users log in (auth v1)."""

    swift_auth_url: str
    port: int
    swift_user: SwiftUser
    other_swift_user: SwiftUser
    """Another user, with another account."""

    def swift_client(self, user: SwiftUser | None = None) -> Any:
        """Return a connection of python-swiftclient of a user, of the first one by default."""
        from swiftclient.client import Connection

        user = user or self.swift_user
        return Connection(authurl=self.swift_auth_url, user=user.name, key=user.key, auth_version="1", retries=3)

    @contextmanager
    def container(self) -> Iterator[str]:
        """Give the name of a fresh container, which ends with the block."""
        name, client = f"images-{uuid4().hex[:12]}", self.swift_client()
        client.put_container(name)
        try:
            yield name
        finally:
            remove_container(client, name)


def remove_container(client: Any, name: str) -> bool:
    """Remove a container with all that is in it; return whether there is none now."""
    from swiftclient.exceptions import ClientException

    try:
        for found in client.get_container(name)[1]:
            with suppress(ClientException):
                client.delete_object(name, found["name"])
        client.delete_container(name)
    except ClientException as failed:
        return bool(failed.http_status == 404)
    return True


class Swift(SwiftServer):
    """One Swift with all its files in ``folder``; it starts again with its data.

    ``largest``: bytes of the largest object that is not in segments; ``segments``: the most that an object may have;
    ``token_life``: seconds that tokens live. With a ``keystone`` it takes its tokens too: accounts ``KEY_<project>``.
    """

    def __init__(
        self, folder: Path, keystone: Keystone | None = None, *, largest: int = 5368709122, segments: int = 1000,
        token_life: int = 86400,
    ) -> None:
        self.folder = folder
        self._ports = {kind: processes.free_port() for kind in ("proxy", *_KINDS)}
        self.port = self._ports["proxy"]
        self.url = f"http://{processes.LOOPBACK}:{self.port}"
        self.swift_auth_url = f"{self.url}/auth/v1.0"
        self.swift_user, self.other_swift_user = new_swift_user("images"), new_swift_user("other")
        self.reader = SwiftUser("images:reader", uuid4().hex)
        """A user of the first account, whose rights are what its containers say."""
        self._keystone = keystone
        self._log = folder / "swift.log"
        self._etc = folder / "etc"
        self._daemons: list[subprocess.Popen[bytes]] = []
        self._memcached = Memcached(folder)
        for name in ("etc", "srv/d1"):
            (folder / name).mkdir(parents=True)
        self._write_configuration(largest, segments, token_life)

    def start(self) -> None:
        """Start all servers and wait until they keep data. Raises StartError, CalledProcessError."""
        programs = environments.environment(environments.SWIFT) / "bin"
        self._make_rings(programs)
        self._memcached.start()
        for kind in (*_KINDS, "proxy"):
            with self._log.open("ab") as log:
                self._daemons.append(processes.spawn(
                    [programs / "python", self.folder / "server.py", self._etc, kind, self._etc / f"{kind}.conf", "-v"],
                    output=log, env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "HOME": str(self.folder)},
                    cwd=self.folder, death_signal=signal.SIGKILL,
                ))
        processes.wait_until(
            self._keeps_data, what="Swift", process=self._daemons[-1], log=self._log, seconds=_START_SECONDS
        )

    def stop(self) -> None:
        """End all servers."""
        for daemon in reversed(self._daemons):
            processes.kill_group(daemon)
        self._daemons.clear()
        self._memcached.stop()

    def _make_rings(self, programs: Path) -> None:
        if (self._etc / "object.ring.gz").exists():
            return

        def make(kind: str) -> None:
            builder = programs / "swift-ring-builder"
            device = f"r1z1-{processes.LOOPBACK}:{self._ports[kind]}/d1"
            for words in (["create", "4", "1", "0"], ["add", device, "1"], ["rebalance"]):
                subprocess.run(
                    [builder, f"{kind}.builder", *words], cwd=self._etc, check=True, capture_output=True,
                    timeout=_START_SECONDS,
                )

        with ThreadPoolExecutor(len(_KINDS)) as pool:
            list(pool.map(make, _KINDS))

    def _write_configuration(self, largest: int, segments: int, token_life: int) -> None:
        etc = self._etc
        (self.folder / "server.py").write_text(_PROGRAM)
        (etc / "swift.conf").write_text(_SWIFT.format(prefix=uuid4().hex, suffix=uuid4().hex, largest=largest))
        user = pwd.getpwuid(os.geteuid()).pw_name
        common = {kind: _COMMON.format(port=port, user=user, etc=etc) for kind, port in self._ports.items()}
        for kind in _KINDS:
            backend = _BACKEND.format(folder=self.folder, kind=kind, patience=_PATIENCE)
            (etc / f"{kind}.conf").write_text(common[kind] + backend)
        users = [("images_swift", self.swift_user, ".admin"), ("other_swift", self.other_swift_user, ".admin"),
                 ("images_reader", self.reader, "")]
        (etc / "proxy.conf").write_text(
            common["proxy"] + _PROXY.format(
                users="\n".join(f"user_{name} = {user.key} {groups}" for name, user, groups in users),
                memcached=self._memcached.address, segments=segments, token_life=token_life, patience=_PATIENCE,
                keystone="authtoken keystoneauth " if self._keystone else "",
            )
            + "".join(f"[filter:{name}]\nuse = egg:swift#{name}\n" for name in _FILTERS)
            + (_KEYSTONE.format(url=self._keystone.url, user=GLANCE.name, project=GLANCE.project)
               if self._keystone else "")
        )

    def _keeps_data(self) -> bool:
        """The proxy answers before the other servers do."""
        from requests.exceptions import RequestException
        from swiftclient.exceptions import ClientException

        client = self.swift_client()
        client.retries = 0
        try:
            client.put_container("start-probe")
            client.put_object("start-probe", "probe", b"data")
            client.delete_object("start-probe", "probe")
            client.delete_container("start-probe")
        except (ClientException, RequestException):
            return False
        finally:
            client.close()
        return True

    def forget_tokens(self) -> None:
        """Let all tokens of tempauth be unknown from now on."""
        self._memcached.forget()

