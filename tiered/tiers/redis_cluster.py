"""A Redis Cluster as one link: each key's slot leads to its master, and all masters together are one server.

One breaker and one generation stand for the whole tier, so it is as well as its worst master, and another run of any
of them makes it another server (PROTOCOL R15). A redirection is followed, because the command was not run; nothing is
repeated. redis-py's own cluster client connects when it is constructed, repeats commands and learns new masters
silently, which R15 forbids; its slot function and its errors are used.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any, NamedTuple

from redis.exceptions import AskError, MovedError, NoScriptError, TryAgainError

from tiered.errors import Ambiguous, NotApplied, Reason, StoreError, StoreUnavailable
from tiered.tiers.redis_errors import Late, Restarted, store_error
from tiered.tiers.redis_link import Link
from tiered.tiers.redis_script import LATE, PUT, Put, put_arguments
from tiered.tiers.redis_slots import Node, Span, identity_of, slot_of, spans_of, table_of
from tiered.tiers.redis_url import Address, Target
from tiered.tiers.redis_wire import Arg, Wire, pack

HOPS = 3
"""The node that the table names, the one that has the slot now, the one that the key was moved to."""
FAILURES = 5
"""In a row of one master, after which no other is asked either: the breaker sees the tier fail at once, instead of
waiting out a time limit for every key of that master."""
AWAY = 1.0
"""Seconds for which that holds, so that a tier without a breaker comes back too."""
IDLE = 1.0
"""Seconds after which a master that nobody asked is greeted anew: replaced and reinstated meanwhile, it may hold older
data. A failover takes longer."""
_SLOTS, _INFO, _ASKING = pack(("CLUSTER", "SLOTS")), pack(("CLUSTER", "INFO")), pack(("ASKING",))
_NOT_RUN = (AskError, TryAgainError, NoScriptError)
"""Answers that say to ask again, elsewhere or otherwise; `MovedError` is an `AskError`."""

Build = Callable[[Link], bytes]


class Terms(NamedTuple):
    """Of a put: whom it tells, and since when its frames are true."""

    channel: str
    since: float | None


class Cluster:
    """The masters of a cluster, each with a `Link`; for the cache role. Thread-safe; connects on first use."""

    def __init__(self, target: Target, *, name: str, timeout: float, max_connections: int) -> None:
        self.name, self._target, self._timeout, self._limit = name, target, timeout, max_connections
        self.reset()

    def reset(self) -> None:
        """Start without connections: at first, and in a child after a fork."""
        self._nodes: dict[Address, Node] = {}
        self._table: list[Node | None] = []
        """The node of each slot; empty before the first look."""
        self._changing = Lock()  # guards changes of the two; readers take what is there
        self._seeds = list(self._target.seeds)
        self._closed = False
        self._away = 0.0
        self.run_id: str | None = None
        """The run of all masters together; None before they were met, while any is accepted."""

    def call(self, *args: Arg, write: bool = False) -> Any:
        """A command on the key that follows its name, or without a key, on every master; else as `Link.call`."""
        packed = pack(args)
        if len(args) > 1:
            return self._routed(str(args[1]), lambda _: packed, write)
        self._look(write)
        return [self._good(self._ask(node, [packed], write)[0], write) for node in list(self._nodes.values())]

    def fetch(self, names: Sequence[str]) -> list[bytes | None]:
        """The values under `names`, in one round trip per master."""
        found: list[bytes | None] = [None] * len(names)
        for node, groups in self._spread(names, False).items():
            commands = [pack(("MGET", *(names[i] for i in group))) for group in groups]
            for group, reply in zip(groups, self._ask(node, commands, False), strict=True):
                if isinstance(reply, _NOT_RUN):
                    reply = [self.call("MGET", names[i])[0] for i in group]
                for i, value in zip(group, self._good(reply, False), strict=True):
                    found[i] = value
        return found

    def put(self, items: Sequence[Put], channel: str, since: float | None = None) -> list[bool]:
        """As `Link.put`, in one script per slot, each of which tells `channel`."""
        stored = [False] * len(items)
        try:
            self._put(stored, items, Terms(channel, since))
        except NotApplied as error:
            if not any(stored):
                raise
            raise Ambiguous(f"after a part was stored: {error}", reason=error.reason, tier=self.name) from error
        return stored

    def meet(self) -> str:
        """Read the slots anew and meet every master that has some; the runs to hold on to from here."""
        spans = self._read_slots(5 * self._timeout)
        nodes = {it.address: self._nodes.get(it.address) or self._node(it.address) for it in spans}
        runs = {address: self._run_of(node) for address, node in nodes.items()}
        with self._changing:
            left = [node for address, node in self._nodes.items() if nodes.get(address) is not node]
            for address, node in nodes.items():
                node.link.run_id, node.failures = runs[address], 0
            self._nodes, self._table, self._away = nodes, table_of(spans, nodes), 0.0
            self.run_id = identity_of({it.node: runs[it.address] for it in spans})
        for node in left:
            node.link.close()
        return self.run_id

    def listen(self) -> list[Wire]:
        """Connections of one's own to every master.

        One would do to hear all, because the cluster passes messages on; but only the master that a put ran on proves,
        by its answer to a PING, that what it published before has arrived.
        """
        self._look(False)
        wires: list[Wire] = []
        try:
            for node in list(self._nodes.values()):
                wires += node.link.listen()
        except BaseException:
            for wire in wires:
                wire.close()
            raise
        return wires

    def hears_all(self, wires: Sequence[Wire]) -> bool:
        """As `Link.hears_all`."""
        nodes = list(self._nodes.values())
        return len(wires) == len(nodes) and all(
            node.link.hears_all([it]) for node, it in zip(nodes, wires, strict=True)
        )

    def close(self) -> None:
        """As `Link.close`."""
        self._closed = True
        for node in list(self._nodes.values()):
            node.link.close()

    def abandon(self) -> list[Any]:
        """As `Link.abandon`."""
        inherited = [wire for node in self._nodes.values() for wire in node.link.abandon()]
        self.reset()
        return inherited

    # Private: one key

    def _routed(self, name: str, build: Build, write: bool) -> Any:
        """The answer of the master that has `name`, wherever redirections lead."""
        node, asking, reply = self._master(slot_of(name), write), list[bytes](), None
        for _ in range(HOPS):
            reply = self._ask(node, [*asking, build(node.link)], write)[-1]
            if not isinstance(reply, AskError):
                break
            node = self._redirected(reply, node, write)
            asking = [] if isinstance(reply, MovedError) else [_ASKING]
        return self._good(reply, write)

    def _master(self, slot: int, write: bool) -> Node:
        self._look(write)
        node = self._table[slot]
        if node is None:
            raise self._refusal(f"no master of the cluster has slot {slot}", Reason.OTHER, write)
        return node

    def _redirected(self, reply: AskError, asked: Node, write: bool) -> Node:
        """The node that `reply` names. A master that nobody has met may be a replica that lagged: a probe comes first."""
        address = (reply.host or asked.address[0], reply.port)
        moved = isinstance(reply, MovedError)
        node = self._nodes.get(address)
        if node is None:
            if moved and self.run_id is not None:
                raise store_error(Restarted(), self.name, write=write, sent=False) from reply
            node = self._node(address)
            if not moved:
                node.link.meet()  # what it imports comes from a master that was met
        with self._changing:
            node = self._nodes.setdefault(address, node)
            if moved:
                self._table[reply.slot_id] = node
        return node

    # Private: many keys

    def _spread(self, names: Sequence[str], write: bool) -> dict[Node, list[list[int]]]:
        """The places in `names` by node, and there by slot: a command must keep to one slot."""
        slots: dict[int, list[int]] = defaultdict(list)
        for place, name in enumerate(names):
            slots[slot_of(name)].append(place)
        nodes: dict[Node, list[list[int]]] = defaultdict(list)
        for slot, group in slots.items():
            nodes[self._master(slot, write)].append(group)
        return nodes

    def _put(self, stored: list[bool], items: Sequence[Put], terms: Terms) -> None:
        for node, groups in self._spread([item.name for item in items], True).items():
            chosen = [[items[i] for i in group] for group in groups]
            commands = [_put_command(node.link, ("EVALSHA", PUT.sha), some, terms) for some in chosen]
            failed: StoreError | None = None
            for group, reply in zip(groups, self._ask(node, commands, True), strict=True):
                try:
                    if isinstance(reply, _NOT_RUN):
                        reply = [self._put_alone(items[i], terms) for i in group]
                    for i, result in zip(group, self._results(reply), strict=True):
                        stored[i] = result == 1
                except StoreError as error:
                    failed = failed or error  # after the other answers, which say what was stored
            if failed is not None:
                raise failed

    def _put_alone(self, item: Put, terms: Terms) -> int:
        def put(*head: Arg) -> Any:
            return self._routed(item.name, lambda link: _put_command(link, head, [item], terms), True)

        try:
            reply = put("EVALSHA", PUT.sha)
        except StoreError as error:
            if not isinstance(error.__cause__, NoScriptError):
                raise
            reply = put("EVAL", PUT.text)
        return int(self._results(reply)[0])

    def _results(self, reply: Any) -> Sequence[int]:
        if reply == LATE:
            for node in list(self._nodes.values()):
                node.link.renew()  # a new connection learns the server's clock anew
            raise store_error(Late(), self.name, write=True, sent=True)
        results: Sequence[int] = self._good(reply, True)
        return results

    # Private: the nodes

    def _ask(self, node: Node, commands: Sequence[bytes], write: bool) -> list[Any]:
        now = time.monotonic()
        if now < self._away:
            raise self._refusal("a master failed again and again; waiting for it", Reason.CONNECTION, write)
        if now - node.asked > IDLE:
            node.link.renew()
        try:
            replies = node.link.ask_many(commands, write=write)
        except StoreError as error:
            if error.reason.trips_breaker:
                node.failures += 1
                if node.failures >= FAILURES:
                    node.failures, self._away = 0, now + AWAY
            raise
        node.asked, node.failures = now, 0
        return replies

    def _good(self, reply: Any, write: bool) -> Any:
        if isinstance(reply, Exception):
            raise store_error(reply, self.name, write=write, sent=True) from reply
        return reply

    def _look(self, write: bool) -> None:
        """See that there is a table. Before the first probe any run of any master is accepted."""
        if self._table and not self._closed:
            return
        spans = self._read_slots(self._timeout, write)
        with self._changing:
            if not self._table:
                for it in spans:
                    self._nodes.setdefault(it.address, self._node(it.address))
                self._table = table_of(spans, self._nodes)

    def _read_slots(self, patience: float, write: bool = False) -> list[Span]:
        """What the first node says that answers within `patience` seconds; those that did not are asked last."""
        if self._closed:
            raise self._refusal("closed; build a new one", Reason.OTHER, write)
        end, failed = time.monotonic() + patience, StoreUnavailable("no address")
        for address in [*self._seeds, *self._nodes]:
            try:
                _, (reply,) = self._node(address).link.visit(_SLOTS, greet=False)
                return spans_of(self._good(reply, False), address)
            except StoreUnavailable as error:
                failed = error
            if address in self._seeds:
                self._seeds = [*(it for it in self._seeds if it != address), address]
            if time.monotonic() > end:
                break
        told = str(failed).removeprefix(f"{self.name}: ")
        raise self._refusal(f"no node tells who has which slot: {told}", failed.reason, write) from failed

    def _run_of(self, node: Node) -> str:
        run, (state,) = node.link.visit(_INFO)
        if b"cluster_state:ok" not in self._good(state, False):
            raise self._refusal(f"{node} says that the cluster is down", Reason.OTHER, False)
        return run

    def _node(self, address: Address) -> Node:
        where = self._target.at(address)
        return Node(address, Link(where, name=self.name, timeout=self._timeout, max_connections=self._limit))

    def _refusal(self, message: str, reason: Reason, write: bool) -> StoreError:
        kind = NotApplied if write else StoreUnavailable
        return kind(message, tier=self.name, reason=reason)


def _put_command(link: Link, head: Sequence[Arg], items: Sequence[Put], terms: Terms) -> bytes:
    names = [item.name for item in items]
    not_after = link.not_after(terms.since)  # each server has a clock of its own
    packed: bytes = pack((*head, len(names), *names, *put_arguments(items, not_after, terms.channel)))
    return packed
