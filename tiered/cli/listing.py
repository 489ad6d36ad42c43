"""`tiered ls` and `tiered namespaces`: what is in a store."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable
from typing import Any

from tiered.cli.command import add_command

OK = 0

LS = """examples:
  tiered ls
  tiered ls user: --limit 10           the keys that begin with user:
  tiered ls --namespace bot --json     each as a JSON string

Exit code 0, also if there is none; 2 for wrong usage, 3 if the store cannot be reached."""

NAMESPACES = """examples:
  tiered namespaces
  for name in $(tiered namespaces); do tiered ls --namespace "$name"; done

Those that were ever written to; some may be empty. Exit code 0, 2 if the store of record cannot list them
(Couchbase), 3 if it cannot be reached."""


def add_listing(commands: Any, common: argparse.ArgumentParser, positive: Callable[..., Any]) -> None:
    """Register the commands; `positive` makes an argument type for numbers above zero."""
    text = "list the keys of a namespace, one a line; unprintable ones as JSON"
    ls = add_command(commands, "ls", text, LS, common)
    ls.add_argument("prefix", nargs="?", default="", metavar="PREFIX", help="only keys that start with it")
    ls.add_argument("--limit", type=positive(int), default=math.inf, metavar="N", help="at most N keys")
    ls.set_defaults(run=_ls)
    namespaces = add_command(commands, "namespaces", "list the namespaces of a store, one a line", NAMESPACES, common)
    namespaces.set_defaults(run=_namespaces)


def _ls(store: Any, args: argparse.Namespace) -> int:
    from tiered.arguments import check_prefix

    number = 0
    for key in store.keys(check_prefix(args.prefix)):
        # A key may hold a newline or a terminal's control sequence: one line a key, and nothing is executed.
        print(json.dumps(key) if args.json or not key.isprintable() else key)
        number += 1
        if number == args.limit:
            break
    if not number and (hint := _hint(store, args.prefix)):
        print(f"tiered: {hint}", file=sys.stderr)
    return OK


def _namespaces(store: Any, args: argparse.Namespace) -> int:
    for name in store.namespaces():
        print(json.dumps(name) if args.json else name)
    return OK


def _hint(store: Any, prefix: str) -> str:
    """Why nothing was found, if it looks like a slip."""
    own = store.stats()["namespace"]["name"]
    if not prefix or next(store.keys(), None) is None:
        others = [name for name in _known(store) if name != own]
        return f"namespace {own} has no key; others that this store knows: {', '.join(others)}" if others else ""
    if any(sign in prefix for sign in "*?"):
        return f"no key begins with {prefix!r}; PREFIX is no pattern: * and ? stand for themselves"
    return ""


def _known(store: Any) -> list[str]:
    from tiered.errors import ConfigError

    try:
        names: list[str] = store.namespaces()
    except ConfigError:  # such a store of record cannot list them
        return []
    return names
