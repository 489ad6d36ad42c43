"""`tiered`: look into a store and change it, from a shell. Exit codes: 0 ok, 1 problems, 2 usage, 3 unreachable."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

OK, PROBLEMS, USAGE, UNREACHABLE = range(4)

EXAMPLES = """examples:
  tiered demo                                         a bot on real parts; Redis is killed in the middle
  export TIERED_URL=memory://,redis://localhost:6379/0,file:./data
  tiered set user:7 '{"name": "Ada"}' --type json --ttl 3600
  tiered get user:7
  tiered ls user: --json
  tiered del user:7
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    args = _parser().parse_args(argv)
    args.json = getattr(args, "json", False)
    if args.command == "demo":
        from tiered.cli.demo import demo

        return demo(args)
    try:
        return _store_command(args)
    except BrokenPipeError:  # `tiered ls | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK


def _store_command(args: argparse.Namespace) -> int:
    from tiered.backend import TieredBackend
    from tiered.errors import ConfigError, InvalidKey, InvalidValue, StoreError, TieredError

    options = {name: value for name in ("url", "namespace") if (value := getattr(args, name, None)) is not None}
    try:
        with TieredBackend.from_config(getattr(args, "config", None), **options) as store:
            code: int = args.run(store, args)
            sys.stdout.flush()
            return code
    except (ConfigError, InvalidKey, InvalidValue, ValueError) as error:
        return _fail(error, USAGE)
    except StoreError as error:
        return _fail(error, UNREACHABLE)
    except TieredError as error:
        return _fail(error, PROBLEMS)


def _fail(error: Exception, code: int) -> int:
    print(f"tiered: {error}", file=sys.stderr)
    return code


def _get(store: Any, args: argparse.Namespace) -> int:
    found = store.lookup(args.key)
    if args.json:
        _print_json(found._asdict())
    elif found.found:
        print(found.value if isinstance(found.value, str) else repr(found.value))
    else:
        print(f"tiered: no such key: {args.key}", file=sys.stderr)
    return OK if found.found else PROBLEMS


def _set(store: Any, args: argparse.Namespace) -> int:
    convert: dict[str, Callable[[str], Any]] = {"str": str, "int": int, "float": float, "json": json.loads}
    outcome = store.set(args.key, convert[args.type](args.value), args.ttl)
    if args.json:
        _print_json({"version": outcome.version, "tiers": outcome.tiers})
    return OK


def _del(store: Any, args: argparse.Namespace) -> int:
    existed = store.delete_many(args.keys)
    if args.json:
        _print_json(existed)
    for key in [key for key, was_there in existed.items() if not was_there]:
        print(f"tiered: no such key: {key}", file=sys.stderr)
    return OK if all(existed.values()) else PROBLEMS


def _ls(store: Any, args: argparse.Namespace) -> int:
    for number, key in enumerate(store.keys(args.prefix)):
        if number == args.limit:
            break
        print(json.dumps(key) if args.json else key)
    return OK


def _print_json(value: object) -> None:
    print(json.dumps(value, default=repr, allow_nan=False))


def _parser() -> argparse.ArgumentParser:
    from tiered import __version__

    common = argparse.ArgumentParser(add_help=False)
    for option, text in (
        ("--url", "the chain, e.g. memory://,file:./data (default: TIERED_URL)"),
        ("--config", "a TOML file"),
        ("--namespace", "default: default"),
    ):
        common.add_argument(option, help=text, default=argparse.SUPPRESS)
    common.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="JSON on standard output")
    parser = argparse.ArgumentParser(
        "tiered",
        description="A tiered key-value store: memory, Redis, File.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[common],
    )
    parser.add_argument("--version", action="version", version=f"tiered {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_store_commands(commands, common)
    _add_demo(commands, common)
    return parser


def _add_store_commands(commands: Any, common: argparse.ArgumentParser) -> None:
    get = commands.add_parser("get", parents=[common], help="print the value of a key")
    get.add_argument("key")
    get.set_defaults(run=_get)
    put = commands.add_parser("set", parents=[common], help="store a value")
    put.add_argument("key")
    put.add_argument("value")
    put.add_argument("--ttl", type=float, metavar="SECONDS")
    put.add_argument("--type", choices=("str", "int", "float", "json"), default="str")
    put.set_defaults(run=_set)
    delete = commands.add_parser("del", parents=[common], help="remove keys")
    delete.add_argument("keys", nargs="+", metavar="key")
    delete.set_defaults(run=_del)
    ls = commands.add_parser("ls", parents=[common], help="list keys")
    ls.add_argument("prefix", nargs="?", default="")
    ls.add_argument("--limit", type=int, default=math.inf)
    ls.set_defaults(run=_ls)


def _add_demo(commands: Any, common: argparse.ArgumentParser) -> None:
    demo = commands.add_parser("demo", parents=[common], help="a bot with thousands of users on real parts")
    demo.add_argument("--seconds", type=float, default=20.0)
    demo.add_argument("--users", type=int, default=5000)
    demo.add_argument("--threads", type=int, default=4)
    demo.add_argument("--seed", type=int, default=None)
