"""A bot's load on whole stores: 95 % get, 5 % set, Zipf over 20,000 keys of which 2,000 fit in memory; tiered and its peers.

make bench                                    as one part of it
python -m benchmarks.mixed --rounds 5 --seconds 3 --systems tiered,hand-rolled --json mixed.json

Each system has a process, a Redis and a directory of its own, and four threads (64 tasks for what is asyncio). They run in turns, so
that neighbours in time are compared. A key has one writer, who checks that it reads what it wrote last.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import accumulate, cycle
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import machine
from benchmarks.systems import SYSTEMS, AsyncSystem, System, installed, open_system
from tests.servers import RedisServer

KEYS, SETS, DRAWS = 20_000, 0.05, 400_000
THREADS, TASKS = 4, 64
VALUE = "v" * 250
FEDERATED = ("cashews", "py-key-value")
ASKED = (
    ("tiered", ("hand-rolled",), 2.0),
    ("tiered", ("hand-rolled-durable",), None),
    ("tiered", ("bare-parts",), None),
    ("tiered", ("hand-rolled", "dogpile", *FEDERATED), 1.3),
    ("tiered-measured", ("hand-rolled",), 3.0),
    ("tiered-asyncio", FEDERATED, 4.0),
)
"""System, peers (the best of them counts), and the ratio of their rates that was asked for, if any was."""


@dataclass(frozen=True, slots=True)
class Round:
    """What one system did in one turn. Times in µs; `stale`: a writer did not read what it had written."""

    rate: float
    get_p50: float
    get_p99: float
    set_p50: float
    set_p99: float
    stale: int


class Worker:
    """The calls of one thread or task, and how long each took."""

    def __init__(self, number: int, of: int) -> None:
        rng = random.Random(number)
        weights = list(accumulate((rank + 1) ** -0.99 for rank in range(KEYS)))
        drawn = rng.choices(range(KEYS), cum_weights=weights, k=DRAWS // of)
        whole = KEYS - KEYS % of  # a key has one writer: who draws one to set sets one of its own near by
        plan = [
            (min(key, whole - 1) // of * of + number, True) if rng.random() < SETS else (key, False) for key in drawn
        ]
        self._plan = cycle([(f"user:{key}", write) for key, write in plan])
        self._mine: dict[str, str] = {}
        self._writes = 0
        self.gets: list[float] = []
        self.sets: list[float] = []
        self.stale = 0

    def until(self, stop: threading.Event) -> Iterator[tuple[str, str | None]]:
        """Key, and the value to set; None to get, whose result is told to `got`."""
        self.gets, self.sets, self.stale = [], [], 0
        for key, write in self._plan:
            if stop.is_set():
                return
            if write:
                self._writes += 1
                value = self._mine[key] = f"{self._writes}:{VALUE}"  # SQLite skips what is the same
                yield key, value
            else:
                yield key, None

    def got(self, key: str, value: str | None) -> None:
        mine = self._mine.get(key)
        if mine is not None and value != mine:
            self.stale += 1


def serve(parent: Connection, name: str, redis_url: str, directory: str) -> None:
    """The life of a system's process: a number of seconds comes in, a `Round` goes out; None ends it."""
    system = open_system(name, redis_url, Path(directory))
    values = {f"user:{n}": f"0:{VALUE}" for n in range(KEYS)}
    if isinstance(system, AsyncSystem):
        asyncio.run(_tasks(parent, system, values))
        return
    system.fill(values)
    workers = [Worker(n, THREADS) for n in range(THREADS)]
    parent.send("filled")
    while (seconds := parent.recv()) is not None:
        stop = threading.Event()
        threads = [threading.Thread(target=_drive, args=(system, worker, stop)) for worker in workers]
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        time.sleep(seconds)
        stop.set()
        for thread in threads:
            thread.join()
        parent.send(_round(workers, time.perf_counter() - began))
    system.close()


async def _tasks(parent: Connection, system: AsyncSystem, values: dict[str, str]) -> None:
    await system.open()
    await system.fill(values)
    workers = [Worker(n, TASKS) for n in range(TASKS)]
    parent.send("filled")
    while (seconds := await asyncio.to_thread(parent.recv)) is not None:
        stop = threading.Event()
        began = time.perf_counter()
        tasks = [asyncio.create_task(_adrive(system, worker, stop)) for worker in workers]
        await asyncio.sleep(seconds)
        stop.set()
        await asyncio.gather(*tasks)
        parent.send(_round(workers, time.perf_counter() - began))
    await system.close()


def _drive(system: System, worker: Worker, stop: threading.Event) -> None:
    clock = time.perf_counter
    for key, value in worker.until(stop):
        start = clock()
        if value is None:
            found = system.get(key)
            worker.gets.append(clock() - start)
            worker.got(key, found)
        else:
            system.set(key, value)
            worker.sets.append(clock() - start)


