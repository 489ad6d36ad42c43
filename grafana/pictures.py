"""Pictures of the dashboards for the README: `make pictures`.

A bot with real parts goes through a real Redis outage, a real Prometheus scrapes it, and the shipped JSON is drawn
from what Prometheus answers. matplotlib draws it, not Grafana: the captions say so.
"""

from __future__ import annotations

import json
import re
import tempfile
from itertools import groupby
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.ticker import FuncFormatter, MaxNLocator

from tests.observability.outage import SCRAPE, Outage, filled_in

ROOT = Path(__file__).parents[1]
PHASES = (25.0, 30.0, 25.0)
PALETTE = ("#5794F2", "#73BF69", "#FADE2A", "#B877D9", "#8AB8FF", "#96D98D", "#CA95E5", "#FFB357", "#37872D", "#1F60C4")
NAMED = {"green": "#73BF69", "orange": "#FF9830", "blue": "#5794F2"}
INK, PAPER, PANEL, GRID = "#D8D9DA", "#111217", "#181B1F", "#2C3235"

Series = dict[str, Any]


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="tiered-pictures-") as name:
        outage = Outage(Path(name) / "run", seconds=PHASES)
        try:
            outage.run(lambda phase: print(phase, flush=True))
            for path in sorted((ROOT / "grafana/dashboards").glob("*.json")):
                target = ROOT / "docs/images" / f"{path.stem}.png"
                draw(json.loads(path.read_text()), outage, target)
                print(target.relative_to(ROOT))
        finally:
            outage.close()


def draw(model: dict[str, Any], outage: Outage, target: Path) -> None:
    """One dashboard, its panels where they are in Grafana."""
    height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in model["panels"])
    plt.rcParams.update({"font.size": 7, "text.color": INK, "axes.labelcolor": INK, "font.family": "DejaVu Sans"})
    figure = plt.figure(figsize=(13, height * 0.34 + 0.8), facecolor=PAPER)
    grid = GridSpec(height * 10, 240, figure, left=0.04, right=0.985, top=1 - 0.55 / (height * 0.34 + 0.8), bottom=0.02)
    figure.text(0.015, 1 - 0.22 / (height * 0.34 + 0.8), model["title"], fontsize=12, weight="bold", va="center")
    told = f"{PHASES[0]:.0f} s of traffic, Redis killed for {PHASES[1]:.0f} s (shaded), back and empty; drawn with matplotlib, not by Grafana"
    figure.text(0.985, 1 - 0.22 / (height * 0.34 + 0.8), told, fontsize=7, ha="right", va="center", color="#8E9297")
    for panel in model["panels"]:
        place(figure, grid, panel, outage)
    target.parent.mkdir(exist_ok=True)
    figure.savefig(target, dpi=110, facecolor=PAPER)
    plt.close(figure)


def place(figure: Figure, grid: GridSpec, panel: dict[str, Any], outage: Outage) -> None:
    at = panel["gridPos"]
    rows, columns = slice(at["y"] * 10, (at["y"] + at["h"]) * 10), slice(at["x"] * 10, (at["x"] + at["w"]) * 10)
    if panel["type"] == "row":
        axes = figure.add_subplot(grid[rows, columns])
        axes.axis("off")
        axes.text(-0.015, 0.3, f"▾ {panel['title']}", fontsize=9, weight="bold", transform=axes.transAxes)
        return
    inner = slice(rows.start + 9, rows.stop - 17 if panel["type"] != "stat" else rows.stop - 6)
    axes = figure.add_subplot(grid[inner, slice(columns.start + 5, columns.stop - 5)])
    axes.set_facecolor(PANEL)
    axes.set_title(panel["title"], loc="left", fontsize=8, color=INK, pad=5)
    series = [it for target in panel["targets"] for it in answers(target, outage)]
    {"stat": stat, "state-timeline": states}.get(panel["type"], lines)(axes, panel, series, outage)


def _legend(form: str, labels: dict[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda label: labels.get(label[1], ""), form)


def answers(target: dict[str, Any], outage: Outage) -> list[Series]:
    """What Prometheus says to a panel's query, with the legend that Grafana would show."""
    found = outage.prometheus.query_range(filled_in(target["expr"]), outage.started, outage.ended, SCRAPE)
    return [
        {
            "name": _legend(target["legendFormat"], it["metric"]),
            "x": [float(at) - outage.started for at, _ in it["values"]],
            "y": [float(value) for _, value in it["values"]],
        }
        for it in found
    ]


def lines(axes: Axes, panel: dict[str, Any], series: list[Series], outage: Outage) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    series = [it for it in series if any(y == y and y > 0 for y in it["y"])] or series[:1]
    colours = [colour_of(panel, it["name"], n) for n, it in enumerate(series)]
    if defaults["custom"]["stacking"]["mode"] == "normal":
        xs = series[0]["x"]
        columns = [dict(zip(it["x"], it["y"], strict=True)) for it in series]
        axes.stackplot(xs, [[column.get(x, 0.0) for x in xs] for column in columns], colors=colours, alpha=0.5)
    for it, colour in zip(series, colours, strict=True):
        stacked = defaults["custom"]["stacking"]["mode"] == "normal"
        axes.plot(
            it["x"], it["y"], color=colour, linewidth=0 if stacked else 1.1, linestyle=dashes_of(panel, it["name"])
        )
    axes.set_ylim(bottom=0, top=1.05 if defaults.get("max") == 1 else None)
    if axes.get_ylim()[1] <= 0.06 and not any(y > 0 for it in series for y in it["y"]):
        axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: shown(value, defaults["unit"])))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    frame(axes, outage)
    handles = [
        plt.Line2D([], [], color=colour, linewidth=1.5, linestyle=dashes_of(panel, it["name"]), label=it["name"])
        for it, colour in zip(series, colours, strict=True)
    ][:12]
    columns_ = min(6, max(1, len(handles)))
    axes.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(-0.02, -0.11), ncols=columns_, frameon=False, fontsize=6,
        labelcolor=INK, handlelength=2.2, columnspacing=1.0, borderaxespad=0,
    )  # fmt: skip


