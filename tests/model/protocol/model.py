"""One scenario under one set of rules: what the steps ask before they act."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from tests.model.protocol.rules import Rules
from tests.model.protocol.state import LIVE, MAX_VERSION, Frame, Op, Process, Record, Redis, World

Steps = Iterator[tuple[str, World]]
"""What was done, and the world after it."""

NAMES = "ABC"


@dataclass(frozen=True)
class Scenario:
    """Who may call what how often, and what may go wrong how often.

    `calls` has one mapping per process ("get", "batch", "set", "delete", "clear", and "direct": a
    read that passes Redis by because the record is faster); `faults` are those of `faults.py` and
    of `link.py`. Version 1 is in the record at the start; `slot` and `memory` say where else.
    """

    name: str
    calls: tuple[dict[str, int], ...]
    faults: dict[str, int] = field(default_factory=dict)
    slot: bool = True
    memory: tuple[int, ...] = ()
    cut: tuple[bool, ...] = ()
    """The processes that do not reach Redis at the start."""
    live: bool = False
    """Memory is trusted while the subscription is live; else for δ at most."""
    trips: bool = False
    """Any failure may open the breaker, not only another run of the server."""
    intents: bool = False
    """The record has no transaction with the marks (Couchbase with a journal)."""
    threads: int = 2
    """How many calls of one process may be under way at the same time."""
    after: bool = False
    """Reads start only when δ has passed since something was acknowledged."""
    pubsub: bool = False
    """Whether Redis' messages are modelled."""
    keepers: tuple[int, ...] = ()
    """The processes whose keepers look at the record at any time; the others' only within δ and at the end."""
    lazy: bool = False
    """Confirmations wait for a step of their own; else they reach the record together with the put."""
    refuses: bool = False
    """What Redis does not take may be set aside: the breaker closes over it."""
    forgets: bool = False
    """The record's files may be put back to an older copy."""
    promises: tuple[int, ...] = (3, 4, 7)


class Model:
    """A scenario's budget and rules."""

    def __init__(self, scenario: Scenario, rules: Rules) -> None:
        self.scenario, self.rules = scenario, rules
        counts = {f"{NAMES[i]}.{call}": n for i, calls in enumerate(scenario.calls) for call, n in calls.items()}
        counts |= scenario.faults
        self._place = {name: place for place, name in enumerate(counts)}
        self._budget = tuple(counts.values())

    def start(self) -> World:
        """The world before the first step: version 1 everywhere the scenario says."""
        first = Frame(1, True, 1)
        slots = ((1, first),) if self.scenario.slot else ()
        memory = self.scenario.memory or (0,) * len(self.scenario.calls)
        links = self.scenario.cut or (False,) * len(memory)
        return World(
            Record(first, 1),
            Redis(slots, old=slots),
            tuple(Process(memory=version, seen=version, cut=cut) for version, cut in zip(memory, links, strict=True)),
            acked=1,
            due=1,
            budget=self._budget,
        )

    def may(self, w: World, name: str) -> bool:
        """Whether `name` may happen once more."""
        place = self._place.get(name)
        return place is not None and w.budget[place] > 0

    def spend(self, w: World, name: str) -> World:
        place = self._place[name]
        return w._replace(budget=(*w.budget[:place], w.budget[place] - 1, *w.budget[place + 1 :]))

    # What a process does to itself; the names are those of chain.py, inflight.py and memory.py.

    def learn(self, p: Process, gen: int) -> Process:
        return self.empty(p)._replace(gen=gen) if gen > p.gen else p

    def empty(self, p: Process) -> Process:
        """Memory forgets everything, and what is under way populates nothing and is not joined."""
        ops = ordered(self._forgotten(op) if op.call != "clear" else op for op in p.ops)
        return p._replace(memory=0, age=0, ops=ops)

    def _forgotten(self, op: Op) -> Op:
        op = op._replace(epoch=False) if self.rules.r4 else op
        return op._replace(leader=False) if self.rules.r3 else op

    def mark(self, p: Process, version: int) -> Process:
        """The key has reached `version`: nothing below it that is under way may enter memory, or be joined."""
        if not in_flight(p.ops):
            return p
        ops = ordered(op._replace(leader=False) for op in p.ops) if self.rules.r3_mark else p.ops
        return p._replace(floor=max(p.floor, version), ops=ops)

    def invalidate(self, p: Process, version: int) -> Process:
        """Memory and what is under way are older than `version`, or drop out."""
        p = self.mark(p, version)
        return p._replace(memory=0, age=0) if p.memory < version else p

    def admit(self, p: Process, frame: Frame, age: int) -> Process:
        if p.memory > frame.version or (age == 2 and not self.scenario.live):
            return p
        return p._replace(memory=frame.version, age=age)

    def served(self, p: Process) -> bool:
        """Whether memory answers."""
        return p.memory > 0 and (p.age < 2 or (self.scenario.live and p.sub == LIVE))

    def absence(self, record: Record) -> Frame:
        """What the record says of a key that is not there."""
        return Frame(record.frame.version if self.rules.r16 else 0, False, record.frame.version)

    def look_up(self, record: Record) -> Frame:
        return record.frame if record.frame.value else self.absence(record)


def in_flight(ops: tuple[Op, ...]) -> bool:
    """Whether the in-flight table has an entry: calls other than clear() are registered there."""
    return any(op.call != "clear" for op in ops)


def ordered(ops: Iterable[Op]) -> tuple[Op, ...]:
    return tuple(sorted(ops))


def begin(p: Process, op: Op) -> Process:
    """`op` is under way from now on."""
    return p._replace(ops=ordered((*p.ops, op)))


def become(p: Process, old: Op, new: Op | None) -> Process:
    """`old` becomes `new`, or is over; with the last one the floor goes."""
    ops = list(p.ops)
    ops.remove(old)
    rest = ordered(ops if new is None else [*ops, new])
    return p._replace(ops=rest, floor=p.floor if in_flight(rest) else 0)


def owe(p: Process, version: int) -> Process:
    if version < MAX_VERSION:
        return p._replace(owed=max(p.owed, version))
    return p._replace(doubt=2 if p.keeper.at == "put" else max(1, p.doubt))


def paid(p: Process, version: int) -> Process:
    """The tier holds `version` or newer."""
    return p._replace(owed=0) if p.owed <= version else p


def words(frame: Frame) -> str:
    if frame.lost:
        return f"the lost v{frame.version}"
    return f"v{frame.version}" if frame.value else f"absence (v{frame.truth})"
