"""The demo's report: what was measured, as a mapping for `--json` and as tables of 80 columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from tiered.cli.demo_bot import Bot, Series
from tiered.cli.demo_screen import Screen

PHASES = {"before": "before the outage", "outage": "while Redis was dead", "after": "afterwards"}


def report(bots: Sequence[Bot], stats: dict[str, Any], seconds: float, seed: int) -> dict[str, Any]:
    """What the bots measured in `seconds`."""
    written: Counter[tuple[str, str]] = Counter()
    for bot in bots:
        written.update(bot.written)
    operations = sum(bot.operations for bot in bots)
    return {
        "seed": seed,
        "seconds": round(seconds, 2),
        "operations": operations,
        "per_second": round(operations / seconds),
        "errors": sum(bot.errors for bot in bots),
        "noticed": [text for bot in bots for text in bot.noticed][:5],
        "unsure": len(set().union(*(bot.unsure for bot in bots))),
        "longest_ms": {phase: round(longest(bots, phase) * 1000, 1) for phase in PHASES if _had(bots, phase)},
        "latency_us": _rows(bot.times for bot in bots),
        "reads_by_tier": _rows(bot.read_times for bot in bots),
        "written": {f"{tier} {outcome}": count for (tier, outcome), count in sorted(written.items())},
        "tiers": stats["tiers"],
    }


def longest(bots: Sequence[Bot], phase: str) -> float:
    """The longest call of any bot in `phase`, in seconds."""
    return max((bot.longest.get(phase, 0.0) for bot in bots), default=0.0)


def print_report(report: dict[str, Any], screen: Screen) -> None:
    """The tables and the verdict."""
    _print_latency(report, screen)
    _print_tiers(report, screen)
    if len(report["longest_ms"]) > 1:
        calls = ", ".join(f"{took:,.1f} ms {PHASES[phase]}" for phase, took in report["longest_ms"].items())
        screen.say(f"\nlongest call: {calls}")
    for text in report["noticed"]:
        screen.say(f"the bot noticed: {text}"[:160], colour="bad")
    for line in report["missing"][:5]:
        screen.say(f"LOST: {line}", colour="bad")
    _print_verdict(report, screen)


def _print_latency(report: dict[str, Any], screen: Screen) -> None:
    screen.say(f"\n{report['operations']:,} calls in {report['seconds']:.1f} s: {report['per_second']:,} a second\n")
    screen.say(f"{'call':<14}{'count':>11}{'p50 µs':>11}{'p99 µs':>11}{'max µs':>11}")
    for name, row in report["latency_us"].items():
        screen.say(f"{name:<14}{row['count']:>11,}{row['p50']:>11,.1f}{row['p99']:>11,.1f}{row['max']:>11,.0f}")


def _print_tiers(report: dict[str, Any], screen: Screen) -> None:
    total = sum(row["count"] for row in report["reads_by_tier"].values()) or 1
    screen.say(f"\n{'reads from':<14}{'share':>11}{'p50 µs':>11}{'p99 µs':>11}{'max µs':>11}")
    for name, row in report["reads_by_tier"].items():
        share = row["count"] / total
        screen.say(f"{name:<14}{share:>11.1%}{row['p50']:>11,.1f}{row['p99']:>11,.1f}{row['max']:>11,.0f}")
    screen.say(f"\n{'sets went to':<14}{'ok':>11}{'queued':>11}{'skipped':>11}")
    written = report["written"]
    for name in sorted({pair.rpartition(" ")[0] for pair in written}):
        counts = [written.get(f"{name} {outcome}", 0) for outcome in ("ok", "queued", "skipped")]
        screen.say(f"{name:<14}" + "".join(f"{count:>11,}" for count in counts))
    screen.say("queued: replayed when the tier is back; skipped: not kept in memory")


def _print_verdict(report: dict[str, Any], screen: Screen) -> None:
    lost, errors = len(report["missing"]), report["errors"]
    if lost:
        screen.say(f"\nFAILED: {lost:,} acknowledged entries are missing or old.", colour="bad")
    elif errors:
        screen.say(f"\nNothing acknowledged was lost, but the bot saw {errors:,} errors.", colour="bad")
    else:
        text = f"\nOK: all {report['acknowledged']:,} acknowledged entries are there; the bot saw 0 errors."
        screen.say(text, colour="good")


def _had(bots: Sequence[Bot], phase: str) -> bool:
    return any(phase in bot.longest for bot in bots)


def _rows(tables: Iterable[dict[str, Series]]) -> dict[str, dict[str, float]]:
    merged: dict[str, list[Series]] = {}
    for table in tables:
        for name, series in table.items():
            merged.setdefault(name, []).append(series)
    return {name: _percentiles(all_series) for name, all_series in sorted(merged.items())}


def _percentiles(all_series: list[Series]) -> dict[str, float]:
    sample = sorted(took for series in all_series for took in series.sample)

    def at(share: float) -> float:
        return round(sample[min(len(sample) - 1, int(share * len(sample)))] * 1e6, 1)

    most = max(series.longest for series in all_series)
    count = sum(series.count for series in all_series)
    return {"count": count, "p50": at(0.5), "p99": at(0.99), "max": round(most * 1e6, 1)}
