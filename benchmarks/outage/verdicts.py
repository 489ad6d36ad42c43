"""What a store that survives outages must show, and whether it does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks.outage.recovery import Recovery
from benchmarks.outage.scenario import Outcome

LONGEST_MS = 1_050
"""tiered's default deadline, 1.0 s, and 50 ms for the machine."""
RATIO = 1.0
RECOVERY_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """One promise. `timing`: it depends on what else the machine does, so a miss does not fail the command."""

    asked: str
    found: str
    met: bool
    timing: bool


def judge(outcomes: Sequence[Outcome], recovery: Recovery | None) -> list[Verdict]:
    """The verdicts on one system's `outcomes`; the worst fault decides."""
    verdicts = [
        _none("no errors", (sum(it.errors.values()) for it in outcomes)),
        _none("no false misses", (it.false_misses for it in outcomes)),
        _none("no stale reads", (it.stale_reads for it in outcomes)),
        _none("no acknowledged write lost", (it.lost for it in outcomes)),
        _none("none read back old by a fresh process", (it.old for it in outcomes)),
    ]
    longest = max(outcomes, key=lambda it: it.longest_ms)
    found = f"{longest.longest_ms:,.0f} ms ({longest.fault})"
    verdicts.append(Verdict(f"longest call ≤ {LONGEST_MS:,} ms", found, longest.longest_ms <= LONGEST_MS, True))
    for it in outcomes:
        found = f"{it.ratio:.2f}"
        verdicts.append(Verdict(f"during ≥ {RATIO} × before: {it.fault}", found, it.ratio >= RATIO, True))
    if recovery is not None:
        verdicts.append(_recovered(recovery))
    return verdicts


def _none(asked: str, counts: Iterable[int]) -> Verdict:
    total = sum(counts)
    return Verdict(asked, f"{total:,}", total == 0, False)


def _recovered(recovery: Recovery) -> Verdict:
    asked = f"all equal ≤ {RECOVERY_SECONDS:.0f} s after {recovery.writes:,} missed writes"
    if not recovery.converged:
        return Verdict(asked, f"not within {recovery.seconds:.0f} s", False, False)
    found = f"{recovery.seconds:.1f} s (verify itself {recovery.verify_seconds:.1f})"
    return Verdict(asked, found, recovery.seconds <= RECOVERY_SECONDS, True)
