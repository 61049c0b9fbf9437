"""Several RabbitMQ brokers that form one cluster: quorum queues have a copy on each of up to five nodes."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.servers.rabbitmq import PortMapper, RabbitMQ


class RabbitMQCluster:
    """``size`` brokers with all their files in ``folder``."""

    def __init__(self, folder: Path, size: int = 3) -> None:
        self._mapper = PortMapper(folder)
        self.nodes = []
        for number in range(1, size + 1):
            (folder / f"node-{number}").mkdir(parents=True)
            self.nodes.append(RabbitMQ(folder / f"node-{number}", self._mapper))
        for node in self.nodes:
            node.peers = tuple(each.name for each in self.nodes)

    @property
    def url(self) -> str:
        """All nodes, as the option ``transport_url`` takes them: they are tried in turn."""
        return ";".join(node.url for node in self.nodes)

    def start(self) -> None:
        """Start all nodes and wait until they are one cluster. Raises StartError."""
        self._mapper.start()
        self._each(RabbitMQ.start)
        self.nodes[0].control("await_online_nodes", str(len(self.nodes)))

    def stop(self) -> None:
        """End all nodes at once: their data are not needed again, and a clean end of a cluster takes long."""
        self._each(RabbitMQ.end)
        self._mapper.stop()

    def save_queues(self) -> None:
        """Write to disk which queues there are, on each node; see ``RabbitMQ.save_queues``."""
        self._each(RabbitMQ.save_queues)

    def members(self, queue: str) -> int:
        """Return on how many nodes a quorum queue has a copy that works; 0 for a queue of another kind."""
        for line in self.nodes[0].control("list_queues", "name", "online").splitlines():
            name, _, online = line.partition("\t")
            if name == queue:
                return online.count("@")
        return 0

    def _each(self, what: Callable[[RabbitMQ], None]) -> None:
        with ThreadPoolExecutor(len(self.nodes)) as pool:
            list(pool.map(what, self.nodes))
