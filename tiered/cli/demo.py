"""The demo: a bot on real parts, an outage in the middle, and a check of every acknowledged write at the end."""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tiered.backend import TieredBackend
from tiered.cli.demo_bot import Bot
from tiered.cli.demo_redis import DemoRedis, find_redis

KILL_AT, RETURN_AT = 0.4, 0.7


def demo(args: argparse.Namespace) -> int:
    """Run the bot, break Redis if it is ours, check; 0 if every acknowledged write is there."""
    seed = args.seed if args.seed is not None else random.randrange(2**32)
    say = _quiet if args.json else print
    with tempfile.TemporaryDirectory(prefix="tiered-demo-") as directory:
        redis, url = find_redis(Path(directory))
        namespace = f"demo-{os.getpid()}-{seed}"
        chain = ["memory://?max_entries=2000", *([url] if url else []), f"file:{directory}/data"]
        say(f"seed {seed}; {args.users} users, {args.threads} threads, {args.seconds:g} s")
        say(_described(redis, url))
        try:
            return _run(args, ",".join(chain), namespace, redis, seed, say)
        finally:
            if redis is not None:
                redis.stop()


def _run(args: argparse.Namespace, chain: str, namespace: str, redis: DemoRedis | None, seed: int, say: Any) -> int:
    with TieredBackend.from_url(chain, namespace=namespace, shared=False) as store:
        bots = [Bot(store, args.users, args.threads, number, seed) for number in range(args.threads)]
        _play(bots, args.seconds, redis, say)
        if redis is not None:
            _wait_for_redis(store)
        stats = store.stats()
    missing = _check(chain, namespace, bots, say)
    report = _report(bots, stats, args.seconds, missing)
    if args.json:
        print(json.dumps(report))
    else:
        _print_table(report)
    with TieredBackend.from_url(chain, namespace=namespace) as store:
        store.clear()
    return 1 if missing or report["errors"] else 0


def _play(bots: list[Bot], seconds: float, redis: DemoRedis | None, say: Any) -> None:
    stop = threading.Event()
    threads = [threading.Thread(target=bot.run, args=(stop,), daemon=True) for bot in bots]
    started, state = time.monotonic(), "up"
    for thread in threads:
        thread.start()
    try:
        while (elapsed := time.monotonic() - started) < seconds:
            time.sleep(0.25)
            if redis is not None and state == "up" and elapsed > KILL_AT * seconds:
                redis.kill()
                state = "killed"
                say(f"\n{elapsed:5.1f} s  Redis is killed (SIGKILL). {_worst(bots, reset=True)}")
            elif redis is not None and state == "killed" and elapsed > RETURN_AT * seconds:
                redis.start()
                state = "back"
                say(f"\n{elapsed:5.1f} s  Redis is back, empty. {_worst(bots, reset=True)}")
            _progress(bots, elapsed, seconds, say)
    except KeyboardInterrupt:
        say("\ninterrupted: checking what was acknowledged so far")
    stop.set()
    for thread in threads:
        thread.join()
    say("")


def _worst(bots: list[Bot], *, reset: bool) -> str:
    worst, errors = max(bot.longest for bot in bots), sum(bot.errors for bot in bots)
    for bot in bots:
        bot.longest = 0.0 if reset else bot.longest
    return f"Until now: longest call {worst * 1000:.0f} ms, errors {errors}."


def _progress(bots: list[Bot], elapsed: float, seconds: float, say: Any) -> None:
    done = sum(bot.operations for bot in bots)
    if sys.stdout.isatty() and say is print:
        bar = "█" * int(24 * min(1.0, elapsed / seconds))
        print(f"\r{elapsed:5.1f} s  [{bar:<24}] {done:>9,} operations  {done / elapsed:>8,.0f}/s", end="", flush=True)
    elif elapsed > 1 and int(elapsed * 4) % 20 == 0:
        say(f"{elapsed:5.1f} s  {done:,} operations, {done / elapsed:,.0f}/s")


