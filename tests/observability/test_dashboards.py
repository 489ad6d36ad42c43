"""The dashboards: what is committed is what the code makes, by the rules of Grafana's dashboard-linter."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from grafana.source import DASHBOARDS
from grafana.source.dashboard import COLOURS, GREY, RED, Dashboard
from tests.prometheus import GRAFANA
from tiered.observability.catalog import CATALOG

COUNTERS = {it.name for it in CATALOG if it.kind == "counter"}
NAMES = {it.name for it in CATALOG} | {
    f"{it.name}_{part}" for it in CATALOG if it.kind == "histogram" for part in ("bucket", "sum", "count")
}
each = pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda it: it.name)


def model_of(dashboard: Dashboard) -> dict[str, Any]:
    model: dict[str, Any] = json.loads((GRAFANA / "dashboards" / f"{dashboard.name}.json").read_text())
    return model


def expressions(dashboard: Dashboard) -> list[str]:
    return [target["expr"] for panel in model_of(dashboard)["panels"] for target in panel.get("targets", ())]


def test_the_committed_files_are_those_that_the_code_makes() -> None:
    """`make dashboards` writes them."""
    made = {f"{it.name}.json": it.json() for it in DASHBOARDS}
    assert {path.name: path.read_text() for path in (GRAFANA / "dashboards").glob("*.json")} == made


@each
def test_it_can_be_provisioned(dashboard: Dashboard) -> None:
    model = model_of(dashboard)
    assert model["uid"] == f"tiered-{dashboard.name}" and 39 <= model["schemaVersion"] <= 41
    assert model["editable"] is False and "__inputs" not in model and "id" not in model


@each
def test_it_has_the_variables(dashboard: Dashboard) -> None:
    source, *others = model_of(dashboard)["templating"]["list"]
    assert (source["name"], source["type"], source["query"]) == ("datasource", "datasource", "prometheus")
    assert source["label"] == "Data source"
    assert [it["name"] for it in others] == ["job", "instance", "cache"]
    for it in others:
        assert it["datasource"]["uid"] == "${datasource}" and it["refresh"] == 2
        assert it["multi"] and it["includeAll"] and it["allValue"] == ".+" and it["label"] == it["name"].capitalize()


@each
def test_every_panel_says_what_it_shows(dashboard: Dashboard) -> None:
    panels = [it for it in model_of(dashboard)["panels"] if it["type"] != "row"]
    assert len({it["title"] for it in panels}) == len(panels)
    for panel in panels:
        assert panel["title"] and len(panel["description"]) > 20 and panel["fieldConfig"]["defaults"]["unit"]
        assert panel["datasource"]["uid"] == "${datasource}" and panel["targets"]
        for target in panel["targets"]:
            assert target["datasource"]["uid"] == "${datasource}" and target["legendFormat"]


@each
def test_panels_do_not_overlap(dashboard: Dashboard) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in model_of(dashboard)["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken and max(x for x, _ in cells) < 24
        taken |= cells


@each
def test_every_query_is_about_what_was_chosen(dashboard: Dashboard) -> None:
    for expression in expressions(dashboard):
        for metric, matchers in re.findall(r"(tiered_\w+)(\{[^}]*\})?", expression):
            assert metric in NAMES, expression
            assert 'job=~"$job"' in matchers and 'instance=~"$instance"' in matchers, expression
            assert 'cache=~"$cache"' in matchers, expression


@each
def test_counters_are_only_looked_at_as_rates(dashboard: Dashboard) -> None:
    for expression in expressions(dashboard):
        for found in re.finditer(r"(tiered_\w+)\{[^}]*\}(\[\$__rate_interval\])?", expression):
            name = found[1]
            grows = name in COUNTERS or name.endswith(("_bucket", "_sum", "_count"))
            assert bool(found[2]) is grows, expression
            assert not grows or expression[: found.start()].endswith(("rate(", "increase(")), expression


@each
def test_a_tier_has_one_colour_everywhere_and_red_is_for_errors(dashboard: Dashboard) -> None:
    assert RED not in COLOURS.values()
    for panel in model_of(dashboard)["panels"]:
        for step in panel.get("fieldConfig", {}).get("defaults", {}).get("thresholds", {}).get("steps", ()):
            assert step["color"] != RED or re.search("error|fail|could not", panel["title"].lower())
        for override in panel.get("fieldConfig", {}).get("overrides", ()):
            pattern, (setting,) = override["matcher"]["options"], override["properties"]
            if setting["id"] == "color" and setting["value"]["fixedColor"] == RED:
                assert "error" in pattern
            elif setting["id"] == "color":
                colours = {**COLOURS, "limit": GREY}
                assert colours[pattern.strip("/").replace(r"\b", "")] == setting["value"]["fixedColor"]


def test_every_metric_that_tells_of_trouble_is_on_a_dashboard() -> None:
    shown = " ".join(expression for dashboard in DASHBOARDS for expression in expressions(dashboard))
    assert {it.name for it in CATALOG if it.name not in shown} == {"tiered_build_info"}
