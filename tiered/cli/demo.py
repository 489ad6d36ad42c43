"""The demo: a bot on real parts, an outage in the middle, and a check of every acknowledged write at the end."""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tiered.backend import TieredBackend
from tiered.chain_url import redact
from tiered.cli.demo_bot import Bot
from tiered.cli.demo_check import acknowledged, check
from tiered.cli.demo_redis import DemoRedis, find_redis
from tiered.cli.demo_report import longest, print_report, report
from tiered.cli.demo_screen import Screen
from tiered.cli.ending import end_as_by_ctrl_c
from tiered.cli.scratch import scratch_for

KILL_AT, RETURN_AT = 0.4, 0.7
MEMORY = "memory://?max_entries=2000"
"""Less than the users need, so that the lower tiers are read as well."""


@dataclass(frozen=True, slots=True)
class _Stage:
    """What one run works with."""

    chain: list[str]
    namespace: str
    redis: DemoRedis | None
    seed: int
    screen: Screen

    def open(self, **options: Any) -> TieredBackend:
        return TieredBackend.from_url(",".join(self.chain), namespace=self.namespace, **options)


def demo(args: argparse.Namespace) -> int:
    """Run the bot, break Redis if it is ours, check; 0 if every acknowledged write is there and no error was seen."""
    end_as_by_ctrl_c()
    seed = args.seed if args.seed is not None else random.randrange(2**32)
    screen = Screen(quiet=args.json)
    screen.say(f"seed {seed}; {args.users:,} users, {args.threads} threads, {args.seconds:g} s; Ctrl-C ends it early")
    with scratch_for("demo") as directory, _notes_of(screen):
        redis, url, origin = find_redis(Path(directory), args.redis_url)
        try:
            data = Path(args.directory).resolve() if args.directory else Path(directory, "data")
            chain = [MEMORY, *([_fleeting(url, args.seconds)] if url else []), f"file://{quote(str(data))}"]
            screen.say(_described(redis, url, origin, data))
            return _run(args, _Stage(chain, f"demo-{os.getpid()}-{seed}", redis, seed, screen))
        finally:
            if redis is not None:
                redis.stop()


def _run(args: argparse.Namespace, stage: _Stage) -> int:
    threads = min(args.threads, args.users)
    try:
        with stage.open(shared=False) as store:
            bots = [Bot(store, args.users, threads, number, stage.seed) for number in range(threads)]
            took = _play(bots, args.seconds, stage)
            _wait_for_tiers(store, 15 if stage.redis else 3, stage.screen)
            stats = store.stats()
        result = report(bots, stats, took, stage.seed)
        result["acknowledged"] = acknowledged(bots)
        result["missing"] = check(stage.chain, stage.namespace, bots, stage.screen)
    finally:
        with stage.open() as store:
            store.clear()
    if args.json:
        print(json.dumps(result))
    else:
        print_report(result, stage.screen)
    return 1 if result["missing"] or result["errors"] else 0


def _play(bots: list[Bot], seconds: float, stage: _Stage) -> float:
    """Let the bots work for `seconds`, with the outage if Redis is ours; returns how long it was."""
    stop = threading.Event()
    threads = [threading.Thread(target=bot.run, args=(stop,), daemon=True) for bot in bots]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    try:
        while (elapsed := time.monotonic() - started) < seconds:
            _outage(bots, elapsed, seconds, stage)
            stage.screen.progress(_progress(bots, elapsed))
            time.sleep(min(0.25, seconds / 20))
    except KeyboardInterrupt:
        stage.screen.say("interrupted: checking what was acknowledged so far")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    return time.monotonic() - started


def _outage(bots: list[Bot], elapsed: float, seconds: float, stage: _Stage) -> None:
    """At its time, kill our Redis or start it again, and say what the bots noticed."""
    if stage.redis is None:
        return
    phase = bots[0].phase
    if phase == "before" and elapsed > KILL_AT * seconds:
        stage.screen.say(f"{elapsed:6.1f} s Redis is killed (SIGKILL). {_noticed(bots, 'before')}")
        _enter("outage", bots)
        stage.redis.kill()  # told before: what tiered says about it comes at once
    elif phase == "outage" and elapsed > RETURN_AT * seconds:
        _enter("after", bots)
        try:
            stage.redis.start()
        except (OSError, RuntimeError) as error:
            stage.screen.say(f"{elapsed:6.1f} s Redis stays away: {error}", colour="bad")
        else:
            stage.screen.say(f"{elapsed:6.1f} s Redis is back, empty. {_noticed(bots, 'outage')}")


def _enter(phase: str, bots: list[Bot]) -> None:
    for bot in bots:
        bot.phase = phase


def _noticed(bots: list[Bot], phase: str) -> str:
    when = "Until now" if phase == "before" else "Without it"
    return f"{when}: longest call {longest(bots, phase) * 1000:.1f} ms, {sum(bot.errors for bot in bots)} errors"


def _progress(bots: list[Bot], elapsed: float) -> str:
    done, reads = sum(bot.operations for bot in bots), sum(bot.reads for bot in bots)
    hits = sum(bot.memory_reads for bot in bots) / max(reads, 1)
    rate = done / max(elapsed, 0.001)
    return f"{elapsed:6.1f} s {done:>10,} calls {rate:>8,.0f}/s   {hits:5.1%} of reads from memory"


def _wait_for_tiers(store: TieredBackend, seconds: float, screen: Screen) -> None:
    """Give the background probe the time it needs, so that the check reads through tiers in service."""
    deadline = time.monotonic() + seconds
    while True:
        states = {name: state for name, state in store.health().items() if "breaker" in state}
        late = [name for name, state in states.items() if state["breaker"] != "closed" or state["owed"]]
        if not late or time.monotonic() > deadline:
            break
        screen.progress(f"waiting for {', '.join(late)} to be given what was written meanwhile")
        time.sleep(0.1)
    for name in late:
        screen.say(f"{name} is not in service ({states[name]['owed']:,} writes owed); the file has them all")


def _fleeting(url: str, seconds: float) -> str:
    """`url` with a short `max_ttl`: `clear` hides our keys at once, but leaves it to Redis to expire them."""
    url = url.replace(",", "%2C")
    if "max_ttl=" in url:
        return url
    return f"{url}{'&' if '?' in url else '?'}max_ttl={max(60.0, 2 * seconds):g}s"


@contextmanager
def _notes_of(screen: Screen) -> Iterator[None]:
    """What tiered logs, on the screen between the progress lines instead of across them."""
    logger = logging.getLogger("tiered")
    level, propagate = logger.level, logger.propagate
    logger.addHandler(screen.handler)
    logger.setLevel(logging.WARNING)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(screen.handler)
        logger.setLevel(level)
        logger.propagate = propagate


def _described(redis: DemoRedis | None, url: str | None, origin: str, data: Path) -> str:
    if redis is not None:
        return f"memory → Redis (our own, port {redis.port}, killed in the middle) → file {data}"
    if url:
        return f"memory → Redis (yours, {redact(url)}, never stopped) → file {data}"
    return f"memory → file {data}; WITHOUT Redis, so without an outage: {origin}"
