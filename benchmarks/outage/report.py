"""The result as a table of at most 100 columns and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from benchmarks.outage.faults import FAULTS
from benchmarks.outage.outcome import Outcome, over_rounds
from benchmarks.outage.plan import Plan
from benchmarks.outage.recovery import Recovery
from benchmarks.outage.verdicts import Verdict, judge

_HEAD = (
    f"{'':<20}{'calls/s':>8}{'':>16}{'during':>8}{'longest':>8}{'':>7}{'false':>7}{'stale':>7}{'keys read afresh':>19}\n"
    f"{'':<20}{'before':>8}{'during':>8}{'after':>8}{'/before':>8}{'call ms':>8}{'errors':>7}{'misses':>7}{'reads':>7}"
    f"{'lost':>6}{'old':>6}{'of':>7}"
)


@dataclass(frozen=True, slots=True)
class Result:
    """One whole run: every round of every cell, in the order in which they ran."""

    plan: Plan
    machine: str
    rounds: Sequence[Outcome]
    recoveries: Sequence[Recovery]

    @property
    def outcomes(self) -> list[Outcome]:
        """One for each fault and system, over all rounds."""
        cells = dict.fromkeys((it.fault, it.system) for it in self.rounds)
        return [over_rounds([it for it in self.rounds if (it.fault, it.system) == cell]) for cell in cells]

    @property
    def verdicts(self) -> dict[str, list[Verdict]]:
        """By system."""
        outcomes = self.outcomes
        return {
            system: judge([it for it in outcomes if it.system == system], self.recoveries if system == "tiered" else ())
            for system in dict.fromkeys(it.system for it in outcomes)
        }

    def table(self) -> str:
        plan, outcomes = self.plan, self.outcomes
        lines = [f"seed {plan.seed}, rounds {plan.rounds}; {self.machine}", _HEAD]
        for fault in dict.fromkeys(it.fault for it in outcomes):
            lines.append(f"{FAULTS[fault].title}, {plan.during:g} s  [{fault}]")
            lines += [_row(it) for it in outcomes if it.fault == fault]
        lines.append("")
        for system, verdicts in self.verdicts.items():
            lines += _judged(system, verdicts)
        return "\n".join(lines)

    def as_json(self) -> str:
        whole = {
            "plan": asdict(self.plan),
            "machine": self.machine,
            "outcomes": [{**asdict(it), "ratio": it.ratio} for it in self.outcomes],
            "rounds": [{**asdict(it), "ratio": it.ratio} for it in self.rounds],
            "recoveries": [asdict(it) for it in self.recoveries],
            "verdicts": {system: [asdict(it) for it in found] for system, found in self.verdicts.items()},
        }
        return json.dumps(whole, indent=2)


def _row(it: Outcome) -> str:
    counts = ((sum(it.errors.values()), 7), (it.false_misses, 7), (it.stale_reads, 7))
    afresh = ((it.lost, 6), (it.old, 6), (it.written_keys, 7))
    return (
        f" {it.system:<19}"
        f"{it.before:>8,.0f}{it.during:>8,.0f}{it.after:>8,.0f}{it.ratio:>8.2f}{it.longest_ms:>8,.0f}"
        + "".join(_fitted(count, width) for count, width in (*counts, *afresh))
    )


def _fitted(count: int, width: int) -> str:
    """With a space before it; in thousands where the sum of many rounds has no room."""
    exact = f"{count:,}"
    return f"{exact if len(exact) < width else f'{count // 1000}k':>{width}}"


def _judged(system: str, verdicts: Sequence[Verdict]) -> list[str]:
    """tiered's in full; of a peer, what it misses."""
    if system == "tiered":
        return [f"{system}: {it.asked:<54}{it.found:<26}{'ok' if it.met else 'MISSED'}" for it in verdicts]
    missed = [f"  {it.asked}: {it.found}" for it in verdicts if not it.met]
    return [f"{system} misses{'' if missed else ' nothing'}", *missed]
