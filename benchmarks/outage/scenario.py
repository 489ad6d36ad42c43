"""One system under load, in a process of its own, while one fault comes and goes."""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.outage.faults import FAULTS, Fault
from benchmarks.outage.fresh import FreshReads, read_afresh
from benchmarks.outage.outcome import Outcome
from benchmarks.outage.plan import Plan
from benchmarks.outage.worker import Report, work
from tests.servers import RedisServer

Tell = Callable[[str], None]
PATIENCE = 120.0
"""Seconds after which a system that does not answer has hung for good."""


def run(system: str, fault: str, plan: Plan, tell: Tell) -> Outcome:
    """Run `system` through `fault` with a Redis and a directory of their own."""
    with (
        _fated_server(fault) as fate,
        tempfile.TemporaryDirectory(prefix="tiered-outage-") as directory,
        _Worker(system, fate.url, directory, plan) as worker,
    ):
        tell("fill")
        worker.answer()
        _phases(worker, fate, plan, tell)
        report: Report = worker.ask("rest")
        tell("fresh process")
        fresh = read_afresh(system, fate.url, Path(directory), report.written)  # at once: replay may still be at it
        converged: bool | None = worker.ask("end")
    return _outcome(system, fault, report, fresh, converged)


def _phases(worker: _Worker, fate: Fault, plan: Plan, tell: Tell) -> None:
    """Let each phase last; the worker counts its own time."""
    actions: dict[str, tuple[Callable[[], None], float]] = {
        "warm": (lambda: None, plan.warm),
        "before": (fate.prepare, plan.before),
        "during": (fate.begin, plan.during),
        "after": (fate.end, plan.after),
    }
    for phase, (act, seconds) in actions.items():
        act()
        rate = worker.ask(phase)
        tell(phase if rate is None else f"{phase} ({rate:,.0f} calls/s until here)")
        time.sleep(seconds)


@contextmanager
def _fated_server(fault: str) -> Iterator[Fault]:
    server = RedisServer()
    try:
        fate = FAULTS[fault](server)
        try:
            yield fate
        finally:
            fate.close()
    finally:
        server.stop()


class _Worker:
    """The process with the system in it, from outside."""

    def __init__(self, system: str, redis_url: str, directory: str, plan: Plan) -> None:
        context = multiprocessing.get_context("spawn")
        self._system = system
        self._pipe, theirs = context.Pipe()
        arguments = (theirs, system, redis_url, directory, plan)
        self._process = context.Process(target=work, args=arguments, name=f"outage-{system}")
        self._process.start()
        theirs.close()

    def ask(self, command: str) -> Any:
        self._pipe.send(command)
        return self.answer()

    def answer(self) -> Any:
        """Raises `RuntimeError` if none comes."""
        if not self._pipe.poll(PATIENCE):
            raise RuntimeError(f"{self._system} has not answered for {PATIENCE:.0f} s")
        try:
            return self._pipe.recv()
        except EOFError:
            raise RuntimeError(f"the process of {self._system} ended early; its traceback is above") from None

    def __enter__(self) -> _Worker:
        return self

    def __exit__(self, failed: object, *_: object) -> None:
        self._process.join(0 if failed else PATIENCE)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._pipe.close()


def _outcome(system: str, fault: str, report: Report, fresh: FreshReads, converged: bool | None) -> Outcome:
    whole = report.whole
    errors = Counter(whole.errors)
    errors.update({f"{name} (fresh process)": count for name, count in fresh.errors.items()})
    return Outcome(
        system=system,
        fault=fault,
        before=report.rates["before"],
        during=report.rates["during"],
        after=report.rates["after"],
        longest_ms=report.outage.longest * 1000,
        errors=dict(errors),
        false_misses=whole.false_misses,
        stale_reads=whole.stale_reads,
        oldest_ms=whole.oldest * 1000,
        acknowledged=whole.acknowledged,
        written_keys=len(report.written),
        lost=fresh.lost,
        old=fresh.old,
        converged=converged,
    )
