"""A RabbitMQ broker of one's own, from the distribution's package, on free loopback ports."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import amqp
from deploy.local import processes

from tests.support.waiting import accepts_connections, wait_for

PROGRAMS = Path("/usr/lib/rabbitmq/bin")
PACKAGE = "rabbitmq-server"
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"

_CONFIGURATION = """\
log.console = false
log.file.level = info
disk_free_limit.absolute = 20MB
"""

_CLUSTER = """\
cluster_formation.peer_discovery_backend = classic_config
cluster_partition_handling = pause_minority
"""

_NORMAL_MEMORY = "0.4"
_NO_MEMORY = "0.0000001"


class PortMapper:
    """Erlang's port mapper, by which nodes that share a cookie find each other; the cookie is in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.port = processes.free_port()
        self.home = folder / "home"
        self._output = folder / "mapper.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it takes connections; does nothing when it runs. Raises StartError."""
        if self._process is not None:
            return
        self.home.mkdir(parents=True, exist_ok=True)
        cookie = self.home / ".erlang.cookie"
        if not cookie.exists():
            cookie.write_text(os.urandom(16).hex())
            cookie.chmod(0o400)
        with self._output.open("ab") as output:
            self._process = processes.spawn(
                ["epmd", "-address", processes.LOOPBACK, "-port", str(self.port)],
                output=output, env={"PATH": _PATH, "HOME": str(self.home)},
            )
        processes.wait_until(
            lambda: accepts_connections(self.port),
            what="Erlang's port mapper", process=self._process, log=self._output,
        )

    def stop(self) -> None:
        """Stop it."""
        if self._process is not None:
            processes.stop(self._process)
            self._process = None


