"""What has been counted of one tier so far; becomes a `TierReport`."""

from __future__ import annotations

from collections import Counter, defaultdict

from tiered.verification.report import FAULTS, Example, Kind, Role, TierReport


class Tally:
    """Counts, with the first `examples` keys of each fault. For one thread."""

    def __init__(self, tier: str, role: Role, examples: int) -> None:
        self.tier, self.role = tier, role
        self.counts = Counter[Kind]()
        self.mended = Counter[Kind]()
        self.enumerable = True
        self.error = ""
        self._examples = defaultdict[Kind, list[Example]](list)
        self._limit = examples

    def add(self, kind: Kind, namespace: str, key: str) -> None:
        """Count one key."""
        self.counts[kind] += 1
        if (kind in FAULTS or kind is Kind.PENDING) and len(self._examples[kind]) < self._limit:
            self._examples[kind].append(Example(namespace, key))

    def report(self) -> TierReport:
        """What there is to say now."""
        return TierReport(
            self.tier,
            self.role,
            {kind: self.counts[kind] for kind in Kind},
            {kind: tuple(places) for kind, places in self._examples.items() if places},
            dict(self.mended),
            self.enumerable,
            self.error,
        )
