"""A typed program of a user: mypy --strict passes it, with every public name, and it does what it was promised."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from inspect import signature
from pathlib import Path
from typing import get_type_hints

import tiered
from tiered.options import Options

ROOT = Path(__file__).parents[2]
PROGRAM = Path(__file__).parent / "programs" / "typed.py"


def test_mypy_passes_a_users_program(tmp_path: Path) -> None:
    """As for an installed package, whose own errors nobody is shown; the program is outside, or it would be one of ours."""
    (tmp_path / "program.py").write_text(PROGRAM.read_text())
    options = ["--strict", "--follow-imports=silent", "--config-file=", f"--cache-dir={tmp_path / 'cache'}"]
    command = [sys.executable, "-m", "mypy", *options, "program.py"]
    environment = {**os.environ, "MYPYPATH": str(ROOT)}
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    assert (ROOT / "tiered" / "py.typed").exists()


def test_the_program_uses_every_public_name() -> None:
    tree = ast.parse(PROGRAM.read_text())
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert {*tiered.__all__, "CouchbaseTier"} <= used


def test_the_program_runs(tmp_path: Path) -> None:
    result = subprocess.run([sys.executable, "-W", "error", PROGRAM], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_the_options_that_a_type_checker_knows_are_the_constructors() -> None:
    types = get_type_hints(tiered.TieredBackend.__init__)
    options = [it.name for it in signature(tiered.TieredBackend).parameters.values() if it.kind is it.KEYWORD_ONLY]
    assert {name: types[name] for name in options} == get_type_hints(Options)
