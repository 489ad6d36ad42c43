"""`tiered`: look into a store and change it, from a shell. Exit codes: 0 ok, 1 problems, 2 usage, 3 unreachable."""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from tiered.cli.command import add_command
from tiered.cli.get import add_get, print_json
from tiered.cli.opening import open_store

OK, PROBLEMS, USAGE, UNREACHABLE = range(4)

EXAMPLES = """examples:
  tiered demo                                     a bot on real parts; Redis is killed in the middle
  export TIERED_URL=memory://,redis://localhost:6379/0,file:./data
  tiered set user:7 '{"name": "Ada"}' --type json --ttl 1h
  tiered get user:7
  tiered get user:7 --explain                     which tier answers, and what each has
  tiered ls user: --json
  tiered del user:7

  tiered doctor                                   is everything as it should be? what to do if not
  tiered top http://127.0.0.1:9464/metrics        what a running bot does, live; stat: a line a second
  tiered verify                                   compare every cache tier with the store of record
  tiered backup /backups/bot.sqlite3              a copy, while the bot runs; restore: back to it
  tiered bench                                    how fast this chain is, tier by tier
  tiered completion bash                          for TAB

`tiered COMMAND --help` has more examples. Colours: not with NO_COLOR set, nor where the output is no terminal.
exit codes: 0 done, 1 no such key or another problem, 2 wrong usage,
            3 the store, a tier or an endpoint cannot be reached
"""
SET = """examples:
  tiered set greeting hello
  tiered set user:7 '{"name": "Ada"}' --type json --ttl 1h
  tiered set limit -- -1                             a VALUE that begins with a dash

Where there is no store yet, it makes one. Exit code 0, 2 for wrong usage, 3 if the store cannot be reached."""
DEL = """examples:
  tiered del user:7
  tiered ls session: | xargs -d '\\n' tiered del --

Exit code 0 if all were there, 1 if one was not, 2 for wrong usage, 3 if the store cannot be reached."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code. Errors are one line on standard error."""
    _open_closed_streams()
    try:
        args = _parser().parse_args(argv)
        args.json = getattr(args, "json", False)
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")  # a terminal that cannot show a key is no reason to fail
        return _done(args)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)


def _done(args: argparse.Namespace) -> int:
    try:
        code = _run(args)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # `tiered ls | head`; of a verdict the code tells, whoever hears the rest
        _silence()
        return getattr(args, "verdict", OK)
    except OSError as error:
        if args.command in ("demo", "chaos"):
            raise
        if error.filename is not None:  # a descriptor has no name, and tiers raise errors of their own
            return _fail(f"{error.filename}: {error.strerror}", PROBLEMS)
        _silence()
        return _fail(f"cannot write to standard output: {error.strerror}", PROBLEMS)


def _open_closed_streams() -> None:
    """Python has None for what a shell closed (`>&-`), and prints to the other stream what was for that one."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))


def _silence() -> None:
    """The interpreter would try again at its end to write what is left."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(args: argparse.Namespace) -> int:
    from tiered.errors import ConfigError, InvalidKey, InvalidTtl, InvalidValue, StoreError, TieredError

    try:
        code: int = args.standalone(args) if hasattr(args, "standalone") else _store_command(args)
        return code
    except (ConfigError, InvalidKey, InvalidTtl, InvalidValue) as error:
        return _fail(error, USAGE)
    except StoreError as error:
        return _fail(error, UNREACHABLE)
    except TieredError as error:
        return _fail(error, PROBLEMS)


def _demo(args: argparse.Namespace) -> int:
    from tiered.cli.demo import demo

    return demo(args)


def _store_command(args: argparse.Namespace) -> int:
    if hasattr(args, "before"):
        args.before(args)
    with open_store(args) as store:
        code: int = args.run(store, args)
        return code


def _fail(error: object, code: int) -> int:
    print("tiered: " + " ".join(str(error).split()), file=sys.stderr)
    return code


def _read_ttl(args: argparse.Namespace) -> None:
    """As settings have it; found to be wrong before a store is made."""
    from tiered.arguments import ttl_seconds
    from tiered.errors import ConfigError
    from tiered.notation import seconds

    if args.ttl is not None:
        try:
            args.ttl = ttl_seconds(seconds(args.ttl))
        except ConfigError as error:
            raise ConfigError(f"--ttl: {error}") from None


