"""What a store that survives outages must show, and whether it does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks.outage.outcome import Outcome
from benchmarks.outage.recovery import Recovery
from benchmarks.systems.tiered_chain import DEADLINE, STALENESS

LONGEST_MS = DEADLINE * 1000 + 50
"""tiered's default deadline, and 50 ms for the machine."""
RATIO = 1.0
RECOVERY_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """One promise. `timing`: it depends on what else the machine does, so a miss does not fail the command."""

    asked: str
    found: str
    met: bool
    timing: bool


def judge(outcomes: Sequence[Outcome], recoveries: Sequence[Recovery] = ()) -> list[Verdict]:
    """The verdicts on one system's `outcomes`; the worst fault decides."""
    return [
        _none("no errors", (sum(it.errors.values()) for it in outcomes)),
        _none("no false misses", (it.false_misses for it in outcomes)),
        _none("no acknowledged write lost", (it.lost for it in outcomes)),
        _none("none read back old by a fresh process", (it.old for it in outcomes)),
        _none("no stale reads in the process that writes", (it.stale_reads for it in outcomes)),
        _oldest(outcomes),
        *_equal_in_the_end(outcomes),
        _longest(outcomes),
        *(_ratio(it) for it in outcomes),
        *(_recovered(it) for it in recoveries),
    ]


def _none(asked: str, counts: Iterable[int]) -> Verdict:
    total = sum(counts)
    return Verdict(asked, f"{total:,}", total == 0, False)


def _oldest(outcomes: Sequence[Outcome]) -> Verdict:
    oldest = max(it.oldest_ms for it in outcomes)
    return Verdict(f"no stale read later than {STALENESS:g} s", f"{oldest:,.0f} ms", oldest <= STALENESS * 1000, False)


def _equal_in_the_end(outcomes: Sequence[Outcome]) -> list[Verdict]:
    told = [it for it in outcomes if it.converged is not None]
    if not told:
        return []
    unequal = [it.fault for it in told if not it.converged]
    return [Verdict("all tiers equal in the end, says verify()", ", ".join(unequal) or "yes", not unequal, False)]


def _longest(outcomes: Sequence[Outcome]) -> Verdict:
    worst = max(outcomes, key=lambda it: it.longest_ms)
    found = f"{worst.longest_ms:,.0f} ms ({worst.fault})"
    return Verdict(f"longest call ≤ {LONGEST_MS:,.0f} ms", found, worst.longest_ms <= LONGEST_MS, True)


def _ratio(it: Outcome) -> Verdict:
    return Verdict(f"during ≥ {RATIO} × before: {it.fault}", f"{it.ratio:.2f}", it.ratio >= RATIO, True)


def _recovered(it: Recovery) -> Verdict:
    asked = f"equal ≤ {RECOVERY_SECONDS:.0f} s after {it.writes:,} missed writes: {it.fault}"
    if not (it.equal and it.verified):
        found = "verify() says no" if it.equal else f"not within {it.seconds:.0f} s"
        return Verdict(asked, found, False, False)
    return Verdict(asked, f"{it.seconds:.1f} s", it.seconds <= RECOVERY_SECONDS, True)
