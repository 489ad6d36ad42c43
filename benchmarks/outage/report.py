"""The result as a table of at most 100 columns and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from benchmarks.outage.faults import FAULTS
from benchmarks.outage.recovery import Recovery
from benchmarks.outage.scenario import Outcome, Plan
from benchmarks.outage.verdicts import Verdict

_HEAD = (
    f"{'':<21}{'calls/s':>8}{'':>16}{'during':>8}{'longest':>8}{'':>7}{'false':>7}{'stale':>7}{'keys read afresh':>18}\n"
    f"{'':<21}{'before':>8}{'during':>8}{'after':>8}{'/before':>8}{'call ms':>8}{'errors':>7}{'misses':>7}{'reads':>7}"
    f"{'lost':>6}{'old':>6}{'of':>6}"
)


@dataclass(frozen=True, slots=True)
class Result:
    """One whole run. `verdicts` are per system."""

    plan: Plan
    outcomes: Sequence[Outcome]
    recovery: Recovery | None
    verdicts: dict[str, list[Verdict]]

    def table(self) -> str:
        lines = [_HEAD]
        for fault in dict.fromkeys(it.fault for it in self.outcomes):
            lines.append(f"{FAULTS[fault].title}, {self.plan.during:g} s  [{fault}]")
            lines += [_row(it) for it in self.outcomes if it.fault == fault]
        lines.append("")
        for system, verdicts in self.verdicts.items():
            lines += _judged(system, verdicts)
        return "\n".join(lines)

    def as_json(self) -> str:
        outcomes = [{**asdict(it), "ratio": it.ratio} for it in self.outcomes]
        recovery = None if self.recovery is None else asdict(self.recovery)
        verdicts = {system: [asdict(it) for it in found] for system, found in self.verdicts.items()}
        whole = {"plan": asdict(self.plan), "outcomes": outcomes, "recovery": recovery, "verdicts": verdicts}
        return json.dumps(whole, indent=2)


def _row(it: Outcome) -> str:
    return (
        f"  {it.system:<19}"
        f"{it.before:>8,.0f}{it.during:>8,.0f}{it.after:>8,.0f}{it.ratio:>8.2f}{it.longest_ms:>8,.0f}"
        f"{sum(it.errors.values()):>7,}{it.false_misses:>7,}{it.stale_reads:>7,}"
        f"{it.lost:>6,}{it.old:>6,}{it.written_keys:>6,}"
    )


def _judged(system: str, verdicts: Sequence[Verdict]) -> list[str]:
    """tiered's in full; of a peer, what it misses."""
    if system == "tiered":
        return [f"{system}: {it.asked:<54}{it.found:<26}{'ok' if it.met else 'MISSED'}" for it in verdicts]
    missed = [f"  {it.asked}: {it.found}" for it in verdicts if not it.met]
    return [f"{system} misses{'' if missed else ' nothing'}", *missed]
