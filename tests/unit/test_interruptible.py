"""What a signal handler may raise in must not keep a lock: Python 3.12 and 3.13 have a place where it would.

They compile a comprehension into the function around it, and leave the jump of its `if` out of the table that says where
`with` and `finally` begin: what is raised there passes them by (seen on 3.12.1 and 3.13.0). A generator is a function of its own.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import tiered

ROOT = Path(tiered.__file__).parent
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)
LOCKS = ("lock", "mutex", "_waits", "_changing", "_places", "_gate")


def holds(node: ast.AST) -> bool:
    """Whether what is in `node` runs with something that is released at its end."""
    if isinstance(node, ast.With):
        return any(ast.unparse(item.context_expr).endswith(LOCKS) for item in node.items)
    return isinstance(node, ast.Try) and any(".release(" in ast.unparse(it) for it in node.finalbody)


def unsafe(node: ast.AST, held: bool = False) -> Iterator[int]:
    """The lines of comprehensions with an `if`, in a function that holds something there."""
    for child in ast.iter_child_nodes(node):
        inside = not isinstance(child, FUNCTIONS) and (held or holds(child))
        if inside and isinstance(child, COMPREHENSIONS) and any(it.ifs for it in child.generators):
            yield child.lineno
        yield from unsafe(child, inside)


def test_no_lock_is_held_over_a_comprehension_with_a_condition() -> None:
    found = {str(path.relative_to(ROOT)): [*unsafe(ast.parse(path.read_text()))] for path in ROOT.rglob("*.py")}
    assert {path: lines for path, lines in found.items() if lines} == {}, "use list(… for … if …)"


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("def f():\n with self.lock:\n  return [x for x in y if x]", [3]),
        ("def f():\n try:\n  a = {x: 1 for x in y if x}\n finally:\n  places.release()", [3]),
        ("def f():\n with self.lock:\n  return list(x for x in y if x)", []),
        ("def f():\n with self.lock:\n  return [x for x in y]", []),
        ("def f():\n with open(p):\n  return [x for x in y if x]", []),
        ("with a.lock:\n def f():\n  return [x for x in y if x]", []),
    ],
)
def test_it_is_found(text: str, lines: list[int]) -> None:
    assert [*unsafe(ast.parse(text))] == lines
