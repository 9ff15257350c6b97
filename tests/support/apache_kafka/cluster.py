"""Three brokers, each a controller too, that form one Apache Kafka on loopback; any of them may be killed."""

from __future__ import annotations

import contextlib
import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Self

from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.support.apache_kafka.server import ApacheKafka, _free_ports

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

NODES = 3
REPLICAS, IN_SYNC = 3, 2


class Node(ApacheKafka):
    """One of them; its ports are known before it is started, and to the others."""

    def __init__(self, number: int, ports: Mapping[int, int], cluster: str | None = None) -> None:
        """Be node `number` of those at `ports`; the first one's `cluster` is the others'."""
        super().__init__()
        self.number = number
        self._ports = ports
        self._port = ports[number]
        self.cluster = self._cluster = cluster or self._cluster

    @property
    def data(self) -> Path:
        """Where its logs are."""
        return self._folder / "data"

    def _properties(self) -> dict[str, str]:
        voters = ",".join(f"{number}@127.0.0.1:{port + 1}" for number, port in self._ports.items())
        return super()._properties() | {
            "node.id": str(self.number),
            "controller.quorum.voters": voters,
            "min.insync.replicas": str(IN_SYNC),
            "offsets.topic.replication.factor": str(REPLICAS),
            "transaction.state.log.replication.factor": str(REPLICAS),
            "transaction.state.log.min.isr": str(IN_SYNC),
            # A dead leader is noticed in two seconds instead of nine.
            "controller.quorum.election.timeout.ms": "500",
            "controller.quorum.fetch.timeout.ms": "1000",
        }


class Cluster:
    """Entering starts all nodes, leaving stops them."""

    def __init__(self) -> None:
        """Choose ports; nothing is started yet."""
        ports = {number: _free_ports() for number in range(1, NODES + 1)}
        first = Node(1, ports)
        self.nodes = [first, *(Node(number, ports, first.cluster) for number in range(2, NODES + 1))]

    @property
    def bootstrap(self) -> str:
        """Every node's address."""
        return ",".join(node.bootstrap for node in self.nodes)

    def __enter__(self) -> Self:
        """Start all at once: none serves before there is a majority. Raises what a broker alone raises."""
        with ThreadPoolExecutor(NODES) as threads:
            starting = [threads.submit(node.__enter__) for node in self.nodes]
        try:
            for each in starting:
                each.result()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        """Kill all: what they hold is thrown away."""
        for node in self.nodes:
            node.kill()
            node.__exit__()

    def start_all(self) -> None:
        """Start those that were killed again."""
        for node in self.nodes:
            node.start()

    async def create(self, topics: Mapping[str, int], compacted: str) -> None:
        """Create topics that a broker's death does not touch."""
        config = {"min.insync.replicas": str(IN_SYNC)}
        async with self._admin() as admin:
            made = await admin.create_topics(
                [
                    NewTopic(
                        name,
                        count,
                        REPLICAS,
                        topic_configs=config | ({"cleanup.policy": "compact"} if name == compacted else {}),
                    )
                    for name, count in topics.items()
                ]
            )
        assert all(code == 0 for _, code, *_ in made.topic_errors), made

    async def leader_of(self, topic: str, partition: int = 0) -> Node:
        """Return the node that leads a partition."""
        async with self._admin() as admin:
            [described] = await admin.describe_topics([topic])
        leader: int
        [leader] = [each["leader"] for each in described["partitions"] if each["partition"] == partition]
        return self.nodes[leader - 1]

    def controller(self) -> Node:
        """Return the node that leads the others, as one that lives remembers it."""
        alive = next(node for node in self.nodes if node.running)
        state = json.loads((alive.data / "__cluster_metadata-0" / "quorum-state").read_text())
        leader: int = state["leaderId"]
        return self.nodes[leader - 1]

    @contextlib.asynccontextmanager
    async def _admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            yield admin
        finally:
            await admin.close()
