"""python -m tests.mutants [part of a name …]: apply each mutant to a copy of the tree; its tests must fail."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.mutants.mutants import MUTANTS, Mutant

ROOT = Path(__file__).parents[2]
PATIENCE = 300


def main(words: list[str]) -> int:
    chosen = [
        it for it in MUTANTS if not words or any(word.lower() in f"{it.rule} {it.name}".lower() for word in words)
    ]
    survived, started = 0, time.monotonic()
    with tempfile.TemporaryDirectory(prefix="tiered-mutants-") as name:
        tree = Path(name)
        for part in ("tiered", "tests", "docs", "README.md", "pyproject.toml"):
            (shutil.copytree if (ROOT / part).is_dir() else shutil.copy)(ROOT / part, tree / part)
        for number, mutant in enumerate(chosen, 1):
            caught = _caught(tree, mutant)
            survived += not caught
            verdict = f"caught by {caught}" if caught else "SURVIVED"
            print(f"{number:>3}/{len(chosen)}  {mutant.rule:<6}{mutant.name:<62}{verdict}", flush=True)
    print(f"{len(chosen) - survived} of {len(chosen)} mutants caught in {time.monotonic() - started:.0f} s")
    return 1 if survived else 0


def _caught(tree: Path, mutant: Mutant) -> str:
    """The first test that fails with `mutant` in the tree; empty if none does."""
    file = tree / mutant.file
    right = file.read_text()
    if right.count(mutant.old) != 1:
        raise SystemExit(
            f"{mutant.name}: its text is {right.count(mutant.old)} times in {mutant.file}; bring it up to date"
        )
    file.write_text(right.replace(mutant.old, mutant.new))
    try:
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *mutant.tests]
        environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
        environment["TIERED_TEST_COUCHBASE_MOCK"] = str(ROOT / ".couchbase" / "CouchbaseMock.jar")
        result = subprocess.run(command, cwd=tree, capture_output=True, text=True, timeout=PATIENCE, env=environment)
    except subprocess.TimeoutExpired:
        raise SystemExit(f"{mutant.name}: its tests did not end in {PATIENCE} s, which may be the machine") from None
    finally:
        file.write_text(right)
    if result.returncode == 0:
        return ""
    failed = re.search(r"^(?:FAILED|ERROR) \S*?(\w+\.py(?:::\w+)?)", result.stdout, re.MULTILINE)
    if failed is None:
        raise SystemExit(f"{mutant.name}: its tests did not run:\n{result.stdout[-2000:]}{result.stderr[-2000:]}")
    return failed[1]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
