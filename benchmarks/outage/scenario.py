"""One system under load while one fault comes and goes."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.outage.faults import FAULTS, Fault
from benchmarks.outage.fresh import read_afresh
from benchmarks.outage.load import PHASES, Load
from benchmarks.outage.system import open_system
from tests.servers import RedisServer

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """Seconds per phase, and sizes."""

    warm: float = 1.0
    before: float = 2.0
    during: float = 3.0
    after: float = 2.0
    keys: int = 20_000
    missed_writes: int = 10_000
    seed: int = 1


QUICK = Plan(warm=0.3, before=0.5, during=1.5, after=1.0, keys=4_000, missed_writes=1_000)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What callers saw. Rates are calls per second; counts are of the whole run, warming up included."""

    system: str
    fault: str
    before: float
    during: float
    after: float
    longest_ms: float
    """Of the calls that ended while the fault lasted or after it."""
    errors: dict[str, int]
    false_misses: int
    stale_reads: int
    written_keys: int
    lost: int
    old: int

    @property
    def ratio(self) -> float:
        return self.during / self.before


def run(system: str, fault: str, plan: Plan, tell: Tell) -> Outcome:
    """Run `system` through `fault` with a Redis and a directory of their own."""
    server = RedisServer()
    try:
        fate = FAULTS[fault](server)
        try:
            with tempfile.TemporaryDirectory(prefix="tiered-outage-") as directory:
                return _run(system, fault, fate, plan, Path(directory), tell)
        finally:
            fate.close()
    finally:
        server.stop()


def _run(name: str, fault: str, fate: Fault, plan: Plan, directory: Path, tell: Tell) -> Outcome:
    system = open_system(name, fate.url, directory)
    try:
        load = Load(system, keys=plan.keys, seed=plan.seed)
        tell("fill")
        load.fill()
        fate.prepare()
        lasted = _phases(load, fate, plan, tell)
        tell("fresh process")
        written = load.written()
        reads = read_afresh(name, fate.url, directory, written)  # at once: whatever replays may still be at it
    finally:
        system.close()
    total, hit = load.seen(*PHASES), load.seen("during", "after")
    rates = {phase: load.seen(phase).calls / seconds for phase, seconds in lasted.items()}
    return Outcome(
        system=name,
        fault=fault,
        before=rates["before"],
        during=rates["during"],
        after=rates["after"],
        longest_ms=hit.longest * 1000,
        errors=dict(total.errors),
        false_misses=total.false_misses,
        stale_reads=total.stale_reads,
        written_keys=len(written),
        lost=reads.lost,
        old=reads.old,
    )


def _phases(load: Load, fate: Fault, plan: Plan, tell: Tell) -> dict[str, float]:
    """Let each phase last; the seconds that they really did."""
    actions = {"during": fate.begin, "after": fate.end}
    began = {}
    load.start()
    try:
        for phase in PHASES:
            tell(phase)
            if phase in actions:
                actions[phase]()
            load.phase, began[phase] = phase, time.perf_counter()
            time.sleep(getattr(plan, phase))
        ended = time.perf_counter()
    finally:
        load.stop()
    ends = [*list(began.values())[1:], ended]
    return {phase: end - start for (phase, start), end in zip(began.items(), ends, strict=True)}
