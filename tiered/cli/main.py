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
  tiered verify                                       compare every cache tier with the store of record
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code. Errors are one line on standard error."""
    args = _parser().parse_args(argv)
    args.json = getattr(args, "json", False)
    try:
        code = _run(args)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # `tiered ls | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except KeyboardInterrupt:
        return _fail("interrupted", 130)


def _run(args: argparse.Namespace) -> int:
    from tiered.errors import ConfigError, InvalidKey, InvalidValue, StoreError, TieredError

    try:
        if args.command == "chaos":
            from tiered.cli.chaos import chaos

            return chaos(args)
        return _demo(args) if args.command == "demo" else _store_command(args)
    except (ConfigError, InvalidKey, InvalidValue) as error:
        return _fail(error, USAGE)
    except StoreError as error:
        return _fail(error, UNREACHABLE)
    except TieredError as error:
        return _fail(error, PROBLEMS)


def _demo(args: argparse.Namespace) -> int:
    from tiered.cli.demo import demo

    return demo(args)


def _store_command(args: argparse.Namespace) -> int:
    from tiered.backend import TieredBackend

    options = {name: value for name in ("url", "namespace") if (value := getattr(args, name, None)) is not None}
    with TieredBackend.from_config(getattr(args, "config", None), **options) as store:
        code: int = args.run(store, args)
        return code


def _fail(error: object, code: int) -> int:
    print("tiered: " + " ".join(str(error).split()), file=sys.stderr)
    return code


def _get(store: Any, args: argparse.Namespace) -> int:
    found = store.lookup(args.key)
    if args.json:
        _print_json(found._asdict())
    elif found.found:
        print(found.value if isinstance(found.value, str) else repr(found.value))
    else:
        _fail(f"no such key: {args.key}", PROBLEMS)
    return OK if found.found else PROBLEMS


def _set(store: Any, args: argparse.Namespace) -> int:
    outcome = store.set(args.key, _converted(args.value, args.type), args.ttl)
    if args.json:
        _print_json({"version": outcome.version, "tiers": dict(outcome.tiers)})
    return OK


def _converted(text: str, kind: str) -> Any:
    from tiered.errors import InvalidValue

    convert: dict[str, Callable[[str], Any]] = {"str": str, "int": int, "float": float, "json": json.loads}
    try:
        return convert[kind](text)
    except ValueError:
        raise InvalidValue(f"VALUE is not {'valid JSON' if kind == 'json' else f'of type {kind}'}") from None


def _del(store: Any, args: argparse.Namespace) -> int:
    existed = store.delete_many(args.keys)
    if args.json:
        _print_json(existed)
    for key in [key for key, was_there in existed.items() if not was_there]:
        _fail(f"no such key: {key}", PROBLEMS)
    return OK if all(existed.values()) else PROBLEMS


def _ls(store: Any, args: argparse.Namespace) -> int:
    for number, key in enumerate(store.keys(args.prefix)):
        if number == args.limit:
            break
        print(json.dumps(key) if args.json else key)
    return OK


def _print_json(value: dict[str, Any]) -> None:
    try:
        text = json.dumps(value, default=repr, allow_nan=False)
    except (TypeError, ValueError):  # a stored value with keys or numbers that JSON does not have
        text = json.dumps({**value, "value": repr(value["value"])})
    print(text)


def _positive(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    def number(text: str) -> Any:
        value = kind(text)
        if not 0 < value < math.inf:
            raise argparse.ArgumentTypeError(f"{text} is not greater than zero")
        return value

    return number


def _parser() -> argparse.ArgumentParser:
    from tiered import __version__
    from tiered.cli.chaos import add_chaos
    from tiered.cli.verify import add_verification

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
    add_verification(commands, common, _positive)
    _add_demo(commands, common)
    add_chaos(commands, _positive)
    return parser


def _add_store_commands(commands: Any, common: argparse.ArgumentParser) -> None:
    get = commands.add_parser("get", parents=[common], help="print the value of a key")
    get.add_argument("key")
    get.set_defaults(run=_get)
    put = commands.add_parser("set", parents=[common], help="store a value")
    put.add_argument("key")
    put.add_argument("value")
    put.add_argument("--ttl", type=_positive(float), metavar="SECONDS")
    put.add_argument("--type", choices=("str", "int", "float", "json"), default="str")
    put.set_defaults(run=_set)
    delete = commands.add_parser("del", parents=[common], help="remove keys")
    delete.add_argument("keys", nargs="+", metavar="key")
    delete.set_defaults(run=_del)
    ls = commands.add_parser("ls", parents=[common], help="list keys")
    ls.add_argument("prefix", nargs="?", default="")
    ls.add_argument("--limit", type=_positive(int), default=math.inf, metavar="N", help="at most N keys")
    ls.set_defaults(run=_ls)


def _add_demo(commands: Any, common: argparse.ArgumentParser) -> None:
    demo = commands.add_parser(
        "demo",
        parents=[common],
        help="a bot with thousands of users on real parts",
        description="A bot on memory, Redis and File. A Redis of its own is killed in the middle; at the end every "
        "acknowledged write is read back. Exit code 1 if one is missing or the bot saw an error.",
        epilog="examples:\n  tiered demo --seconds 5\n  tiered demo --redis-url redis://localhost:6379/0 --json",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    demo.add_argument("--seconds", type=_positive(float), default=20.0, help="default: 20")
    demo.add_argument("--users", type=_positive(int), default=5000, help="default: 5000")
    demo.add_argument("--threads", type=_positive(int), default=4, help="default: 4; at most one per user")
    demo.add_argument("--directory", help="where the file tier lives (default: a temporary directory)")
    demo.add_argument("--redis-url", help="a Redis to use and never stop (default: REDIS_URL, else one of its own)")
    demo.add_argument("--seed", type=int, help="repeat the choices of an earlier run")
