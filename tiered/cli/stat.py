"""`tiered stat`: a line a second, as redis-cli --stat has it."""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tiered.cli.columns import Column, table
from tiered.cli.command import add_command
from tiered.cli.condition import COUNTED
from tiered.cli.feed_arguments import add_feed_arguments
from tiered.cli.paint import painted
from tiered.cli.quantities import count, percent, size, span
from tiered.cli.ticks import live

if TYPE_CHECKING:
    from tiered.cli.activity import CacheActivity, TierActivity
    from tiered.cli.feeds import Sight
    from tiered.errors import StoreUnavailable

OK, UNREACHABLE = 0, 3
HEADING_EVERY = 20
PLAIN = 120
"""Columns, where no terminal tells."""

EXAMPLES = """examples:
  tiered stat http://127.0.0.1:9464/metrics    what a running bot does, a line a second
  tiered stat 127.0.0.1:9464 127.0.0.1:9465    two processes of it, summed
  tiered stat                                  the tiers of --url or TIERED_URL: do they answer, what do they lack
  tiered stat --count 60 --interval 10 >> log  ten minutes for a log; without --count one line, where it is no terminal
  tiered stat --json 127.0.0.1:9464            one object a line, for a script

columns: hits: found anywhere; memory: answered by it; errors: that callers saw, a second; p99: of reads
         below memory; pending: keys that a cache tier still lacks; tiers: by their breakers

Exit code 0, 2 for wrong usage, 3 if nothing answers."""

_ENDPOINT = (
    Column("time", rank=6, least=8),
    Column("reads/s", least=7),
    Column("hits", rank=3, least=5),
    Column("memory", rank=4, least=6),
    Column("writes/s", rank=2, least=8),
    Column("errors", least=6),
    Column("p99", rank=5, least=5),
    Column("pending", rank=1, least=7),
    Column("tiers", least=10, left=True),
)


def add_stat(commands: Any, common: argparse.ArgumentParser, positive: Callable[..., Any]) -> None:
    """Register the command; `positive` makes an argument type for numbers above zero."""
    stat = add_command(
        commands, "stat", "a line a second: what a running bot does, or how the tiers are", EXAMPLES, common
    )
    add_feed_arguments(stat, positive)
    stat.add_argument("--count", type=positive(int), metavar="N", help="end after N lines")
    stat.set_defaults(standalone=_stat)


def _stat(args: argparse.Namespace) -> int:
    from tiered.cli.feeds import feed_of, looks

    number = args.count or (None if live() else 1)
    answered = True
    page = _Page()
    with feed_of(args) as feed:
        try:
            for sight, failed in looks(feed, args.interval, number):
                answered = sight is not None and not sight.dark
                if args.json:
                    shown = {"at": time.time(), "error": str(failed)} if sight is None else sight.as_dict()
                    print(json.dumps(shown), flush=True)
                else:
                    page.print(sight, failed)
        except KeyboardInterrupt:  # the way to end it
            print()
    return OK if answered else UNREACHABLE


class _Page:
    """Lines under a heading, which comes again now and then, and when there is room for other columns."""

    def __init__(self) -> None:
        self._heading, self._since = "", 0

    def print(self, sight: Sight | None, failed: StoreUnavailable | None) -> None:
        width = shutil.get_terminal_size().columns - 1 if live() else PLAIN
        clock = time.strftime("%H:%M:%S")
        if sight is None:
            print(painted(f"{clock}  {failed}"[:width], "bad"), flush=True)
            return
        columns, cells = _of_caches(clock, sight) if sight.caches else _of_tiers(clock, sight)
        heading, line = table(columns, [cells], width)
        if heading != self._heading or self._since == HEADING_EVERY:
            self._heading, self._since = heading, 0
            print(painted(heading, "dim"))
        self._since += 1
        for word in ("OPEN", "HALF-OPEN", "DOWN", "SILENT"):
            line = line.replace(f" {word}", f" {painted(word, 'bad')}")
        print(line, flush=True)


def _of_caches(clock: str, sight: Sight) -> tuple[Sequence[Column], list[str]]:
    caches = sight.caches
    reads = sum(it.reads for it in caches)
    states = [
        _state(it, several=len(caches) > 1, of=cache.processes) for cache in caches for it in cache.tiers if it.state
    ]
    if sight.silent:
        states.append(f"{len(sight.silent)} endpoint{'s' * (len(sight.silent) > 1)} SILENT")
    return _ENDPOINT, [
        clock,
        count(reads),
        percent(_mean(caches, "hits", reads)),
        percent(_mean(caches, "memory", reads)),
        count(sum(it.writes for it in caches)),
        count(sum(it.errors for it in caches)),
        span(max((it.p99 for it in caches if it.p99 is not None), default=None)),
        count(sum(tier.pending for it in caches for tier in it.tiers)),
        ", ".join(states),
    ]


def _mean(caches: Sequence[CacheActivity], name: str, reads: float) -> float | None:
    """Of shares of reads."""
    return sum((getattr(it, name) or 0.0) * it.reads for it in caches) / reads if reads else None


def _state(tier: TierActivity, *, several: bool, of: int) -> str:
    """A tier and its breaker, in few words."""
    name = f"{tier.cache}/{tier.tier}" if several else tier.tier
    if not tier.away:
        return f"{name} ok"
    return f"{name} {tier.state.upper().replace('_', '-')}" + (f" in {tier.away} of {of}" if of > 1 else "")


def _of_tiers(clock: str, sight: Sight) -> tuple[Sequence[Column], list[str]]:
    columns, cells = [Column("time", rank=2, least=8)], [clock]
    for rank, it in enumerate(sight.tiers):
        columns.append(Column(it.tier, rank=rank, least=10, left=True))
        cells.append(f"{'ok' if it.ok else 'DOWN'} {span(it.seconds)}")
    pending = [it.pending for it in sight.tiers]
    columns.append(Column("pending", least=8))
    cells.append(counted(None if None in pending else sum(number or 0 for number in pending)))
    columns.append(Column("size", rank=3, least=8))
    cells.append(size(next((it.bytes for it in reversed(sight.tiers) if it.bytes is not None), None)))
    return columns, cells


def counted(pending: int | None) -> str:
    """How many marks there are; they are not counted to the last one."""
    return f">{COUNTED:,}" if pending is not None and pending > COUNTED else count(pending)
