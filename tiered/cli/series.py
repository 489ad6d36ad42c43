"""What metrics endpoints said at one moment, and what changed between two moments."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from itertools import pairwise

from prometheus_client.parser import text_string_to_metric_families

_OURS = ("tiered_", "# TYPE tiered_", "# HELP tiered_")
Labels = frozenset[tuple[str, str]]


class Series:
    """Samples by name and labels; the label `instance` tells from which endpoint each is."""

    def __init__(self, texts: Mapping[str, str], *, at: float | None = None) -> None:
        """Of each instance what it exposes, in Prometheus' text format. Raises ValueError for what is none."""
        self.at = time.monotonic() if at is None else at
        self.instances = list(texts)
        self._samples: dict[str, dict[Labels, float]] = {}
        for instance, text in texts.items():
            self._add(instance, text)

    def _add(self, instance: str, text: str) -> None:
        # A bot may export thousands of lines of its own, and they are parsed at some 100,000 a second.
        ours = "\n".join(line for line in text.splitlines() if line.startswith(_OURS))
        for family in text_string_to_metric_families(ours + "\n"):
            for sample in family.samples:
                labels = frozenset({**sample.labels, "instance": instance}.items())
                self._samples.setdefault(sample.name, {})[labels] = sample.value

    def of(self, name: str, **labels: str) -> Iterator[tuple[Labels, float]]:
        """The samples of `name` that have these labels."""
        wanted = labels.items()
        return ((has, value) for has, value in self._samples.get(name, {}).items() if wanted <= dict(has).items())

    def total(self, name: str, **labels: str) -> float:
        return sum(value for _, value in self.of(name, **labels))

    def most(self, name: str, **labels: str) -> float:
        """The highest: for what each process sees of one thing."""
        return max((value for _, value in self.of(name, **labels)), default=0.0)

    def label(self, name: str, label: str, **labels: str) -> list[str]:
        """The values that `label` has, in the order of the exposition."""
        return list(dict.fromkeys(value for has, _ in self.of(name, **labels) if (value := dict(has).get(label))))

    def growth(self, before: Series, name: str, labels: Labels, value: float) -> float:
        """By how much a counter grew; one that is lower than before started anew, as Prometheus takes it."""
        held = before._samples.get(name, {}).get(labels)
        if held is None:  # a process that was not seen before has counted since its start, not since our last look
            return value if dict(labels)["instance"] in before.instances else 0.0
        return value - held if value >= held else value


class Change:
    """What happened between two looks."""

    def __init__(self, before: Series, after: Series) -> None:
        self.before, self.now = before, after
        self.seconds = max(after.at - before.at, 1e-9)

    def rate(self, name: str, **labels: str) -> float:
        """How fast the counter grew, per second, summed over what has these labels."""
        return self._growth(name, labels) / self.seconds

    def quantile(self, q: float, name: str, **labels: str) -> float | None:
        """Of a histogram, as histogram_quantile has it; None if nothing was observed meanwhile."""
        buckets: dict[float, float] = {}
        for has, value in self.now.of(f"{name}_bucket", **labels):
            bound = float(dict(has)["le"])
            buckets[bound] = buckets.get(bound, 0.0) + self.now.growth(self.before, f"{name}_bucket", has, value)
        ordered = [(0.0, 0.0), *sorted(buckets.items())]
        wanted = q * ordered[-1][1]
        if wanted <= 0:
            return None
        for (low, below), (high, within) in pairwise(ordered):
            if within >= wanted:
                return low if math.isinf(high) else low + (high - low) * (wanted - below) / (within - below)
        return None

    def _growth(self, name: str, labels: dict[str, str]) -> float:
        found = self.now.of(name, **labels)
        return sum(self.now.growth(self.before, name, has, value) for has, value in found)
