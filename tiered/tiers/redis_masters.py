"""The masters of a Redis Cluster: who has which slot, whether they are well, and whether they are those believed in."""

from __future__ import annotations

import time
from collections.abc import Sequence
from threading import Lock
from typing import Any

from redis.exceptions import AskError, MovedError

from tiered.errors import NotApplied, Reason, StoreError, StoreUnavailable, without_tier
from tiered.tiers.redis_errors import Restarted, store_error
from tiered.tiers.redis_link import Link
from tiered.tiers.redis_slots import Node, Span, identity_of, spans_of, table_of
from tiered.tiers.redis_url import Address, Target
from tiered.tiers.redis_wire import Wire, pack

FAILURES = 5
"""In a row of one master, after which no other is asked either: the breaker sees the tier fail at once, instead of
waiting out a time limit for every key of that master."""
AWAY = 1.0
"""Seconds for which that holds, so that a tier without a breaker comes back too."""
IDLE = 1.0
"""Seconds after which a master that nobody asked is greeted anew: replaced and reinstated meanwhile, it may hold older
data. A failover takes longer."""
_SLOTS, _INFO = pack(("CLUSTER", "SLOTS")), pack(("CLUSTER", "INFO"))


class Masters:
    """Each with a `Link`. Thread-safe; connects on first use."""

    def __init__(self, target: Target, *, name: str, timeout: float, max_connections: int) -> None:
        self.name, self._target, self._timeout, self._limit = name, target, timeout, max_connections
        self.reset()

    def reset(self) -> None:
        """Start without connections: at first, and in a child after a fork."""
        self.nodes: dict[Address, Node] = {}
        self._table: list[Node | None] = []
        """The node of each slot; empty before the first look."""
        self._changing = Lock()  # guards changes of the two; readers take what is there
        self._seeds = list(self._target.seeds)
        self._closed = False
        self._away, self._failing = 0.0, ""
        self.run_id: str | None = None
        """The run of all masters together; None before they were met, while any is accepted."""

    def of(self, slot: int, write: bool) -> Node:
        """The master that has `slot`. With `write`, here and below, what fails is `NotApplied` or `Ambiguous`."""
        self.look(write)
        node = self._table[slot]
        if node is None:
            raise self._refusal(f"no master of the cluster has slot {slot}", Reason.OTHER, write)
        return node

    def redirected(self, reply: AskError, asked: Node, write: bool) -> Node:
        """The node that `reply` names. A master that nobody has met may be a replica that lagged: a probe comes first."""
        address = (reply.host or asked.address[0], reply.port)
        moved = isinstance(reply, MovedError)
        node = self.nodes.get(address)
        if node is None:
            if moved and self.run_id is not None:
                raise store_error(Restarted(), self.name, write=write, sent=False) from reply
            node = self._node(address)
            if not moved:
                self._meet_importing(node, write)
        with self._changing:
            node = self.nodes.setdefault(address, node)
            if moved:
                self._table[reply.slot_id] = node
        return node

    def ask(self, node: Node, commands: Sequence[bytes], write: bool) -> list[Any]:
        """As `Link.ask_many`; at once without an answer while any master is not well."""
        now = time.monotonic()
        if now < self._away:
            raise self._refusal(self._failing, Reason.CONNECTION, write)
        if now - node.asked > IDLE:
            node.link.pool.forget_idle()
        try:
            replies = node.link.ask_many(commands, write=write)
        except StoreError as error:
            if error.reason.trips_breaker:
                node.failures += 1
                if node.failures >= FAILURES:
                    told = without_tier(error, self.name)
                    self._failing = f"{node} failed {FAILURES} times in a row: {told}"
                    node.failures, self._away = 0, now + AWAY
            raise
        node.asked, node.failures = now, 0
        return replies

    def good(self, reply: Any, write: bool) -> Any:
        """`reply`, unless it is the server's error: that is raised."""
        if isinstance(reply, Exception):
            raise store_error(reply, self.name, write=write, sent=True) from reply
        return reply

    def look(self, write: bool) -> None:
        """See that there is a table. Before the first probe any run of any master is accepted."""
        if self._table and not self._closed:
            return
        spans = self._read_slots(self._timeout, write)
        with self._changing:
            if not self._table:
                for it in spans:
                    self.nodes.setdefault(it.address, self._node(it.address))
                self._table = table_of(spans, self.nodes)

    def meet(self) -> str:
        """Read the slots anew and meet every master that has some; the runs to hold on to from here."""
        spans = self._read_slots(5 * self._timeout)
        nodes = {it.address: self.nodes.get(it.address) or self._node(it.address) for it in spans}
        runs = {address: self._run_of(node) for address, node in nodes.items()}
        with self._changing:
            left = list(node for address, node in self.nodes.items() if nodes.get(address) is not node)
            for address, node in nodes.items():
                node.link.pool.run_id, node.failures = runs[address], 0
            self.nodes, self._table, self._away = nodes, table_of(spans, nodes), 0.0
            self.run_id = identity_of({it.node: runs[it.address] for it in spans})
        for node in left:
            node.link.close()
        return self.run_id

    def listen(self) -> list[Wire]:
        """Connections of one's own to every master.

        One would do to hear all, because the cluster passes messages on; but only the master that a put ran on proves,
        by its answer to a PING, that what it published before has arrived.
        """
        self.look(False)
        wires: list[Wire] = []
        try:
            for node in list(self.nodes.values()):
                wires += node.link.listen()
        except BaseException:
            for wire in wires:
                wire.close()
            raise
        return wires

    def hears_all(self, wires: Sequence[Wire]) -> bool:
        """As `Link.hears_all`."""
        nodes = list(self.nodes.values())
        return len(wires) == len(nodes) and all(
            node.link.hears_all([it]) for node, it in zip(nodes, wires, strict=True)
        )

    def close(self) -> None:
        """As `Link.close`."""
        self._closed = True
        for node in list(self.nodes.values()):
            node.link.close()

    def abandon(self) -> list[Any]:
        """As `Link.abandon`."""
        inherited = [wire for node in self.nodes.values() for wire in node.link.abandon()]
        self.reset()
        return inherited

    # Private

    def _meet_importing(self, node: Node, write: bool) -> None:
        """A master that was met sends to it what it gives away: it is believed as it is now."""
        try:
            node.link.meet()
        except StoreUnavailable as error:
            raise self._refusal(
                f"{node} cannot be met: {without_tier(error, self.name)}", error.reason, write
            ) from error

    def _read_slots(self, patience: float, write: bool = False) -> list[Span]:
        """What the first node says that answers within `patience` seconds; those that did not are asked last."""
        if self._closed:
            raise self._refusal("closed; build a new one", Reason.OTHER, write)
        end, failed = time.monotonic() + patience, StoreUnavailable("no address")
        for address in [*self._seeds, *self.nodes]:
            try:
                _, (reply,) = self._node(address).link.visit(_SLOTS, greet=False)
                return spans_of(self.good(reply, False), address)
            except StoreUnavailable as error:
                failed = error
            if address in self._seeds:
                self._seeds = [*(it for it in self._seeds if it != address), address]
            if time.monotonic() > end:
                break
        told = without_tier(failed, self.name)
        raise self._refusal(f"no node tells who has which slot: {told}", failed.reason, write) from failed

    def _run_of(self, node: Node) -> str:
        run, (state,) = node.link.visit(_INFO)
        if b"cluster_state:ok" not in self.good(state, False):
            raise self._refusal(f"{node} says that the cluster is down", Reason.OTHER, False)
        return run

    def _node(self, address: Address) -> Node:
        where = self._target.at(address)
        return Node(address, Link(where, name=self.name, timeout=self._timeout, max_connections=self._limit))

    def _refusal(self, message: str, reason: Reason, write: bool) -> StoreError:
        kind = NotApplied if write else StoreUnavailable
        return kind(message, tier=self.name, reason=reason)
