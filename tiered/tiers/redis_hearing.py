"""The subscriptions of a Redis tier as one: to its server, or to every master of a cluster."""

from __future__ import annotations

from collections import defaultdict

from tiered.errors import Reason, StoreUnavailable
from tiered.tiers.base import Told
from tiered.tiers.redis_cluster import Cluster
from tiered.tiers.redis_link import Link
from tiered.tiers.redis_subscription import RedisSubscription


class Hearing:
    """A `Subscription` on each connection that `link` needs to hear all. For one thread; raises `StoreUnavailable`.

    It is over when the link believes in another server: what answers here then may be a master that was replaced.
    """

    def __init__(self, link: Link | Cluster, prefix: str, name: str) -> None:
        self._link, self._name = link, name
        self._wires = link.listen()
        self._parts = [RedisSubscription(wire, prefix, name) for wire in self._wires]
        self._answered: dict[str, int] = defaultdict(int)
        """How many parts have answered a heartbeat (""), or subscribed to a namespace."""

    def add(self, namespace: str) -> None:
        for part in self._parts:
            part.add(namespace)

    def beat(self) -> None:
        for part in self._parts:
            part.beat()

    def receive(self) -> list[Told]:
        if not self._link.hears_all(self._wires):
            raise StoreUnavailable("another server is believed in", tier=self._name, reason=Reason.RESTARTED)
        return [told for part in self._parts for told in part.receive() if told.kind == "told" or self._complete(told)]

    def close(self) -> None:
        for part in self._parts:
            part.close()

    def _complete(self, told: Told) -> bool:
        """Whether this answer is the last one; in a cluster a message comes once for every master."""
        self._answered[told.namespace] += 1
        return self._answered[told.namespace] % len(self._parts) == 0
