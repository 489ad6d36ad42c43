"""The picture of a run: the load on whole stores, and each ratio beside what was asked for."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes

from benchmarks.figures import Figure
from benchmarks.mixed import Round
from benchmarks.systems import TASK_SYSTEMS

matplotlib.use("Agg")
from matplotlib import pyplot

OURS, PEER, MISSED = "#2a7f62", "#9aa5b1", "#c0392b"


def draw(path: Path, figures: Sequence[Figure], rounds: Mapping[str, Sequence[Round]], caption: str) -> None:
    """Write a PNG to `path`."""
    asked = [figure for figure in figures if figure.asked is not None]
    height = 1.2 + 0.24 * max(len(asked), 2 * len(rounds))
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(13.5, height), width_ratios=(1, 1.1), layout="constrained")
    _stores(left, rounds)
    _ratios(right, asked)
    figure.text(0.01, 0.01, f"python -m benchmarks; {caption}", fontsize=7, color="#555555")
    figure.get_layout_engine().set(rect=(0, 0.03, 1, 0.97))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _stores(axes: Axes, rounds: Mapping[str, Sequence[Round]]) -> None:
    """Calls a second: the median, and from the slowest to the fastest turn."""
    names = sorted(rounds, key=lambda name: statistics.median(it.rate for it in rounds[name]))
    for place, name in enumerate(names):
        rates = [it.rate for it in rounds[name]]
        middle = statistics.median(rates)
        axes.barh(place, middle, color=OURS if name.startswith("tiered") else PEER)
        axes.plot([min(rates), max(rates)], [place, place], color="black", linewidth=1)
        p99 = statistics.median(it.get_p99 for it in rounds[name])
        axes.text(max(rates), place, f"  {middle:,.0f}/s, p99 of get {p99:,.0f} µs", va="center", fontsize=8)
    labels = [f"{name} ({'64 tasks' if name in TASK_SYSTEMS else '4 threads'})" for name in names]
    axes.set_yticks(range(len(names)), labels, fontsize=8)
    axes.set_xlim(right=2.1 * max((it.rate for them in rounds.values() for it in them), default=1.0))
    axes.xaxis.set_major_formatter(lambda rate, _: f"{rate / 1000:.0f}k")
    axes.set_title("Whole stores: calls a second (95 % get, 5 % set)", fontsize=10)
    axes.tick_params(axis="x", labelsize=7)


def _ratios(axes: Axes, figures: Sequence[Figure]) -> None:
    """How far below (or, where more is better, above) what was asked: left of the line is better."""
    for place, it in enumerate(reversed(figures)):
        share = (it.asked or 1) / it.median if it.least else it.median / (it.asked or 1)
        axes.barh(place, share, color=OURS if it.verdict == "ok" else MISSED)
        axes.text(0, place, f" {it.median:.3f}", va="center", fontsize=7, color="white")
    axes.axvline(1.0, color="black", linewidth=1)
    names = [f"{it.name}, {'≥' if it.least else '≤'} {it.asked}" for it in reversed(figures)]
    axes.set_yticks(range(len(figures)), names, fontsize=7)
    axes.set_title("Ratios to peers ÷ what was asked (1 = just reached)", fontsize=10)
    axes.tick_params(axis="x", labelsize=7)
