"""The list of mutants does not rot: each still applies, its tests are there, and every rule has one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutants.mutants import MUTANTS, Mutant

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda it: it.name)
def test_a_mutant_applies(mutant: Mutant) -> None:
    assert (ROOT / mutant.file).read_text().count(mutant.old) == 1 and mutant.new != mutant.old
    for test in mutant.tests:
        file, _, function = test.partition("::")
        assert (ROOT / file).exists() and (not function or f"def {function}(" in (ROOT / file).read_text())


def test_every_rule_has_a_mutant() -> None:
    assert {it.rule for it in MUTANTS} >= {f"R{number}" for number in range(1, 18)}
