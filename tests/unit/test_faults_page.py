"""docs/faults.md and the promises of the README: every fault has its row, and every test that they name exists."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "faults.md"
README = (TESTS.parent / "README.md").read_text()
ROWS = dict(re.findall(r"^\| (\d+) \|(.*)\|$", PAGE.read_text(), re.MULTILINE))
NAMED = re.compile(r"`(\w+/\w+\.py)::(\w+)`")


@cache
def defined(path: str) -> set[str]:
    """The functions of a file, those of its classes included."""
    return {node.name for node in ast.walk(ast.parse((TESTS / path).read_text())) if isinstance(node, ast.FunctionDef)}


def test_every_fault_has_a_row() -> None:
    assert [int(number) for number in ROWS] == list(range(1, 36))


def test_every_row_names_a_test_or_who_writes_it() -> None:
    for number, row in ROWS.items():
        assert NAMED.search(row) or "written with the part itself" in row, number


def test_every_test_that_is_named_exists() -> None:
    rows = [*ROWS.values(), README]
    assert [name for row in rows for path, name in NAMED.findall(row) if name not in defined(path)] == []


def test_every_promise_of_the_readme_names_its_test() -> None:
    promises = re.findall(r"^\| \*\*([\w ]+)\.\*\*.*\| (.*) \|$", README, re.MULTILINE)
    assert len(promises) == 9 and all(NAMED.fullmatch(test) for _, test in promises)
