"""What callers of one system saw of one fault, in one round or over several."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Outcome:
    """Rates are answered calls per second; counts are of the whole run, warming up and fresh reads included."""

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
    oldest_ms: float
    """The age of the worst stale read: since the first acknowledged write that it missed."""
    acknowledged: int
    written_keys: int
    lost: int
    old: int
    converged: bool | None
    """Whether all tiers were equal in the end; None if the system cannot tell."""

    @property
    def ratio(self) -> float:
        return self.during / self.before if self.before else 0.0


def over_rounds(rounds: Sequence[Outcome]) -> Outcome:
    """Medians of the rates (by the round with the median ratio), the longest call, sums of what went wrong."""
    middle = statistics.median_low(sorted(it.ratio for it in rounds))
    typical = next(it for it in rounds if it.ratio == middle)
    errors = Counter[str]()
    for it in rounds:
        errors.update(it.errors)
    return Outcome(
        system=typical.system,
        fault=typical.fault,
        before=typical.before,
        during=typical.during,
        after=typical.after,
        longest_ms=max(it.longest_ms for it in rounds),
        errors=dict(errors),
        false_misses=sum(it.false_misses for it in rounds),
        stale_reads=sum(it.stale_reads for it in rounds),
        oldest_ms=max(it.oldest_ms for it in rounds),
        acknowledged=sum(it.acknowledged for it in rounds),
        written_keys=sum(it.written_keys for it in rounds),
        lost=sum(it.lost for it in rounds),
        old=sum(it.old for it in rounds),
        converged=None if typical.converged is None else all(it.converged for it in rounds),
    )
