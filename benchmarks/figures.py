"""One figure of a benchmark: what we and a peer took, in turns of one run, and the ratio that was asked for."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

Amount = TypeVar("Amount", int, float)
_quick = False


def only_see_that_it_works() -> None:
    """One turn of each and small amounts from here on: what is reported then means nothing."""
    global _quick
    _quick = True


def turns(usual: int) -> range:
    """So many turns, or one if it only has to work."""
    return range(amount(usual, 1))


def amount(usual: Amount, quick: Amount) -> Amount:
    """How many entries or seconds: `usual`, or `quick` if it only has to work."""
    return quick if _quick else usual


@dataclass(frozen=True, slots=True)
class Figure:
    """`pairs` are what we took and what the peer took, in seconds per operation or whatever both are in."""

    name: str
    asked: float | None
    pairs: Sequence[tuple[float, float]]
    least: bool = False
    """Whether the ratio is to be at least what was asked."""

    @property
    def ratios(self) -> list[float]:
        return sorted(ours / peers for ours, peers in self.pairs)

    @property
    def median(self) -> float:
        return statistics.median(self.ratios)

    @property
    def verdict(self) -> str:
        if self.asked is None:
            return "told"
        return "ok" if (self.median >= self.asked if self.least else self.median <= self.asked) else "MISSED"

    def line(self, scale: float = 1e6, unit: str = "µs") -> str:
        ratios, asked = self.ratios, "-" if self.asked is None else f"{'≥ ' if self.least else ''}{self.asked}"
        ours, peers = (statistics.median(column) * scale for column in zip(*self.pairs, strict=True))
        span = f"({ratios[0]:.3f}–{ratios[-1]:.3f})"
        return f"{self.name:<60}{self.median:>7.3f} {span:<16} asked {asked:<7}{self.verdict:<7}{ours:>10,.2f} / {peers:,.2f} {unit}"

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "median": self.median, "verdict": self.verdict}


FIGURES: list[Figure] = []
"""Those of this process, as they were reported."""


def report(
    name: str,
    asked: float | None,
    pairs: Sequence[tuple[float, float]],
    *,
    least: bool = False,
    scale: float = 1e6,
    unit: str = "µs",
) -> None:
    """Print a figure and keep it."""
    figure = Figure(name, asked, list(pairs), least)
    FIGURES.append(figure)
    print(figure.line(scale, unit), flush=True)
