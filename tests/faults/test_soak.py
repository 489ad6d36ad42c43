"""A minute of every fault in random order, on real parts: the ten-minute one is `make soak`."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys

import pytest


@pytest.mark.slow
@pytest.mark.faults
def test_convergence_every_promise_holds_and_verify_agrees_after_a_soak() -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    command = [sys.executable, "-m", "tiered.cli", "chaos", "--seconds", "60", "--seed", str(seed), "--json"]
    command += ["--longest", "30"]  # a shared machine; the outage benchmark measures this
    env = {name: value for name, value in os.environ.items() if name not in ("TIERED_URL", "REDIS_URL")}
    result = subprocess.run(command, capture_output=True, text=True, timeout=400, env=env)
    told = json.loads(result.stdout)
    assert result.returncode == 0 and told["ok"], (told, result.stderr)
    assert told["disagreeing"] == 0 and told["acknowledged"] > 1000
