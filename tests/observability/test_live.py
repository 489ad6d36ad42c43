"""A real bot through a real Redis outage, seen by a real Prometheus through the shipped dashboards and rules."""

from __future__ import annotations

import math
import urllib.request
from collections.abc import Iterator

import pytest

from grafana.source import DASHBOARDS
from grafana.source.dashboard import Panel
from tests.observability.outage import EXPECTED, Outage, filled_in
from tests.prometheus import promtool
from tests.waiting import eventually

pytestmark = pytest.mark.slow

PANELS = [pytest.param(panel, id=f"{it.name}: {panel.title}") for it in DASHBOARDS for panel in it.panels]


@pytest.fixture(scope="module")
def outage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outage]:
    it = Outage(tmp_path_factory.mktemp("outage") / "run", seconds=(7, 8, 3))
    try:
        it.run()
        yield it
    finally:
        it.close()


def test_no_caller_noticed_the_outage(outage: Outage) -> None:
    assert outage.bot.errors == []


@pytest.mark.parametrize("panel", PANELS)
def test_every_query_of_a_panel_returns_data(outage: Outage, panel: Panel) -> None:
    for expression, _ in panel.queries:
        found = outage.prometheus.query(filled_in(expression), outage.killed)
        assert found, expression
        assert not any(math.isnan(float(it["value"][1])) for it in found), expression


def test_the_outage_is_to_be_seen(outage: Outage) -> None:
    """In the middle of it, on the panels for it; and not before."""
    for title, before, meanwhile in (
        ("Cache tiers", 1, 0),
        ("In service", 1, 0),
        ("Subscription", 1, 0),
    ):
        panel = next(it for dashboard in DASHBOARDS for it in dashboard.panels if it.title == title)
        query = filled_in(panel.queries[0][0])
        assert {float(it["value"][1]) for it in outage.prometheus.query(query, outage.killed)} == {before}, title
        assert {float(it["value"][1]) for it in outage.prometheus.query(query, outage.restarted)} == {meanwhile}, title
    owed = outage.prometheus.query("sum (tiered_replay_pending)", outage.restarted)
    degraded = outage.prometheus.query('sum (tiered_operations_total{result="degraded"})', outage.restarted)
    unanswered = outage.prometheus.query('sum (tiered_reads_total{result="error"})', outage.restarted)
    assert float(owed[0]["value"][1]) > 100 and float(degraded[0]["value"][1]) > 100
    assert float(unanswered[0]["value"][1]) == 0


def test_alerts_are_silent_before_fire_during_and_are_silent_after_the_outage(outage: Outage) -> None:
    assert outage.seen["healthy"] == set()
    assert outage.seen["away"] >= EXPECTED
    assert not {it for it in outage.seen["away"] | outage.seen["back"] if it.startswith("TieredReadErrors")}
    eventually(lambda: not outage.prometheus.firing(), "silence after the outage")


def test_what_was_scraped_is_clean(outage: Outage) -> None:
    with urllib.request.urlopen(outage.metrics.url, timeout=30) as answer:
        checked = promtool("check", "metrics", text=answer.read().decode())
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
