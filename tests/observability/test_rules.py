"""The rules: clean, tested by promtool, and each alert with its runbook."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.prometheus import GRAFANA, ROOT, promtool
from tiered.observability.operation import WRITE_OPS

RULES = GRAFANA / "prometheus/rules"
TESTS = GRAFANA / "prometheus/tests"
TEXT = (RULES / "alerts.yml").read_text()
HEAD, *ALERTS = re.split(r"(?m)^(?=      - alert: )", TEXT)
NAMES = [re.findall(r"alert: (\w+)", it)[0] for it in ALERTS]


def outcome(directory: Path, alerts: str, *suites: str) -> int:
    """What promtool returns for these tests, with `alerts` instead of the shipped ones."""
    (directory / "rules").mkdir()
    (directory / "tests").mkdir()
    (directory / "rules/alerts.yml").write_text(alerts)
    (directory / "rules/recording.yml").write_text((RULES / "recording.yml").read_text())
    for suite in suites:
        (directory / "tests" / suite).write_text((TESTS / suite).read_text())
    return promtool("test", "rules", *(str(directory / "tests" / suite) for suite in suites)).returncode


def suite_of(name: str) -> str:
    """The tests in which this alert fires."""
    (found,) = (
        it.name for it in TESTS.glob("*.yml") if re.search(rf'alertname="{name}"[,}}].*value: 1', it.read_text())
    )
    return found


@pytest.mark.parametrize("path", sorted(RULES.glob("*.yml")), ids=lambda path: path.name)
def test_rules_are_clean(path: Path) -> None:
    checked = promtool("check", "rules", "--lint=all", "--lint-fatal", str(path))
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("path", sorted(TESTS.glob("*.yml")), ids=lambda path: path.name)
def test_rules_pass_their_tests(path: Path) -> None:
    checked = promtool("test", "rules", str(path))
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_configuration_is_valid(tmp_path: Path) -> None:
    checked = promtool("check", "config", str(GRAFANA / "prometheus/prometheus.yml"))
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("name", NAMES)
def test_the_tests_notice_an_alert_that_never_fires(name: str, tmp_path: Path) -> None:
    without = HEAD + "".join(it for it, its in zip(ALERTS, NAMES, strict=True) if its != name)
    assert outcome(tmp_path, without, suite_of(name)) != 0


@pytest.mark.parametrize("name", NAMES)
def test_the_tests_notice_an_alert_that_fires_in_a_healthy_hour(name: str, tmp_path: Path) -> None:
    noisy = f"      - alert: {name}\n        expr: vector(1)\n"
    assert outcome(tmp_path, HEAD + noisy, "healthy.yml") != 0


@pytest.mark.parametrize(("name", "alert"), list(zip(NAMES, ALERTS, strict=True)), ids=NAMES)
def test_each_alert_has_a_runbook_that_says_what_to_do(name: str, alert: str) -> None:
    assert f"runbook_url: docs/runbooks.md#{name.lower()}\n" in alert
    assert re.search(r"severity: (page|ticket)\b", alert)
    (section,) = re.findall(rf"(?ms)^## {name}\n(.*?)(?=^## |\Z)", (ROOT / "docs/runbooks.md").read_text())
    for part in ("**Means.**", "**Check", "do"):
        assert part.lower() in section.lower()


def test_no_runbook_is_for_an_alert_that_is_gone() -> None:
    assert re.findall(r"(?m)^## (\w+)$", (ROOT / "docs/runbooks.md").read_text()) == NAMES


def test_the_burn_rates_are_those_of_the_objective() -> None:
    """99.9 %: 14.4 × over 1 h and 5 m, 6 × over 6 h and 30 m, for reads also 1 × over 3 d and 6 h."""
    for what, slow in ("read", [("3d", ""), ("6h", "")]), ("write", []):
        found = re.findall(rf"tiered_{what}_errors:ratio_rate(\w+) > (?:([\d.]+) \* )?0\.001", TEXT)
        assert found == [("1h", "14.4"), ("5m", "14.4"), ("6h", "6"), ("30m", "6"), *slow]


def test_the_writes_of_the_rules_are_all_that_there_are() -> None:
    """One that is missing in them fails unseen."""
    ops = re.findall(r'op=~"([^"]*)"', (RULES / "recording.yml").read_text())
    assert set(ops) == {"|".join(WRITE_OPS)}
