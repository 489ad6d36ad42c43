"""Where in a value the part lies that a codec refuses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

_MAX_KEY = 40
_SPEAKING = (str, bytes, int, bool, type(None))


def refusal(value: Any, room: int, reason: Callable[[Any, int], str | None]) -> str:
    """The path to the innermost part of `value` that has a `reason(part, room)`, and that reason.

    `room` is the number of levels that the value may have. The path has keys and indices, never a value.
    """
    path = "value"
    why = reason(value, room)
    found = True
    while found and room > 0:
        found = False
        room -= 1
        for where, part in _parts(value, path):
            inner = reason(part, room)
            if inner is not None:
                path, value, why, found = where, part, inner, True
                break
    return f"{_shortened(path)} {why or 'was changed while it was encoded'}"


def _parts(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    kind = type(value)
    if path.startswith(("key of ", "element of ")):
        path = f"({path})"
    if kind is dict:
        for key, item in list(value.items()):
            yield f"key of {path}", key
            yield f"{path}[{_shown(key)}]", item
    elif kind is list or kind is tuple:
        for index, item in enumerate(value):
            yield f"{path}[{index}]", item
    elif kind is set or kind is frozenset:
        for item in list(value):
            yield f"element of {path}", item


def _shown(key: Any) -> str:
    if type(key) not in _SPEAKING:
        return type(key).__name__
    if type(key) is int and key.bit_length() > 64:
        return "int"  # Python refuses to print very long ones
    text = repr(key[:_MAX_KEY] if isinstance(key, (str, bytes)) else key)[: _MAX_KEY + 2]
    return f"{text}…" if isinstance(key, (str, bytes)) and len(key) > _MAX_KEY else text


def _shortened(path: str) -> str:
    return path if len(path) <= 200 else f"{path[:99]}…{path[-100:]}"