def states(axes: Axes, panel: dict[str, Any], series: list[Series], outage: Outage) -> None:
    """A bar for each series, coloured by its value."""
    meanings = {
        value: it
        for mapping in panel["fieldConfig"]["defaults"]["mappings"]
        for value, it in mapping["options"].items()
    }
    for row, it in enumerate(series):
        for value, run in groupby(zip(it["x"], it["y"], strict=True), key=lambda point: point[1]):
            xs = [x for x, _ in run]
            colour = NAMED[meanings[f"{value:.0f}"]["color"]]
            axes.barh(row, xs[-1] - xs[0] + SCRAPE, left=xs[0], height=0.6, color=colour, alpha=0.75, linewidth=0)
    axes.set_yticks(range(len(series)), [it["name"] for it in series])
    frame(axes, outage)
    handles = [plt.Rectangle((0, 0), 1, 1, color=NAMED[it["color"]], label=it["text"]) for it in meanings.values()]
    axes.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(-0.02, -0.11),
        ncols=2,
        frameon=False,
        fontsize=6,
        labelcolor=INK,
    )


def stat(axes: Axes, panel: dict[str, Any], series: list[Series], outage: Outage) -> None:
    """The value in the middle of the outage, for that is what a picture is looked at for, over the line of all values."""
    defaults = panel["fieldConfig"]["defaults"]
    (it,) = series
    middle = (outage.killed + outage.restarted) / 2 - outage.started
    value = min(zip(it["x"], it["y"], strict=True), key=lambda point: abs(point[0] - middle))[1]
    meanings = {key: its for mapping in defaults["mappings"] for key, its in mapping["options"].items()}
    meaning = meanings.get(f"{value:.0f}")
    colour = next(
        step["color"]
        for step in reversed(defaults["thresholds"]["steps"])
        if step["value"] is None or value >= step["value"]
    )
    text, colour = (meaning["text"], meaning["color"]) if meaning else (shown(value, defaults["unit"]), colour)
    colour = NAMED.get(colour, colour)
    if not meanings:
        axes.fill_between(it["x"], it["y"], color=colour, alpha=0.18, linewidth=0)
    axes.text(
        0.5, 0.58, text, transform=axes.transAxes, ha="center", va="center", fontsize=17, color=colour, weight="bold"
    )
    axes.text(0.5, 0.14, "during the outage", transform=axes.transAxes, ha="center", fontsize=6, color="#8E9297")
    axes.set_ylim(bottom=0, top=max(1e-9, *it["y"]) * 1.1)
    frame(axes, outage)
    axes.set_xticks([])
    axes.set_yticks([])


def frame(axes: Axes, outage: Outage) -> None:
    axes.axvspan(
        outage.killed - outage.started, outage.restarted - outage.started, color="#FFFFFF", alpha=0.05, linewidth=0
    )
    axes.set_xlim(0, outage.ended - outage.started)
    axes.grid(color=GRID, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.tick_params(colors="#8E9297", length=0, labelsize=6)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: f"{seconds:.0f} s"))
    for side in axes.spines.values():
        side.set_visible(False)


def colour_of(panel: dict[str, Any], name: str, number: int) -> str:
    """As Grafana chooses: the last override that fits, else the palette."""
    colour = PALETTE[number % len(PALETTE)]
    for override in panel["fieldConfig"]["overrides"]:
        (setting,) = override["properties"]
        if setting["id"] == "color" and re.search(override["matcher"]["options"].strip("/"), name):
            colour = setting["value"]["fixedColor"]
    return colour


def dashes_of(panel: dict[str, Any], name: str) -> Any:
    style: Any = "solid"
    for override in panel["fieldConfig"]["overrides"]:
        (setting,) = override["properties"]
        if setting["id"] == "custom.lineStyle" and re.search(override["matcher"]["options"].strip("/"), name):
            style = (0, [length / 1.5 for length in setting["value"]["dash"]])
    return style


def shown(value: float, unit: str) -> str:
    """A number with its unit, as short as Grafana's."""
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    if unit == "s":
        for factor, name in ((1, "s"), (1e-3, "ms"), (1e-6, "µs")):
            if value >= factor or name == "µs":
                return f"{value / factor:.3g} {name}"
    suffix = {"reqps": " req/s", "ops": " ops/s", "bytes": "B", "Bps": "B/s"}.get(unit, "")
    for factor, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:.3g} {name}{suffix.strip()}"
    return f"{value:.3g}{suffix if unit not in ('bytes', 'Bps') else ' ' + suffix}"


if __name__ == "__main__":
    main()
