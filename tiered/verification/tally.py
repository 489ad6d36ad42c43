"""What has been counted of one tier so far; becomes a `TierReport`."""

from __future__ import annotations

from collections import Counter, defaultdict

from tiered.verification.report import FAULTS, Example, Kind, Role, TierReport

REASONS = 10
"""As many different ones are kept: who forges entries can make up ids of keys."""


class Tally:
    """Counts, with the first `examples` keys of each fault. For one thread."""

    def __init__(self, tier: str, role: Role, examples: int) -> None:
        self.tier, self.role = tier, role
        self.counts = Counter[Kind]()
        self.mended = Counter[Kind]()
        self.enumerable = True
        self.error = ""
        self._examples = defaultdict[Kind, list[Example]](list)
        self._reasons = Counter[str]()
        self._limit = examples

    def add(self, kind: Kind, namespace: str, key: str, reason: str = "") -> None:
        """Count one key; `reason` says why it is unreadable."""
        self.counts[kind] += 1
        if (kind in FAULTS or kind is Kind.PENDING) and len(self._examples[kind]) < self._limit:
            self._examples[kind].append(Example(namespace, key))
        if kind is Kind.UNREADABLE and (reason in self._reasons or len(self._reasons) < REASONS):
            self._reasons[reason] += 1

    def report(self) -> TierReport:
        """What there is to say now."""
        return TierReport(
            self.tier,
            self.role,
            {kind: self.counts[kind] for kind in Kind},
            {kind: tuple(places) for kind, places in self._examples.items() if places},
            dict(self.mended),
            self.enumerable,
            dict(self._reasons),
            self.error,
        )
