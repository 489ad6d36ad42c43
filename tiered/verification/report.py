"""What `verify` and `repair` found, per tier and kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, NamedTuple


class Kind(StrEnum):
    """How a tier's copy of an entry stands to the record's."""

    __repr__ = str.__repr__  # as a key of `counts` it is to be read

    SAME = "same"
    """In the store of record: the entry opens."""
    MISSING = "missing"
    """Not a fault: a cache tier may lack any key."""
    PENDING = "pending"
    """Behind, and known to be: owed, marked as pending, or written a moment ago. Not read there, and not a fault."""
    OLDER = "older"
    NEWER = "newer"
    """Newer than the record: it lost a write, or the tier belongs to another store."""
    DIFFERENT = "different"
    """Other bytes under the record's version."""
    DAMAGED = "damaged"
    """Bytes that do not open: cut off, changed, foreign, or stored under another key."""
    RESURRECTABLE = "resurrectable"
    """Alive here, while the record does not have it (any more)."""
    UNREADABLE = "unreadable"
    """Needs keys, a class or a codec that this process does not have, which says nothing about the entry: it is left."""


MENDABLE = (Kind.OLDER, Kind.NEWER, Kind.DIFFERENT, Kind.DAMAGED, Kind.RESURRECTABLE)
"""What `repair` mends in memory and in cache tiers."""
FAULTS = (*MENDABLE, Kind.UNREADABLE)

Role = Literal["memory", "cache", "record"]


class Example(NamedTuple):
    """A key that a count is about."""

    namespace: str
    key: str


@dataclass(frozen=True, slots=True, repr=False)
class TierReport:
    """One tier. `counts` has every kind; `examples` the first keys of those that are worth a look."""

    tier: str
    role: Role
    counts: Mapping[Kind, int]
    examples: Mapping[Kind, tuple[Example, ...]] = field(default_factory=dict)
    mended: Mapping[Kind, int] = field(default_factory=dict)
    enumerable: bool = True
    """Whether the tier can list what it holds; without that, keys that only it has are not seen."""
    reasons: Mapping[str, int] = field(default_factory=dict)
    """Why entries are unreadable and what is to be done, and how many each."""
    error: str = ""
    """Why the tier could not be compared or mended to the end; the counts are then of what was seen before."""

    def __repr__(self) -> str:
        counts = [f"{number:,} {kind}" for kind, number in self.counts.items() if number] or ["nothing"]
        mended = [f"{number:,} {kind} mended" for kind, number in self.mended.items() if number]
        error = [f"not compared: {self.error}"] if self.error else []
        return f"<{self.tier}: {', '.join([*error, *counts, *mended])}>"

    @property
    def faults(self) -> dict[Kind, int]:
        """Faults that are left, by kind; none that was mended."""
        left = {kind: self.counts.get(kind, 0) - self.mended.get(kind, 0) for kind in FAULTS}
        return {kind: number for kind, number in left.items() if number}

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "tier": self.tier,
            "role": self.role,
            "counts": {str(kind): number for kind, number in self.counts.items()},
            "mended": {str(kind): number for kind, number in self.mended.items()},
            "examples": {str(kind): [place._asdict() for place in places] for kind, places in self.examples.items()},
            "enumerable": self.enumerable,
            "reasons": dict(self.reasons),
            "error": self.error or None,
        }


@dataclass(frozen=True, slots=True, repr=False)
class Report:
    """What was compared, what differed, what was mended. `dry_run` is None for `verify`."""

    namespaces: tuple[str, ...]
    tiers: tuple[TierReport, ...]
    """In the order of the chain; the store of record is the last."""
    seconds: float
    dry_run: bool | None = None
    new_generation: bool = False
    """Whether caches start anew because something could not be mended in place; in a dry run: whether they would."""
    replayed: Mapping[str, int] = field(default_factory=dict)
    """Owed and pending keys that were put before the comparison, per tier."""

    def __repr__(self) -> str:
        verdict = "converged" if self.converged else "ok" if self.ok else "NOT OK"
        return f"<Report {verdict}: {' '.join(map(repr, self.tiers))} in {self.seconds:.3f} s>"

    @property
    def ok(self) -> bool:
        """Every tier was compared, and no fault is left."""
        return not any(tier.error or tier.faults for tier in self.tiers)

    @property
    def converged(self) -> bool:
        """`ok`, and no tier is behind: what it holds is what the record holds."""
        return self.ok and not any(tier.counts.get(Kind.PENDING) for tier in self.tiers)

    @property
    def unreachable(self) -> tuple[str, ...]:
        """The tiers that could not be compared to the end."""
        return tuple(tier.tier for tier in self.tiers if tier.error)

    @property
    def unreadable(self) -> int:
        """Entries that this process lacks keys, a class or a codec for; `reasons` of their tiers say what."""
        return sum(tier.counts.get(Kind.UNREADABLE, 0) for tier in self.tiers)

    def tier(self, name: str) -> TierReport:
        """The report on the tier `name`; KeyError if there is none."""
        for tier in self.tiers:
            if tier.tier == name:
                return tier
        raise KeyError(name)

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "ok": self.ok,
            "converged": self.converged,
            "namespaces": list(self.namespaces),
            "seconds": round(self.seconds, 3),
            "dry_run": self.dry_run,
            "new_generation": self.new_generation,
            "replayed": dict(self.replayed),
            "tiers": [tier.as_dict() for tier in self.tiers],
        }
