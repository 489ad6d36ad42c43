"""A Redis Cluster as one link: each key's slot leads to its master, and all masters together are one server.

One breaker and one generation stand for the whole tier, so it is as well as its worst master, and another run of any
of them makes it another server (PROTOCOL R15). A redirection is followed, because the command was not run; nothing is
repeated. redis-py's own cluster client connects when it is constructed, repeats commands and learns new masters
silently, which R15 forbids; its slot function and its errors are used.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from redis.exceptions import AskError, MovedError, NoScriptError, TryAgainError

from tiered.errors import Ambiguous, NotApplied, StoreError, without_tier
from tiered.tiers.redis_errors import Late, store_error
from tiered.tiers.redis_link import Link
from tiered.tiers.redis_masters import Masters
from tiered.tiers.redis_script import DISCARD, LATE, PUT, Put, Script, put_arguments
from tiered.tiers.redis_slots import Node, slot_of
from tiered.tiers.redis_url import Target
from tiered.tiers.redis_wire import Arg, Wire, pack

HOPS = 3
"""The node that the table names, the one that has the slot now, the one that the key was moved to."""
_ASKING = pack(("ASKING",))
_NOT_RUN = (AskError, TryAgainError, NoScriptError)
"""Answers that say to ask again, elsewhere or otherwise; `MovedError` is an `AskError`."""

Build = Callable[[Link], bytes]


class Terms(NamedTuple):
    """Of a put: whom it tells, and since when its frames are true."""

    channel: str
    since: float | None


class Cluster:
    """As `Link`, for the cache role. Thread-safe; connects on first use."""

    def __init__(self, target: Target, *, name: str, timeout: float, max_connections: int) -> None:
        self.name = name
        self._masters = Masters(target, name=name, timeout=timeout, max_connections=max_connections)

    @property
    def run_id(self) -> str | None:
        """The run of all masters together; None before they were met, while any is accepted."""
        return self._masters.run_id

    def call(self, *args: Arg, write: bool = False) -> Any:
        """A command on the key that follows its name, or without a key, on every master; else as `Link.call`."""
        packed = pack(args)
        if len(args) > 1:
            return self._routed(str(args[1]), lambda _: packed, write)
        self._masters.look(write)
        return [
            self._masters.good(self._masters.ask(node, [packed], write)[0], write)
            for node in list(self._masters.nodes.values())
        ]

    def fetch(self, names: Sequence[str]) -> list[bytes | None]:
        """The values under `names`, in one round trip per master."""
        found: list[bytes | None] = [None] * len(names)
        for node, groups in self._spread(names, False).items():
            commands = [pack(("MGET", *(names[i] for i in group))) for group in groups]
            for group, reply in zip(groups, self._masters.ask(node, commands, False), strict=True):
                if isinstance(reply, _NOT_RUN):
                    reply = [self.call("MGET", names[i])[0] for i in group]
                for i, value in zip(group, self._masters.good(reply, False), strict=True):
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
            told = without_tier(error, self.name)
            raise Ambiguous(f"after a part was stored: {told}", reason=error.reason, tier=self.name) from error
        return stored

    def script(self, script: Script, keys: Sequence[str], args: Sequence[Arg], *, write: bool) -> Any:
        """As `Link.script`, with keys of one slot."""
        return self._scripted(script, keys[0], lambda _: [str(len(keys)), *keys, *args], write)

    def at(self, name: str) -> Link:
        """As `Link.at`."""
        return self._masters.of(slot_of(name), True).link

    def discard(self, items: Sequence[Put]) -> int:
        """As `Link.discard`, one key at a time: it is rare."""
        return sum(map(self._discard, items))

    def scan(self, cursor: str | None, pattern: str, limit: int) -> tuple[str | None, list[bytes]]:
        """As `Link.scan`, one master after the other, in the order of their addresses.

        What moves to another slot's master meanwhile may be missed, or come twice.
        """
        self._masters.look(False)
        at, _, within = (cursor or " 0").partition(" ")
        nodes = {str(node): node for node in list(self._masters.nodes.values())}
        left = sorted(name for name in nodes if name >= at)
        if not left:
            return None, []
        step = within if left[0] == at else "0"  # a master that has left meanwhile: the next one
        command = pack(("SCAN", step, "MATCH", pattern, "COUNT", str(limit)))
        following, names = self._masters.good(self._masters.ask(nodes[left[0]], [command], False)[0], False)
        if following != b"0":
            return f"{left[0]} {following.decode()}", names
        return (f"{left[1]} 0" if left[1:] else None), names

    def meet(self) -> str:
        """As `Link.meet`, of every master that has slots."""
        return self._masters.meet()

    def servers(self) -> dict[str, Link]:
        """The link to each master, by a name for people."""
        self._masters.look(False)
        return {f"{self.name} {node}": node.link for node in list(self._masters.nodes.values())}

    def listen(self) -> list[Wire]:
        """As `Link.listen`, to every master."""
        return self._masters.listen()

    def hears_all(self, wires: Sequence[Wire]) -> bool:
        """As `Link.hears_all`."""
        return self._masters.hears_all(wires)

    def close(self) -> None:
        """As `Link.close`."""
        self._masters.close()

    def abandon(self) -> list[Any]:
        """As `Link.abandon`."""
        return self._masters.abandon()

    # Private

    def _discard(self, item: Put) -> int:
        packed = pack(("EVAL", DISCARD.text, "1", item.name, item.frame))
        return int(self._routed(item.name, lambda _: packed, True))

    def _routed(self, name: str, build: Build, write: bool) -> Any:
        """The answer of the master that has `name`, wherever redirections lead."""
        node, asking, reply = self._masters.of(slot_of(name), write), list[bytes](), None
        for _ in range(HOPS):
            reply = self._masters.ask(node, [*asking, build(node.link)], write)[-1]
            if not isinstance(reply, AskError):
                break
            node = self._masters.redirected(reply, node, write)
            asking = [] if isinstance(reply, MovedError) else [_ASKING]
        return self._masters.good(reply, write)

    def _spread(self, names: Sequence[str], write: bool) -> dict[Node, list[list[int]]]:
        """The places in `names` by node, and there by slot: a command must keep to one slot."""
        slots: dict[int, list[int]] = defaultdict(list)
        for place, name in enumerate(names):
            slots[slot_of(name)].append(place)
        nodes: dict[Node, list[list[int]]] = defaultdict(list)
        for slot, group in slots.items():
            nodes[self._masters.of(slot, write)].append(group)
        return nodes

    def _put(self, stored: list[bool], items: Sequence[Put], terms: Terms) -> None:
        for node, groups in self._spread([item.name for item in items], True).items():
            chosen = [[items[i] for i in group] for group in groups]
            commands = [pack(("EVALSHA", PUT.sha, *_put_arguments(node.link, some, terms))) for some in chosen]
            failed: StoreError | None = None
            for group, reply in zip(groups, self._masters.ask(node, commands, True), strict=True):
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
        reply = self._scripted(PUT, item.name, lambda link: _put_arguments(link, [item], terms), True)
        return int(self._results(reply)[0])

    def _scripted(self, script: Script, name: str, arguments: Callable[[Link], Sequence[Arg]], write: bool) -> Any:
        try:
            return self._routed(name, lambda link: pack(("EVALSHA", script.sha, *arguments(link))), write)
        except StoreError as error:
            if not isinstance(error.__cause__, NoScriptError):
                raise
        return self._routed(name, lambda link: pack(("EVAL", script.text, *arguments(link))), write)

    def _results(self, reply: Any) -> Sequence[int]:
        if reply == LATE:
            for node in list(self._masters.nodes.values()):
                node.link.pool.forget_idle()  # a new connection learns the server's clock anew
            raise store_error(Late(), self.name, write=True, sent=True)
        results: Sequence[int] = self._masters.good(reply, True)
        return results


def _put_arguments(link: Link, items: Sequence[Put], terms: Terms) -> list[Arg]:
    names = [item.name for item in items]
    not_after = link.not_after(terms.since)  # each server has a clock of its own
    return [str(len(names)), *names, *put_arguments(items, not_after, terms.channel)]
