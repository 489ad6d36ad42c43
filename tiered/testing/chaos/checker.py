"""The checker: a pure function from a history to a verdict on what the store promises.

Versions order the writes of a key. A read is *stale* if a write above what it returned had been acknowledged before it
began; its age is the time since the first such acknowledgement. In the process that wrote it no age is allowed, in every
other at most `delta` seconds. A write that raised `Ambiguous`, or never returned, may count or not, at any time.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tiered.testing.chaos.atomicity import atomicity
from tiered.testing.chaos.history import Event
from tiered.testing.chaos.order import KeyOrder
from tiered.testing.chaos.reads import Reads

CHECKS = {
    "lost": "acknowledged writes lost",
    "lost update": "updates lost to another",
    "stale": "stale reads, own process",
    "stale elsewhere": "stale reads, other process",
    "resurrected": "resurrected keys",
    "back": "versions going back",
    "miss": "false misses",
    "wrong": "values never written",
    "dishonest": "denied writes that happened",
    "error": "errors",
    "unfinished": "calls that never returned",
}
"""The checks and what they are called in a table."""
DIED = "processes that died"


class Finding(NamedTuple):
    """One broken promise."""

    check: str
    event: Event
    text: str
    age: float = 0.0


class Row(NamedTuple):
    """A line of the verdict: what was found and allowed, and whether that holds (None: told, not judged)."""

    check: str
    found: str
    allowed: str
    holds: bool | None


@dataclass(slots=True)
class Report:
    """What `check` found."""

    delta: float
    errors_allowed: bool = False
    longest_allowed: float | None = None
    findings: list[Finding] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    calls: int = 0
    reads: int = 0
    acknowledged: int = 0
    """Acknowledged writes."""
    unsure: int = 0
    """Writes that may count or not."""
    keys: int = 0
    longest: float = 0.0
    """Seconds of the longest call."""
    per_second: float = 0.0
    lagging: int = 0
    """Reads in another process that were stale within `delta`."""
    oldest: float = 0.0
    """The age of the oldest read in another process, allowed or not."""
    died: list[str] = field(default_factory=list)
    """Which processes ended otherwise than asked to, and how; of what they did last, a history knows only the writes."""
    disagreeing: int | None = None
    """Entries that `verify()` found to differ between the tiers in the end; None where there were no tiers to compare."""

    @property
    def ok(self) -> bool:
        """Whether every promise held."""
        return all(row.holds is not False for row in self.rows())

    def found(self, check: str) -> list[Finding]:
        """The findings of one check."""
        return [finding for finding in self.findings if finding.check == check]

    def rows(self) -> list[Row]:
        """The verdict, line by line."""
        rows = [self._row(check) for check in CHECKS]
        rows.append(Row(DIED, f"{len(self.died):,}", "0", not self.died))
        if self.disagreeing is not None:
            rows.append(Row("tiers that disagree (verify)", f"{self.disagreeing:,}", "0", not self.disagreeing))
        limit = self.longest_allowed
        allowed = "" if limit is None else f"{limit:g} s"
        rows.append(
            Row("longest call", f"{self.longest:.3f} s", allowed, None if limit is None else self.longest <= limit)
        )
        rows.append(Row("calls per second", f"{self.per_second:,.0f}", "", None))
        return rows

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "ok": self.ok,
            "found": {check: len(self.found(check)) for check in CHECKS},
            "errors": dict(self.errors),
            "findings": [f"{CHECKS[it.check]}: {it.text}" for it in self.findings[:20]],
            "calls": self.calls,
            "reads": self.reads,
            "acknowledged": self.acknowledged,
            "unsure": self.unsure,
            "keys": self.keys,
            "died": self.died,
            "longest_s": round(self.longest, 4),
            "per_second": round(self.per_second),
            "lagging": self.lagging,
            "oldest_s": round(self.oldest, 4),
            "delta_s": self.delta,
            "disagreeing": self.disagreeing,
        }

    def _row(self, check: str) -> Row:
        found = len(self.found(check))
        if check == "error" and self.errors_allowed:
            return Row(CHECKS[check], f"{sum(self.errors.values()):,}", "typed ones", not found)
        if check == "stale elsewhere":
            oldest = f"{found:,} (oldest {self.oldest:.2f} s)" if self.oldest else f"{found:,}"
            return Row(CHECKS[check], oldest, f"0 above {self.delta:g} s", not found)
        return Row(CHECKS[check], f"{found:,}", "0", not found)


def check(
    events: Iterable[Event],
    *,
    delta: float = 1.5,
    errors_allowed: bool = False,
    longest_allowed: float | None = None,
    killed: Container[str] = (),
) -> Report:
    """Judge a history, each event once.

    `errors_allowed`: typed errors are no finding, as where the store of record itself fails, but for those of the final reading. `killed`: processes that
    were killed, whose last calls could not return.
    """
    events = list(events)
    report = Report(delta, errors_allowed, longest_allowed)
    by_key: defaultdict[str, list[Event]] = defaultdict(list)
    for event in events:
        by_key[event.key].append(event)
    for of_key in by_key.values():
        order = KeyOrder(of_key)
        report.findings += [Finding(*it) for it in atomicity(order)]
        reads = Reads(order, delta)
        report.findings += [Finding(*it) for it in reads.judged()]
        report.lagging += reads.lagging
        report.oldest = max(report.oldest, reads.oldest)
    report.keys = len(by_key)
    _calls(report, events, killed)
    return report


def _calls(report: Report, events: list[Event], killed: Container[str]) -> None:
    """What does not depend on values: errors, durations, numbers."""
    calls = {(event.process, event.call): event for event in events}.values()
    for event in calls:
        report.longest = max(report.longest, (event.end or event.start) - event.start)
        if event.error:
            report.errors[event.error] += 1
            typed = event.error.split()[0] in ("NotApplied", "Ambiguous", "StoreUnavailable")
            unread = event.op == "final"  # what nobody could read, nobody has judged
            if unread or not (typed and report.errors_allowed):
                report.findings.append(
                    Finding("error", event, f"{event.process} {event.op} {event.key}: {event.error}")
                )
        if event.end is None and event.process not in killed:
            report.findings.append(Finding("unfinished", event, f"{event.process} {event.op} {event.key}"))
    report.calls = len(calls)
    report.reads = sum(not event.write for event in calls)
    report.acknowledged = sum(event.write and event.acknowledged for event in events)
    report.unsure = sum(event.write and not event.acknowledged and not event.denied for event in events)
    ends = [event.end for event in calls if event.end is not None]
    if ends:
        took = max(ends) - min(event.start for event in calls)
        report.per_second = len(calls) / took if took else 0.0
