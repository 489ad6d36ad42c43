"""`tiered top`: every tier at a glance, kept up to date; one snapshot where it is no terminal."""

from __future__ import annotations

import argparse
import json
import shutil
import textwrap
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from tiered.cli.columns import Column, table
from tiered.cli.command import add_command
from tiered.cli.ending import end_as_by_ctrl_c
from tiered.cli.feed_arguments import add_feed_arguments
from tiered.cli.quantities import NONE, count, percent, size, span
from tiered.cli.stat import counted
from tiered.cli.ticks import live

if TYPE_CHECKING:
    from rich.text import Text

    from tiered.cli.activity import CacheActivity, TierActivity
    from tiered.cli.feeds import Feed, Sight

OK, UNREACHABLE = 0, 3
NO_ANSWER = "NO ANSWER:"
PLAIN = 120
"""Columns, where no terminal tells."""

EXAMPLES = """examples:
  tiered top http://127.0.0.1:9464/metrics     a running bot: rates, latencies, breakers, backlog; Ctrl-C ends it
  tiered top 127.0.0.1:9464 127.0.0.1:9465     two processes of it, summed
  tiered top                                   the tiers of --url or TIERED_URL: do they answer, what do they lack
  tiered top --once 127.0.0.1:9464             one snapshot, as it comes without a terminal
  tiered top --json 127.0.0.1:9464 | jq .caches

columns: hits: the share of its reads that the tier could answer; p50, p99: its latency; backlog: writes
         that it still lacks, and since when; size: what it holds, and how much of its limit that is

The live view needs rich: pip install '.[cli]' where tiered's sources are.
Exit code 0, 2 for wrong usage, 3 if nothing answers."""

_TIERS = (
    Column("tier", left=True),
    Column("role", rank=6, left=True, least=6),
    Column("breaker", rank=1, left=True, least=9),
    Column("reads/s", least=7),
    Column("hits", rank=3, least=6),
    Column("errors/s", rank=2, least=8),
    Column("p50", rank=5, least=5),
    Column("p99", rank=3, least=5),
    Column("backlog", rank=1, least=7),
    Column("size", rank=4, least=6),
)
_CONDITIONS = (
    Column("tier", left=True),
    Column("role", rank=2, left=True),
    Column("state", left=True, least=5),
    Column("answered in", rank=1),
    Column("backlog"),
    Column("size", rank=1),
)


class Line(NamedTuple):
    text: str
    colour: str = ""


def add_top(commands: Any, common: argparse.ArgumentParser, positive: Callable[..., Any]) -> None:
    """Register the command; `positive` makes an argument type for numbers above zero."""
    top = add_command(commands, "top", "live: each tier's rates, latencies, breaker and backlog", EXAMPLES, common)
    add_feed_arguments(top, positive)
    top.add_argument("--once", action="store_true", help="one snapshot, and end")
    top.set_defaults(standalone=_top)


def _top(args: argparse.Namespace) -> int:
    from tiered.cli.feeds import feed_of, looks

    code = OK
    with feed_of(args) as feed:
        if live() and not args.once and not args.json:
            return _show(feed, args.interval)
        for sight, failed in looks(feed, args.interval, 1):
            if failed is not None:
                raise failed
            assert sight is not None  # one of the two
            code = UNREACHABLE if sight.dark else OK
            if args.json:
                print(json.dumps(sight.as_dict()))
            else:
                width = shutil.get_terminal_size().columns - 1 if live() else PLAIN
                print("\n".join(line.text for line in page(sight, width)))
    return code


def _show(feed: Feed, every: float) -> int:
    """The live view."""
    from tiered.cli.feeds import looks
    from tiered.extras import missing

    try:
        from rich.console import Console
        from rich.live import Live
    except ImportError:
        raise missing("the live view (not --once) needs rich", "cli") from None
    console = Console(highlight=False)
    shown, failed = [Line("waiting for the first look …", "dim")], None

    def picture() -> Text:
        heading = f"tiered top  {time.strftime('%H:%M:%S')}  Ctrl-C ends it  {feed.name}"
        return _drawn([Line(heading, "dim"), Line(""), *shown], *console.size)

    end_as_by_ctrl_c()
    with Live(get_renderable=picture, console=console, screen=True, auto_refresh=False) as screen:
        try:
            screen.refresh()
            for sight, failed in looks(feed, every, None):
                if sight is not None:
                    shown = page(sight, console.size.width - 1)
                else:
                    kept = [line for line in shown if not line.text.startswith(NO_ANSWER)]
                    shown = [Line(f"{NO_ANSWER} {failed}", "bad"), *kept]
                screen.refresh()
        except KeyboardInterrupt:  # the way to end it
            pass
    return OK if failed is None else UNREACHABLE


