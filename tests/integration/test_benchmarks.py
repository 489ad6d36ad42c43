"""`make bench` works: every part of it, with its peers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_part_measures(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    command = [sys.executable, "-m", "benchmarks", "--quick", "--json", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    measured = json.loads(file.read_text())
    assert all(it["median"] > 0 for it in measured["figures"]) and len(measured["figures"]) > 30
    assert all(each["rate"] > 0 for turns in measured["mixed"]["rounds"].values() for each in turns)
    assert {"tiered", "tiered-asyncio", "dogpile", "cashews", "py-key-value"} <= set(measured["mixed"]["rounds"])
    for part in ("ratios", "tasks", "one_key", "couchbase", "metrics", "memory", "million"):
        assert f"\n{part}\n" in done.stdout
