"""What a dashboard is made of, and the JSON that Grafana reads (the classic schema)."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

SCHEMA = 39
WIDTH = 24
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
RED = "#E02F44"
"""For errors, and for nothing else."""
COLOURS = {
    "memory": "#5794F2",
    "redis": "#FF9830",
    "file": "#73BF69",
    "couchbase": "#B877D9",
}
"""A tier has one colour everywhere; one with a name of its own gets one of the palette."""
ERRORS = "error|errors|dropped|failed"
STYLES = {
    "miss|get_many|read_many|written|invalidated|superseded|half_open": [8, 5],
    "skipped|put|commit|expired|closed": [2, 4],
    "other": [10, 4, 2, 4],
}
"""Lines of one tier are told apart by their dashes."""
LIMIT, GREY = "limit", "#8E9297"

Query = tuple[str, str]
"""An expression and its legend."""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One panel. `kind` is timeseries, stat or state-timeline; `values` gives numbers names."""

    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    kind: str = "timeseries"
    width: int = 12
    height: int = 8
    stacked: bool = False
    values: dict[str, tuple[str, str]] = field(default_factory=dict)
    limits: tuple[tuple[float | None, str], ...] = ((None, "green"),)
    minimum: float | None = 0
    maximum: float | None = None

    def model(self, number: int, x: int, y: int) -> dict[str, Any]:
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "datasource": SOURCE,
            "gridPos": {"h": self.height, "w": self.width, "x": x, "y": y},
            "fieldConfig": {"defaults": self._defaults(), "overrides": _overrides()},
            "options": self._options(),
            "targets": [
                {
                    "refId": chr(ord("A") + n),
                    "datasource": SOURCE,
                    "editorMode": "code",
                    "expr": expression,
                    "legendFormat": legend,
                    "range": True,
                }
                for n, (expression, legend) in enumerate(self.queries)
            ],
        }

    def _defaults(self) -> dict[str, Any]:
        steps = [{"color": colour, "value": value} for value, colour in self.limits]
        defaults: dict[str, Any] = {
            "unit": self.unit,
            "color": {"mode": "palette-classic" if self.kind == "timeseries" else "thresholds"},
            "thresholds": {"mode": "absolute", "steps": steps},
            "mappings": [
                {"type": "value", "options": {value: {"text": text, "color": colour}}}
                for value, (text, colour) in self.values.items()
            ],
        }
        if self.minimum is not None:
            defaults["min"] = self.minimum
        if self.maximum is not None:
            defaults["max"] = self.maximum
        if self.kind == "timeseries":
            defaults["custom"] = {
                "drawStyle": "line",
                "lineWidth": 1,
                "fillOpacity": 25 if self.stacked else 8,
                "showPoints": "never",
                "spanNulls": False,
                "stacking": {"mode": "normal" if self.stacked else "none", "group": "A"},
            }
        return defaults

    def _options(self) -> dict[str, Any]:
        if self.kind == "stat":
            reduce = {"calcs": ["lastNotNull"], "fields": "", "values": False}
            return {"reduceOptions": reduce, "colorMode": "value", "graphMode": "area", "textMode": "auto"}
        legend = {"displayMode": "list", "placement": "bottom", "showLegend": True}
        if self.kind == "state-timeline":
            return {"legend": legend, "showValue": "auto", "mergeValues": True}
        return {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}


@dataclass(frozen=True, kw_only=True)
class Row:
    """A heading, and the panels below it, from left to right."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, kw_only=True)
class Dashboard:
    """A dashboard. `name` is its file and, after "tiered-", its fixed uid."""

    name: str
    title: str
    description: str
    rows: tuple[Row, ...]

    @property
    def panels(self) -> list[Panel]:
        return [panel for row in self.rows for panel in row.panels]

    def model(self) -> dict[str, Any]:
        return {
            "uid": f"tiered-{self.name}",
            "title": f"tiered / {self.title}",
            "description": self.description,
            "tags": ["tiered"],
            "schemaVersion": SCHEMA,
            "editable": False,
            "graphTooltip": 1,
            "refresh": "30s",
            "time": {"from": "now-1h", "to": "now"},
            "timezone": "browser",
            "annotations": {"list": []},
            "links": [
                {"type": "dashboards", "title": "tiered", "tags": ["tiered"], "asDropdown": False, "keepTime": True}
            ],
            "templating": {"list": _variables()},
            "panels": self._placed(),
        }

    def json(self) -> str:
        return json.dumps(self.model(), indent=2) + "\n"

    def _placed(self) -> list[dict[str, Any]]:
        placed: list[dict[str, Any]] = []
        y = 0
        for row in self.rows:
            at = {"h": 1, "w": WIDTH, "x": 0, "y": y}
            placed.append(
                {
                    "id": len(placed) + 1,
                    "type": "row",
                    "title": row.title,
                    "collapsed": False,
                    "gridPos": at,
                    "panels": [],
                }
            )
            y, x, height = y + 1, 0, 0
            for panel in row.panels:
                if x + panel.width > WIDTH:
                    x, y, height = 0, y + height, 0
                placed.append(panel.model(len(placed) + 1, x, y))
                x, height = x + panel.width, max(height, panel.height)
            y += height
        return placed


def _variables() -> list[dict[str, Any]]:
    source = {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
        "hide": 0,
        "refresh": 1,
    }
    return [
        source,
        _variable("job", "Job", "label_values(tiered_build_info, job)"),
        _variable("instance", "Instance", 'label_values(tiered_build_info{job=~"$job"}, instance)'),
        _variable("cache", "Cache", 'label_values(tiered_tier_info{job=~"$job", instance=~"$instance"}, cache)'),
    ]


def _variable(name: str, label: str, query: str) -> dict[str, Any]:
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": query, "refId": name},
        "definition": query,
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".+",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
    }


def _overrides() -> list[dict[str, Any]]:
    """Tiers first: a later override wins, and an error is red whose it may be."""
    colours = {**COLOURS, LIMIT: GREY, f"({ERRORS})": RED}
    coloured = [_override(what, "color", {"mode": "fixed", "fixedColor": colour}) for what, colour in colours.items()]
    dashed = [_override(f"({what})", "custom.lineStyle", {"fill": "dash", "dash": it}) for what, it in STYLES.items()]
    return coloured + dashed


def _override(what: str, setting: str, value: object) -> dict[str, Any]:
    matcher = {"id": "byRegexp", "options": f"/\\b{what}\\b/"}
    return {"matcher": matcher, "properties": [{"id": setting, "value": value}]}
