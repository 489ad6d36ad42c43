"""The outage benchmark finds what a timer-based breaker leaves behind, and finds nothing of the kind in tiered."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "benchmarks.outage", "--quick", "--faults", "hang"]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The JSON of one quick run, and what it printed."""
    file = tmp_path_factory.mktemp("outage") / "result.json"
    command = [*COMMAND, "--systems", "tiered,hand-rolled+breaker", "--json", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return {**json.loads(file.read_text()), "printed": done.stdout}


def outcome(measured: dict[str, Any], system: str) -> dict[str, Any]:
    found: dict[str, Any] = next(it for it in measured["outcomes"] if it["system"] == system)
    return found


def test_the_checker_finds_old_values_behind_a_breaker_that_closes_on_a_timer(measured: dict[str, Any]) -> None:
    peer = outcome(measured, "hand-rolled+breaker")
    assert peer["old"] > 0 and peer["stale_reads"] > 0
    assert not peer["errors"] and peer["lost"] == 0  # fast, and wrong without a word
    assert any(it["asked"].startswith("none read back old") and not it["met"] for it in verdicts(measured, peer))


def test_no_stale_return_and_nothing_lost_in_tiered(measured: dict[str, Any]) -> None:
    ours = outcome(measured, "tiered")
    assert ours["written_keys"] > 0
    counted = {name: ours[name] for name in ("errors", "false_misses", "stale_reads", "lost", "old")}
    assert counted == {"errors": {}, "false_misses": 0, "stale_reads": 0, "lost": 0, "old": 0}


def test_convergence_after_missed_writes(measured: dict[str, Any]) -> None:
    (recovery,) = measured["recoveries"]
    assert recovery["writes"] == measured["plan"]["missed_writes"]
    assert recovery["equal"] and recovery["verified"]
    assert outcome(measured, "tiered")["converged"]


def test_the_table_fits_a_hundred_columns(measured: dict[str, Any]) -> None:
    lines = measured["printed"].splitlines()
    assert max(map(len, lines)) <= 100
    assert sum(line.split()[:1] == ["tiered"] for line in lines) == 1


def test_an_unknown_fault_is_refused_with_the_known_ones() -> None:
    done = subprocess.run([*COMMAND, "--faults", "fire"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "unknown: fire; known: hang, empty, snapshot, flap" in done.stderr


def verdicts(measured: dict[str, Any], it: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = measured["verdicts"][it["system"]]
    return found
