"""One system under load in a process of its own: four threads, or 64 tasks for what is asyncio. Obeys its parent.

The parent sends the name of a phase when that begins, then "rest", then "end"; each is answered.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.outage.load import Call, Load, Outcome, Seen
from benchmarks.outage.plan import PHASES, Plan
from benchmarks.systems import AsyncSystem, System, open_system

THREADS = 4
TASKS = 64


@dataclass(frozen=True, slots=True)
class Report:
    """What the callers saw. `rates` are answered calls per second, by phase."""

    rates: dict[str, float]
    whole: Seen
    outage: Seen
    """Only what ended while the fault lasted, or after it."""
    written: dict[str, int]
    """Every key that was written, and the number of its last acknowledged write."""


def work(parent: Connection, name: str, redis_url: str, directory: str, plan: Plan) -> None:
    """The life of the process."""
    logging.getLogger().addHandler(logging.NullHandler())  # some peers log a traceback for every failed command
    system = open_system(name, redis_url, Path(directory))
    if isinstance(system, AsyncSystem):
        asyncio.run(_tasks(parent, system, Load(keys=plan.keys, seed=plan.seed, workers=TASKS)))
    else:
        _threads(parent, system, Load(keys=plan.keys, seed=plan.seed, workers=THREADS))


def _threads(parent: Connection, system: System, load: Load) -> None:
    system.fill(load.filling())
    parent.send("filled")
    with ThreadPoolExecutor(THREADS) as pool:
        workers = [pool.submit(_drive, system, load.calls(n)) for n in range(THREADS)]
        _obey(parent, load)
        for worker in workers:
            worker.result()
    parent.send(_report(load))
    parent.recv()
    parent.send(system.converged())
    system.close()


async def _tasks(parent: Connection, system: AsyncSystem, load: Load) -> None:
    await system.open()
    await system.fill(load.filling())
    parent.send("filled")
    workers = [asyncio.create_task(_adrive(system, load.calls(n))) for n in range(TASKS)]
    await asyncio.to_thread(_obey, parent, load)
    await asyncio.gather(*workers)
    parent.send(_report(load))
    await asyncio.to_thread(parent.recv)
    parent.send(None)
    await system.close()


def _drive(system: System, calls: Generator[Call, Outcome, None]) -> None:
    outcome: Any = None
    while True:
        try:
            key, value = calls.send(outcome)
        except StopIteration:
            return
        try:
            outcome = system.get(key) if value is None else system.set(key, value)
        except Exception as error:  # whatever a system raises is what its caller sees: counted and reported
            outcome = error


async def _adrive(system: AsyncSystem, calls: Generator[Call, Outcome, None]) -> None:
    outcome: Any = None
    while True:
        try:
            key, value = calls.send(outcome)
        except StopIteration:
            return
        try:
            outcome = await system.get(key) if value is None else await system.set(key, value)
        except Exception as error:  # as above
            outcome = error


def _obey(parent: Connection, load: Load) -> None:
    """Until the parent says "rest". Each phase is answered with the rate of the one before it."""
    before: str | None = None
    while (phase := parent.recv()) != "rest":
        load.enter(phase)
        parent.send(load.rate(before) if before else None)
        before = phase
    load.stop()


def _report(load: Load) -> Report:
    rates = {phase: load.rate(phase) for phase in PHASES}
    return Report(rates, load.seen(*PHASES), load.seen("during", "after"), load.ledger.written())
