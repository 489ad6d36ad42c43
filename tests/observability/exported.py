"""What a registry exports, for tests."""

from __future__ import annotations

from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from tiered.observability.metrics import install

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def parsed(text: str) -> Series:
    """Every sample of an exposition; one that comes twice is an error."""
    series: Series = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            place = (sample.name, frozenset(sample.labels.items()))
            assert place not in series, place
            series[place] = sample.value
    return series


class Exported:
    """The metrics of tiered in a registry of their own; `value` looks anew each time."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        install(self.registry)

    def series(self) -> Series:
        from prometheus_client import generate_latest

        return parsed(generate_latest(self.registry).decode())

    def value(self, name: str, **labels: str) -> float:
        """The sum of the series of this name that have these labels; there must be one."""
        found = [
            it for (its, given), it in self.series().items() if its == name and labels.items() <= dict(given).items()
        ]
        assert found, f"no series {name} {labels}"
        return sum(found)