def _wait_for_redis(store: TieredBackend) -> None:
    """Give the background probe the time it needs, so that the check reads through a Redis in service."""
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        state = store.health()["redis"]
        if state["breaker"] == "closed" and not state["owed"]:
            return
        time.sleep(0.1)


def _check(chain: str, namespace: str, bots: list[Bot], say: Any) -> list[str]:
    """Read every acknowledged write back through a fresh store, and from the file alone."""
    wanted: dict[str, Any] = {}
    for bot in bots:
        wanted.update(bot.ledger)
    wanted["messages"] = sum(bot.messages for bot in bots)
    missing: list[str] = []
    tiers = chain.split(",")
    for way, part in (("all tiers", tiers), ("the file alone", tiers[-1:])):
        with TieredBackend.from_url(",".join(part), namespace=namespace) as store:
            held = store.get_many(wanted)
        wrong = [key for key, value in wanted.items() if held.get(key) != value]
        missing += [f"{key} through {way}" for key in wrong]
        say(f"check through {way}: {len(wanted) - len(wrong):,} of {len(wanted):,} acknowledged entries are there")
    return missing


def _report(bots: list[Bot], stats: dict[str, Any], seconds: float, missing: list[str]) -> dict[str, Any]:
    times: dict[str, list[float]] = {}
    tiers: dict[str, list[float]] = {}
    written: Counter[tuple[str, str]] = Counter()
    for bot in bots:
        written.update(bot.written)
        for name, values in bot.times.items():
            times.setdefault(name, []).extend(values)
        for name, values in bot.read_times.items():
            tiers.setdefault(name, []).extend(values)
    return {
        "operations": sum(bot.operations for bot in bots),
        "per_second": round(sum(bot.operations for bot in bots) / seconds),
        "errors": sum(bot.errors for bot in bots),
        "missing": missing,
        "latency_us": {name: _percentiles(values) for name, values in sorted(times.items())},
        "reads_by_tier": {name: _percentiles(values) for name, values in tiers.items()},
        "written": {f"{tier} {outcome}": count for (tier, outcome), count in sorted(written.items())},
        "tiers": stats["tiers"],
    }


def _percentiles(values: list[float]) -> dict[str, float]:
    values.sort()
    pick = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    row = {name: round(values[min(len(values) - 1, int(share * len(values)))] * 1e6, 1) for name, share in pick.items()}
    return {"count": len(values), **row}


def _print_table(report: dict[str, Any]) -> None:
    print(f"\n{report['operations']:,} operations, {report['per_second']:,} a second, {report['errors']} errors\n")
    print(f"{'operation':<14}{'count':>10}{'p50 µs':>12}{'p99 µs':>12}{'max µs':>12}")
    for name, row in report["latency_us"].items():
        print(f"{name:<14}{row['count']:>10,}{row['p50']:>12,.1f}{row['p99']:>12,.1f}{row['max']:>12,.0f}")
    total = sum(row["count"] for row in report["reads_by_tier"].values()) or 1
    print(f"\n{'read from':<14}{'share':>10}{'p50 µs':>12}{'p99 µs':>12}")
    for name, row in report["reads_by_tier"].items():
        print(f"{name:<14}{row['count'] / total:>10.1%}{row['p50']:>12,.1f}{row['p99']:>12,.1f}")
    print("\nwritten: " + ", ".join(f"{count:,} {name}" for name, count in report["written"].items()))
    for line in report["missing"][:5]:
        print(f"MISSING: {line}")
    print(
        "\nEVERY ACKNOWLEDGED WRITE IS THERE" if not report["missing"] else f"\n{len(report['missing'])} ENTRIES LOST"
    )


def _described(redis: DemoRedis | None, url: str | None) -> str:
    if redis is not None:
        return "memory → Redis (our own, killed in the middle) → file"
    return "memory → Redis (yours, left alone) → file" if url else "memory → file (no REDIS_URL, no redis-server here)"


def _quiet(*_: object, **__: object) -> None:
    return