def _drawn(lines: Sequence[Line], width: int, height: int) -> Text:
    """As much as the screen has room for."""
    from rich.text import Text

    styles = {"bad": "bold red", "dim": "dim", "bold": "bold", "": ""}
    return Text("\n").join(Text(_cut(line.text, width - 1), style=styles[line.colour]) for line in lines[:height])


def _cut(text: str, width: int) -> str:
    """What was cut off is told: half a port is another port."""
    return text if len(text) <= width else f"{text[: width - 1]}…"


def page(sight: Sight, width: int) -> list[Line]:
    """What a look showed, as wide as there is room for."""
    if sight.tiers:
        return _of_tiers(sight, width)
    lines: list[Line] = []
    for cache in sight.caches:
        lines += [*([Line("")] if lines else []), *_of_cache(cache, width)]
    return lines + [Line(f"no answer: {url}: {why}", "bad") for url, why in sight.silent.items()]


def _of_cache(cache: CacheActivity, width: int) -> list[Line]:
    rows = [_row(it, cache.processes) for it in cache.tiers]
    heading, *body = table(_TIERS, rows, width)
    lines = [*_summary(cache, width), Line(heading, "dim")]
    for tier, text in zip(cache.tiers, body, strict=True):
        lines.append(Line(text, "bad" if tier.away else ""))
    if cache.dropped:
        lines.append(Line(f"{cache.dropped:,} writes were DROPPED: too many were pending", "bad"))
    return lines


def _summary(cache: CacheActivity, width: int) -> list[Line]:
    """What the callers see."""
    name = cache.cache + (f" ({cache.processes} processes)" if cache.processes > 1 else "")
    facts = [
        f"{count(cache.reads)} reads/s",
        f"{percent(cache.hits)} found",
        f"{count(cache.writes)} writes/s" + (f" ({count(cache.degraded)} queued)" if cache.degraded else ""),
        f"{count(cache.errors)} errors/s",
        f"p99 {span(cache.p99)}",
    ]
    lines = [name]
    for fact in facts:
        if len(lines[-1]) + 2 + len(fact) > width:
            lines.append(" ")
        lines[-1] += f"  {fact}"
    return [Line(text, "bad" if cache.errors else "bold") for text in lines]


def _row(tier: TierActivity, processes: int) -> list[str]:
    state = tier.state.upper().replace("_", "-") if tier.away else tier.state or NONE
    if tier.away and processes > 1:
        state += f" {tier.away}/{processes}"
    backlog = count(tier.pending) if tier.state else NONE
    if tier.pending:
        backlog += f", {span(tier.oldest)}"
    fill = NONE if tier.bytes is None else size(tier.bytes)
    if tier.bytes is not None and tier.limit:
        fill += f", {tier.bytes / tier.limit:.0%}"
    return [
        tier.tier,
        tier.role,
        state,
        count(tier.reads),
        percent(tier.hits),
        count(tier.errors),
        span(tier.p50),
        span(tier.p99),
        backlog,
        fill,
    ]


def _of_tiers(sight: Sight, width: int) -> list[Line]:
    rows: Sequence[Sequence[str]] = [
        [
            it.tier,
            it.role,
            "ok" if it.ok else "DOWN",
            span(it.seconds),
            counted(it.pending) if it.role == "cache" else NONE,
            size(it.bytes),
        ]
        for it in sight.tiers
    ]
    heading, *body = table(_CONDITIONS, rows, width)
    lines = [Line(heading, "dim")]
    for it, text in zip(sight.tiers, body, strict=True):
        lines.append(Line(text, "" if it.ok else "bad"))
        if it.detail:
            detail = textwrap.wrap(it.detail, width, initial_indent="  ", subsequent_indent="  ")
            lines += [Line(text, "bad") for text in detail]
    return lines