def _set(store: Any, args: argparse.Namespace) -> int:
    outcome = store.set(args.key, _converted(args.value, args.type), args.ttl)
    if args.json:
        print_json({"version": outcome.version, "tiers": dict(outcome.tiers)})
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
        print_json(existed)
    for key in [key for key, was_there in existed.items() if not was_there]:
        _fail(f"no such key: {key}", PROBLEMS)
    return OK if all(existed.values()) else PROBLEMS


def _positive(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    def number(text: str) -> Any:
        value = kind(text)
        if not 0 < value < math.inf:
            raise argparse.ArgumentTypeError(f"{text} is not greater than zero")
        return value

    return number


def _parser() -> argparse.ArgumentParser:
    from tiered import __version__
    from tiered.cli.backup import add_backup
    from tiered.cli.bench import add_bench
    from tiered.cli.chaos import add_chaos
    from tiered.cli.completion import add_completion
    from tiered.cli.doctor.command import add_doctor
    from tiered.cli.keygen import add_keygen
    from tiered.cli.listing import add_listing
    from tiered.cli.migrate import add_migrate
    from tiered.cli.rekey import add_rekey
    from tiered.cli.stat import add_stat
    from tiered.cli.top import add_top
    from tiered.cli.verify import add_verification

    output, common = _shared_options()
    parser = argparse.ArgumentParser(
        "tiered",
        description="A tiered key-value store: memory, Redis, File.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[common],
    )
    parser.add_argument("--version", action="version", version=f"tiered {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add_get(commands, common)
    _add_store_commands(commands, common)
    add_listing(commands, common, _positive)
    add_stat(commands, common, _positive)
    add_top(commands, common, _positive)
    add_doctor(commands, common)
    add_verification(commands, common, _positive)
    add_backup(commands, common)
    add_migrate(commands, common)
    add_rekey(commands, common)
    add_keygen(commands)
    _add_demo(commands, output)
    add_bench(commands, common, _positive)
    add_chaos(commands, _positive)
    add_completion(commands, parser)
    return parser


def _shared_options() -> tuple[argparse.ArgumentParser, argparse.ArgumentParser]:
    """Of commands that print, and of those that work on a store besides."""
    output = argparse.ArgumentParser(add_help=False)
    output.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="JSON on standard output")
    common = argparse.ArgumentParser(add_help=False, parents=[output])
    for option, metavar, text in (
        ("--url", "URL", "the chain, as in memory://,file:./data (default: TIERED_URL)"),
        ("--config", "FILE", "a TOML file with url = ..., namespace = ..."),
        ("--namespace", "NAME", "the namespace to work in (default: TIERED_NAMESPACE, else default; of migrate, will)"),
    ):
        common.add_argument(option, metavar=metavar, help=text, default=argparse.SUPPRESS)
    return output, common


def _add_store_commands(commands: Any, common: argparse.ArgumentParser) -> None:
    put = add_command(commands, "set", "store a value in every tier", SET, common)
    put.set_defaults(run=_set, makes_store=True, before=_read_ttl)
    put.add_argument("key", metavar="KEY")
    put.add_argument("value", metavar="VALUE")
    put.add_argument("--ttl", metavar="TIME", help="how long it lives, as in 90, 10m, 1h or 7d (default: for ever)")
    put.add_argument("--type", choices=("str", "int", "float", "json"), default="str", help="of VALUE (default: str)")
    delete = add_command(commands, "del", "remove keys; exit code 1 if one was absent", DEL, common)
    delete.set_defaults(run=_del)
    delete.add_argument("keys", nargs="+", metavar="KEY")


def _add_demo(commands: Any, output: argparse.ArgumentParser) -> None:
    demo = commands.add_parser(
        "demo",
        parents=[output],
        help="a bot with thousands of users on real parts",
        description="A bot on memory, Redis and File. A Redis of its own is killed in the middle;\n"
        "at the end every acknowledged write is read back. Exit code 1 if one is missing\n"
        "or the bot saw an error.",
        epilog="examples:\n  tiered demo --seconds 5\n  tiered demo --redis-url redis://localhost:6379/0 --json",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    demo.add_argument("--seconds", type=_positive(float), default=20.0, help="default: 20")
    demo.add_argument("--users", type=_positive(int), default=5000, help="default: 5000")
    demo.add_argument("--threads", type=_positive(int), default=4, help="default: 4; at most one per user")
    demo.add_argument("--directory", help="where the file tier lives (default: a temporary directory)")
    demo.add_argument("--redis-url", help="a Redis to use and never stop (default: REDIS_URL, else one of its own)")
    demo.add_argument("--seed", type=int, help="repeat the choices of an earlier run")
    demo.set_defaults(standalone=_demo)