async def _adrive(system: AsyncSystem, worker: Worker, stop: threading.Event) -> None:
    clock = time.perf_counter
    for key, value in worker.until(stop):
        start = clock()
        if value is None:
            found = await system.get(key)
            worker.gets.append(clock() - start)
            worker.got(key, found)
        else:
            await system.set(key, value)
            worker.sets.append(clock() - start)


def _round(workers: Sequence[Worker], seconds: float) -> Round:
    gets = sorted(took for worker in workers for took in worker.gets)
    sets = sorted(took for worker in workers for took in worker.sets)
    return Round(
        rate=(len(gets) + len(sets)) / seconds,
        get_p50=_at(gets, 0.5),
        get_p99=_at(gets, 0.99),
        set_p50=_at(sets, 0.5),
        set_p99=_at(sets, 0.99),
        stale=sum(worker.stale for worker in workers),
    )


def _at(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1e6 if ordered else 0.0


def measure(names: Sequence[str], rounds: int, seconds: float) -> dict[str, list[Round]]:
    """Every system in turns; the first turn warms up and does not count."""
    results: dict[str, list[Round]] = {name: [] for name in names}
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tiered-bench-")))
        parents: dict[str, Connection] = {}
        for number, name in enumerate(names):
            server = RedisServer()
            stack.callback(server.stop)
            place = directory / str(number)
            place.mkdir()
            parents[name] = _begin(stack, name, server.url, place)
        for turn in range(rounds + 1):
            for name, parent in parents.items():
                print(f"\r[{turn} of {rounds}] {name:<24}", end="", file=sys.stderr, flush=True)
                parent.send(seconds)
                done = parent.recv()
                if turn:
                    results[name].append(done)
        print("\r" + " " * 40 + "\r", end="", file=sys.stderr)
        for parent in parents.values():
            parent.send(None)
    return results


def _begin(stack: ExitStack, name: str, url: str, directory: Path) -> Connection:
    parent, child = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(child, name, url, str(directory)))
    process.start()
    child.close()
    stack.callback(process.join, 30)
    assert parent.recv() == "filled"
    return parent


def table(results: dict[str, list[Round]]) -> Iterator[str]:
    """Medians, smallest to largest rate, and the verdicts."""
    yield f"{'':<24}{'calls/s':>9} {'min–max':>17}{'get p50':>10}{'p99':>9}{'set p50':>10}{'p99':>9} µs{'stale':>7}"
    for name, rounds in results.items():
        rates = [it.rate for it in rounds]
        span = f"({min(rates):,.0f}–{max(rates):,.0f})"
        columns = [
            statistics.median(getattr(it, field) for it in rounds)
            for field in ("get_p50", "get_p99", "set_p50", "set_p99")
        ]
        stale = sum(it.stale for it in rounds)
        figures = "".join(f"{value:>{width},.1f}" for value, width in zip(columns, (10, 9, 10, 9), strict=True))
        yield f"{name:<24}{statistics.median(rates):>9,.0f} {span:>17}{figures}   {stale:>7,}"
    for verdict in verdicts(results):
        yield f"{verdict['name']:<60}{verdict['ratio']:>7.2f}{_word(verdict)}"


def as_dict(results: dict[str, list[Round]]) -> dict[str, Any]:
    """For JSON."""
    return {
        "rounds": {name: [asdict(it) for it in them] for name, them in results.items()},
        "verdicts": verdicts(results),
    }


def verdicts(results: dict[str, list[Round]]) -> list[dict[str, Any]]:
    """Ratios of rates, turn by turn; the best peer of each comparison counts."""
    found = []
    for name, peers, asked in ASKED:
        there = [peer for peer in peers if results.get(peer)]
        if not results.get(name) or not there:
            continue
        best = max(there, key=lambda peer: statistics.median(it.rate for it in results[peer]))
        ratio = statistics.median(a.rate / b.rate for a, b in zip(results[name], results[best], strict=True))
        found.append(
            {"name": f"{name} / {best}", "ratio": ratio, "asked": asked, "met": asked is None or ratio >= asked}
        )
    return found


def _word(verdict: dict[str, Any]) -> str:
    asked = verdict["asked"]
    return "" if asked is None else f"  asked {asked}  {'ok' if verdict['met'] else 'MISSED'}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mixed", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--systems", help=f"separated by commas, of {', '.join(SYSTEMS)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    names = options.systems.split(",") if options.systems else [it for it in installed() if "breaker" not in it]
    print(machine.describe())
    results = measure(names, options.rounds, options.seconds)
    print("\n".join(table(results)))
    if options.json:
        options.json.write_text(json.dumps(as_dict(results), indent=1) + "\n")
    return int(any(it.stale for name, them in results.items() if name.startswith("tiered") for it in them))


if __name__ == "__main__":
    sys.exit(main())