class RabbitMQ:
    """One broker with everything it writes in ``folder``; also its port mapper is a child of this process.

    Brokers with one ``mapper`` may form a cluster: ``peers`` are the names of all its nodes, for the first start.
    """

    def __init__(self, folder: Path, mapper: PortMapper | None = None) -> None:
        self.folder = folder
        self.port = processes.free_port()
        self.name = f"glance-test-{self.port}@localhost"
        self.peers: tuple[str, ...] = ()
        self._mapper = mapper or PortMapper(folder)
        self._owns_mapper = mapper is None
        self._environment = self._settings(distribution_port=processes.free_port())
        self._output = folder / "output.log"
        self._broker: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The id of the running broker."""
        assert self._broker is not None, "the broker was not started"
        return self._broker.pid

    @property
    def url(self) -> str:
        """The broker's address as kombu and the option ``transport_url`` take it."""
        return f"amqp://guest:guest@{processes.LOOPBACK}:{self.port}//"

    def start(self) -> None:
        """Start the broker and wait until it takes connections; queues and messages of an earlier start are there.

        Raises StartError with the end of the log, or with the command that installs the package.
        """
        if not (PROGRAMS / "rabbitmq-server").exists():
            raise processes.StartError(f"RabbitMQ is not installed: apt-get install {PACKAGE}")
        self._write_files()
        self._mapper.start()
        with self._output.open("ab") as output:
            program = [PROGRAMS / "rabbitmq-server"]
            self._broker = processes.spawn(program, output=output, env=self._environment, cwd=self.folder)
        processes.wait_until(self._answers, what="RabbitMQ", process=self._broker, log=self._output, seconds=180)

    def stop(self) -> None:
        """Stop the broker cleanly, and its port mapper unless others have it too."""
        self.halt()
        if self._owns_mapper:
            self._mapper.stop()

    def halt(self) -> None:
        """Stop the broker cleanly and leave its port mapper; start() brings it back."""
        if self._broker is not None:
            processes.stop(self._broker, seconds=60)
            self._broker = None

    def restart(self) -> None:
        """Stop the broker cleanly and start it again on the same port."""
        self.halt()
        self.start()

    def kill(self) -> None:
        """Kill -9 the broker; start() brings it back with what quorum queues had confirmed.

        A queue declared less than minutes ago may never answer again, unless save_queues() was called in between.
        """
        assert self._broker is not None
        processes.kill_group(self._broker)
        self._broker = None

    def end(self) -> None:
        """Kill -9 the broker if it runs."""
        if self._broker is not None:
            self.kill()

    def save_queues(self) -> None:
        """Write to disk which quorum queues there are.

        The broker itself does that some time after a declaration. One that is killed before has the messages of the
        queue but not its place in the cluster, so it never finds a leader for it (RabbitMQ 3.10.8).
        """
        self.control("eval", "[ok = dets:sync(Table) || Table <- dets:all()].")

    def memory_alarm(self, on: bool) -> None:
        """Switch the memory alarm and wait for it: while it is on the broker blocks every connection that publishes."""
        self.control("set_vm_memory_high_watermark", _NO_MEMORY if on else _NORMAL_MEMORY)
        # The broker looks at its memory now and then.
        wait_for(lambda: ("memory" in self.control("eval", "rabbit_alarm:get_alarms().")) is on, "the memory alarm")

    def purge(self, queue: str) -> int:
        """Throw away the messages of ``queue`` that wait for a consumer; return their number."""
        with self._channel() as channel:
            return int(channel.queue_purge(queue))

    def queue_depth(self, queue: str) -> int:
        """Return how many messages of ``queue`` wait for a consumer; a queue nobody declared yet holds none."""
        with suppress(amqp.NotFound), self._channel() as channel:
            return int(channel.queue_declare(queue, passive=True).message_count)
        return 0

    def control(self, *arguments: str) -> str:
        """Run ``rabbitmqctl`` against this broker and return what it prints; takes a second or two."""
        done = subprocess.run(
            [PROGRAMS / "rabbitmqctl", "--quiet", *arguments],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"rabbitmqctl {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout

    def _channel(self) -> _Channel:
        return _Channel(self.port)

    def _answers(self) -> bool:
        try:
            with self._channel():
                return True
        except (OSError, amqp.AMQPError):
            return False

    def _write_files(self) -> None:
        for name in ("mnesia", "log"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        nodes = [
            f"cluster_formation.classic_config.nodes.{number} = {name}\n" for number, name in enumerate(self.peers, 1)
        ]
        cluster = "".join([_CLUSTER, *nodes]) if nodes else ""
        (self.folder / "rabbitmq.conf").write_text(_CONFIGURATION + cluster)
        (self.folder / "enabled_plugins").write_text("[].\n")

    def _settings(self, *, distribution_port: int) -> Mapping[str, str]:
        loopback_only = "-kernel inet_dist_use_interface {127,0,0,1}"
        # Erlang's schedulers spin before they sleep, which costs the other processes of a small machine dear.
        no_spinning = "+sbwt none +sbwtdcpu none +sbwtdio none"
        return {
            "PATH": _PATH,
            "LANG": "C.UTF-8",
            "HOME": str(self._mapper.home),
            "ERL_EPMD_PORT": str(self._mapper.port),
            "RABBITMQ_NODENAME": self.name,
            "RABBITMQ_NODE_IP_ADDRESS": processes.LOOPBACK,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(distribution_port),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_PID_FILE": str(self.folder / "pid"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "enabled_plugins"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"{loopback_only} {no_spinning}",
            # Without it a shell script stays in between, and signals would not reach the broker itself.
            "RUNNING_UNDER_SYSTEMD": "true",
        }


class _Channel:
    """A connection with one channel, open within the block."""

    def __init__(self, port: int) -> None:
        self._connection = amqp.Connection(
            f"{processes.LOOPBACK}:{port}", userid="guest", password="guest", connect_timeout=60, read_timeout=60
        )

    def __enter__(self) -> amqp.Channel:
        self._connection.connect()
        return self._connection.channel()

    def __exit__(self, *_: object) -> None:
        self._connection.collect()
