"""`tiered get`: the value of a key, or with --explain where it is."""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
from base64 import b64encode
from typing import Any

from tiered.cli.command import add_command
from tiered.cli.ticks import live

OK, PROBLEMS = 0, 1

EXAMPLES = """examples:
  tiered get user:7
  tiered get user:7 --json         with its version and expiry; "form" says how "value" is written
  tiered get user:7 --explain      which tier answers, and what each has: version, time to live, size; not the value

A str is printed as it is, all else as Python writes it. In JSON the form is "json" (the value itself), "base64"
(bytes) or "python" (a str, as Python writes what JSON has not: a set, a tuple, a date, bytes in a list).

Exit code 0, 1 if the key is absent, 2 for wrong usage, 3 if the store cannot be reached."""


def add_get(commands: Any, common: argparse.ArgumentParser) -> None:
    """Register the command."""
    get = add_command(commands, "get", "print the value of a key; exit code 1 if it is absent", EXAMPLES, common)
    get.add_argument("key", metavar="KEY")
    get.add_argument("--explain", action="store_true", help="instead of the value, where it is")
    get.set_defaults(run=_get)


def _get(store: Any, args: argparse.Namespace) -> int:
    if args.explain:
        return _explain(store, args)
    found = store.lookup(args.key)
    if args.json:
        print_json({**found._asdict(), **written(found.value)})
    elif found.found:
        print(found.value if isinstance(found.value, str) else repr(found.value))
    else:
        print(f"tiered: no such key: {args.key}", file=sys.stderr)
    return OK if found.found else PROBLEMS


def _explain(store: Any, args: argparse.Namespace) -> int:
    from tiered.cli.explain import Explanation
    from tiered.cli.opening import hush

    hush()
    it = Explanation(store, args.key)
    if args.json:
        print(json.dumps(it.as_dict()))
    else:
        print("\n".join(it.lines(shutil.get_terminal_size().columns - 1 if live() else 100)))
    if it.error is not None:
        raise it.error
    return OK if it.found.found else PROBLEMS


def print_json(value: dict[str, Any]) -> None:
    print(json.dumps(value))


def written(value: Any) -> dict[str, Any]:
    """`value` for JSON, and in which form: as it is, bytes in base64, or else as Python writes it."""
    if type(value) is bytes:
        return {"value": b64encode(value).decode(), "form": "base64"}
    return {"value": value, "form": "json"} if _is_json(value) else {"value": repr(value), "form": "python"}


def _is_json(value: Any) -> bool:
    """Whether JSON has exactly this: no tuple, no bytes, no key but str, and no class of somebody's."""
    if type(value) is list:
        return all(map(_is_json, value))
    if type(value) is dict:
        return all(type(key) is str for key in value) and all(map(_is_json, value.values()))
    return value is None or type(value) in (str, int, bool) or (type(value) is float and math.isfinite(value))
