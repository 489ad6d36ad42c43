"""Breadth first through every schedule of a scenario; the first broken promise is the shortest way to break one."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from sys import intern

from tests.model.protocol import calls, faults, keeper
from tests.model.protocol.model import NAMES, Model, Scenario, Steps
from tests.model.protocol.rules import Rules
from tests.model.protocol.state import IDLE, World

Came = dict[int, tuple[int, str] | None]
"""How each state was reached: the hash of the one before, and the step."""

Calm = dict[int, tuple[tuple[str, ...], str]]
"""States at rest from which convergence was looked at, by hash: the steps, and what is wrong then."""


@dataclass(frozen=True)
class Result:
    """What was found: `trace` is the shortest schedule that breaks a promise, empty if there is none."""

    states: int
    trace: tuple[str, ...] = ()
    broken: str = ""

    @property
    def sentence(self) -> str:
        """The schedule in one line."""
        return f"{'; '.join(self.trace)} → **{self.broken}**"

    def __str__(self) -> str:
        if not self.broken:
            return f"nothing broken in {self.states} states"
        lines = [f"{n:3}. {step}" for n, step in enumerate(self.trace, 1)]
        return "\n".join([*lines, f"     → {self.broken}"])


class TooManyStates(Exception):
    """The scenario is larger than its limit."""


def explore(scenario: Scenario, rules: Rules | None = None, *, limit: int = 5_000_000) -> Result:
    """All schedules of `scenario` under `rules`, or the shortest that breaks a promise.

    Of a state that was met only its 64-bit hash is kept: with a million states, the chance that one is taken for
    another is one in forty million.
    """
    m = Model(scenario, rules or Rules())
    start = m.start()
    came: Came = {hash(start): None}
    queue, calm = deque([start]), Calm()
    while queue:
        w = queue.popleft()
        if 7 in scenario.promises and at_rest(w):
            steps, broken = converge(m, w, calm)
            if broken:
                return Result(len(came), (*trace(came, hash(w)), *steps), broken)
        for step, after in successors(m, w):
            if (name := hash(after)) in came:
                continue
            came[name] = hash(w), intern(step)
            if after.broken:
                return Result(len(came), trace(came, name), after.broken)
            queue.append(after)
            if len(came) > limit:
                raise TooManyStates(f"{scenario.name}: more than {limit} states")
    return Result(len(came))


def successors(m: Model, w: World) -> Steps:
    for i in range(len(w.processes)):
        for step, after in (*calls.steps(m, w, i), *keeper.steps(m, w, i)):
            if after.processes[i].confirms and not m.scenario.lazy:
                _, after = next(keeper.flush(m, after, i))
            yield step, plain(m, after)
    for step, after in faults.steps(m, w):
        yield step, plain(m, after)


def plain(m: Model, w: World) -> World:
    """`w` without differences that cannot matter any more, and without broken promises that nobody asked for."""
    if w.broken and int(w.broken[len("promise ")]) not in m.scenario.promises:
        w = w._replace(broken="")
    if w.window:
        # A look that sees nothing new is made as early as it can be: that is when it is of least use.
        idle = (i for i, p in enumerate(w.processes) if p.looks < 2 and not keeper.news(m, w, p))
        for i in idle:
            w = w.process(i, w.processes[i]._replace(looks=2))
    elif w.acked and not m.may(w, "delta"):
        w = w._replace(acked=0)
    for i, p in enumerate(w.processes):
        if p.seen and not p.ops and not any(m.may(w, f"{NAMES[i]}.{call}") for call in calls.READS):
            w = w.process(i, p._replace(seen=0))
    return w


def trace(came: Came, name: int) -> tuple[str, ...]:
    """The steps that led to the state with this hash."""
    steps: list[str] = []
    while (before := came[name]) is not None:
        name, step = before
        steps.append(step)
    return tuple(reversed(steps))


def at_rest(w: World) -> bool:
    """No call is under way, and nothing is on the wire."""
    return not w.redis.late and all(not p.ops and p.keeper == IDLE for p in w.processes)


def converge(m: Model, w: World, known: Calm) -> tuple[tuple[str, ...], str]:
    """Promise 7: everyone reaches Redis, nothing fails, keepers go round, δ passes; do all tiers agree?

    Nothing here is a choice: whatever order the keepers go in is one that breadth-first search looked at before.
    """
    core = w._replace(budget=(), acked=0, aging=0, due=0, processes=tuple(p._replace(seen=0) for p in w.processes))
    if (name := hash(core)) in known:
        return known[name]
    quiet = Model(replace(m.scenario, faults={}, trips=False, keepers=(0, 1, 2)), m.rules)
    now = core._replace(budget=(0,) * len(quiet.start().budget))
    now = now._replace(processes=tuple(p._replace(cut=False) for p in now.processes))
    steps: list[str] = ["(from here on nothing fails)"]
    for _ in range(2):
        now = _settled(quiet, now, steps)
        now = faults.expired(now._replace(window=False))
    known[name] = tuple(steps), disagreement(quiet, now)
    return known[name]


def _settled(m: Model, w: World, steps: list[str]) -> World:
    """Keepers go round until that changes nothing."""
    met = {w}
    while True:
        for i in range(len(w.processes)):
            step, after = next(((s, a) for s, a in keeper.steps(m, w, i) if a not in met), ("", w))
            if step:
                steps.append(step)
                met.add(after)
                w = after
                break
        else:
            return w


def disagreement(m: Model, w: World) -> str:
    """What still differs from the record, if anything."""
    truth = w.record.frame
    slot = w.redis.slot(w.record.gen)
    believed = not m.rules.r15 or any(p.run in (0, w.redis.run) for p in w.processes)
    if believed and slot is not None and slot != truth and (slot.value or truth.value):
        return f"promise 7: Redis holds v{slot.version} for good, the record v{truth.version}"
    for name, p in zip(NAMES, w.processes, strict=False):
        if m.served(p) and p.memory != truth.version:
            return f"promise 7: {name}'s memory holds v{p.memory} for good, the record v{truth.version}"
        if p.owes or p.breaker != "closed":
            return f"promise 7: Redis stays out of use for {name} (owed v{p.owed}, breaker {p.breaker})"
    if w.record.marks:
        return "promise 7: a mark stays pending"
    return ""
