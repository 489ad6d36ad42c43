"""What a signal handler may raise in must not keep a lock: Python 3.12 and 3.13 have a place where it would.

They leave the jump out of an `if` that ends the body of a loop out of the table that says where `with` and `finally` begin: what is
raised there passes them by (seen on 3.12.1 and 3.13.0). So it is in a comprehension, which they compile into the function
around it. A generator is a function of its own, and so is one that is called.
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


def ends_with_if(node: ast.AST) -> bool:
    if isinstance(node, COMPREHENSIONS):
        return any(it.ifs for it in node.generators)
    return isinstance(node, ast.For | ast.While) and may_be_skipped(node.body[-1])


def may_be_skipped(last: ast.stmt) -> bool:
    """Whether a loop goes on past this statement by the jump in question."""
    if not isinstance(last, ast.If) or isinstance(last.body[-1], ast.Raise | ast.Return | ast.Break | ast.Continue):
        return False
    return not last.orelse or any(may_be_skipped(it) for it in last.orelse[-1:])


def unsafe(node: ast.AST, held: bool = False) -> Iterator[int]:
    """The lines of loops and comprehensions that end with an `if`, in a function that holds something there."""
    for child in ast.iter_child_nodes(node):
        inside = not isinstance(child, FUNCTIONS) and (held or holds(child))
        if inside and ends_with_if(child):
            yield child.lineno
        yield from unsafe(child, inside)


def test_no_lock_is_held_over_a_loop_that_ends_with_a_condition() -> None:
    found = {str(path.relative_to(ROOT)): [*unsafe(ast.parse(path.read_text()))] for path in ROOT.rglob("*.py")}
    assert {path: lines for path, lines in found.items() if lines} == {}, "use list(… for … if …), or call it"


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("def f():\n with self.lock:\n  return [x for x in y if x]", [3]),
        ("def f():\n try:\n  a = {x: 1 for x in y if x}\n finally:\n  places.release()", [3]),
        ("def f():\n with self.lock:\n  return list(x for x in y if x)", []),
        ("def f():\n with self.lock:\n  return [x for x in y]", []),
        ("def f():\n with self.lock:\n  for x in y:\n   if x:\n    z()", [3]),
        ("def f():\n with self.lock:\n  for x in y:\n   if x:\n    z()\n   w()", []),
        ("def f():\n with self.lock:\n  while x:\n   if y:\n    z()", [3]),
        ("def f():\n with open(p):\n  return [x for x in y if x]", []),
        ("with a.lock:\n def f():\n  return [x for x in y if x]", []),
    ],
)
def test_it_is_found(text: str, lines: list[int]) -> None:
    assert [*unsafe(ast.parse(text))] == lines
