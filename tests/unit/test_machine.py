"""What a run says about the faults that it did not cause."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PYTEST = """
import os, sys
import pytest
import tests.machine

def refused(*command):
    raise RuntimeError("mount: permission denied")

os.geteuid = lambda: int(sys.argv[1])
tests.machine.run = refused
tests.machine.tool = lambda name: "/bin/true"
sys.exit(pytest.main(["-p", "no:cacheprovider", "tests/faults/test_network_faults.py", "-k", "black_hole"]))
"""


def outcome(user: int, faults: str = "") -> tuple[int, str]:
    """The exit code and the output of a run as `user`, on a machine that refuses."""
    env = {**os.environ, "TIERED_TEST_FAULTS": faults}
    done = subprocess.run([sys.executable, "-c", PYTEST, str(user)], cwd=ROOT, env=env, capture_output=True, text=True)
    return done.returncode, done.stdout


def test_a_user_is_told_what_needs_root() -> None:
    code, said = outcome(1000)
    assert code == 5  # pytest's "nothing was run"
    assert "NOT RUN: 8 tests need root" in said


def test_root_is_told_what_the_machine_refuses() -> None:
    code, said = outcome(0)
    assert code == 0 and "test_a_black_hole_costs_nothing_once_the_breaker_is_open: this machine cannot" in said
    assert "NOT RUN" in said and "permission denied" in said and "passed" not in said.splitlines()[-1]


def test_what_the_machine_refuses_fails_where_everything_is_asked_for() -> None:
    code, said = outcome(0, faults="all")
    assert code == 1 and "permission denied" in said
