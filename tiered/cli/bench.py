"""`tiered bench`: how fast your own chain is, whole and tier by tier."""

from __future__ import annotations

import argparse
import json
import shutil
import textwrap
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from tiered.cli.columns import Column, table
from tiered.cli.command import add_command
from tiered.cli.ending import end_as_by_ctrl_c
from tiered.cli.progress_line import ProgressLine
from tiered.cli.quantities import count, span
from tiered.cli.ticks import live

if TYPE_CHECKING:
    from tiered.cli.measuring import Measured

OK, UNREACHABLE = 0, 3

EXAMPLES = """examples:
  tiered bench --url memory://,redis://localhost:6379/0,file:./data
  tiered bench --threads 8 --value-bytes 2000      as a bot with eight threads and larger values sees it
  tiered bench --seconds 0.2 --json                a short look, for a script

It works in the namespace tiered-bench, which it clears before and after; yours is not touched, but it does load your
servers. "chain" is what a caller sees; the others are the tiers alone. A commit of a file tier waits for the disk.

Exit code 0, 2 for wrong usage, 3 if a tier cannot be reached."""

_COLUMNS = (
    Column("", left=True),
    Column("operation", left=True),
    Column("keys/s", least=7),
    Column("p50", least=6),
    Column("p99", least=6),
    Column("slowest", rank=1),
)


def add_bench(commands: Any, common: argparse.ArgumentParser, positive: Callable[..., Any]) -> None:
    """Register the command; `positive` makes an argument type for numbers above zero."""
    bench = add_command(commands, "bench", "measure your own chain, in a namespace of its own", EXAMPLES, common)
    bench.add_argument("--seconds", type=positive(float), default=1.0, help="for each operation; default: 1")
    bench.add_argument("--threads", type=positive(int), default=1, metavar="N", help="default: 1")
    bench.add_argument("--keys", type=positive(int), default=1000, metavar="N", help="default: 1000")
    bench.add_argument("--value-bytes", type=positive(int), default=256, metavar="N", help="default: 256")
    bench.set_defaults(run=_bench, makes_store=True)


def _bench(store: Any, args: argparse.Namespace) -> int:
    from tiered.cli.measuring import NAMESPACE, Bench, Load
    from tiered.cli.opening import hush
    from tiered.errors import ConfigError

    if getattr(args, "namespace", None) not in (None, NAMESPACE):
        raise ConfigError(f"bench works in the namespace {NAMESPACE}, which it clears; leave --namespace out")
    hush()
    end_as_by_ctrl_c()
    load = Load(args.seconds, args.threads, args.keys, args.value_bytes)
    results, line = list["Measured"](), ProgressLine()
    try:
        line.update("measuring", 0, None)
        for result in Bench(store, load).run():
            results.append(result)
            line.update("measuring", len(results), None)
    finally:
        line.clear()
    if args.json:
        print(json.dumps({"load": asdict(load), "results": [asdict(it) for it in results]}))
    else:
        _print(results, args)
    return UNREACHABLE if any(it.error for it in results) else OK


def _print(results: list[Measured], args: argparse.Namespace) -> None:
    threads = "1 thread" if args.threads == 1 else f"{args.threads} threads"
    width = shutil.get_terminal_size().columns - 1 if live() else 100
    print(f"{args.value_bytes:,} bytes a value, {args.keys:,} keys, {threads}, {args.seconds:g} s each"[:width])
    rows = [[it.what, it.operation, count(it.per_second), *map(span, (it.p50, it.p99, it.slowest))] for it in results]
    heading, *lines = table(_COLUMNS, rows, width)
    print(heading)
    for result, text in zip(results, lines, strict=True):
        print(text)
        if result.error:
            print(textwrap.fill(result.error, width, initial_indent="  → ", subsequent_indent="    "))
