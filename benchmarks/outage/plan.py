"""How long each phase lasts, and how much there is of everything."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Plan:
    """Phases in seconds; `keys` are filled in before the load, `missed_writes` are for the recovery."""

    warm: float = 1.0
    before: float = 2.0
    during: float = 3.0
    after: float = 3.0
    keys: int = 20_000
    missed_writes: int = 10_000
    seed: int = 1
    rounds: int = 1


QUICK = Plan(warm=0.3, before=0.5, during=1.0, after=1.5, keys=4_000, missed_writes=1_000)
PHASES = ("warm", "before", "during", "after")
