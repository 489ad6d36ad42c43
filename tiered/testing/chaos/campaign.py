"""A campaign: processes at work on one store, one fault after the other, and the verdict of the checker."""

from __future__ import annotations

import multiprocessing
import random
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tiered.backend import TieredBackend
from tiered.errors import ConfigError, StoreError
from tiered.testing.chaos.checker import Report, check
from tiered.testing.chaos.faults import FAULTS, SERVER_FAULTS, Injector, Server
from tiered.testing.chaos.history import Event, HistoryFile, read_history
from tiered.testing.chaos.proxy import Proxy
from tiered.testing.chaos.stack import Stack
from tiered.testing.chaos.workload import WorkerSpec, Workload, work

SETTLE = 20.0
"""Seconds that the tiers have at the end to agree again."""
GRACE = 30.0
"""Seconds that a process has to end; a call that takes longer is killed, and counts as never returned."""
PHASE = 8.0
"""Seconds for a fault and the recovery from it, at most: a longer campaign causes each of them more than once."""
BROKEN_SHARE = 0.4
"""How much of a fault's time it lasts; the rest is for coming back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a campaign does."""

    stack: Stack
    directory: Path
    """For the histories."""
    namespace: str
    seed: int
    server: Server | None = None
    """The Redis of the stack, if it may be harmed."""
    faults: Sequence[str] = FAULTS
    seconds: float = 30.0
    processes: int = 2
    threads: int = 2
    staleness: float = 1.5
    longest: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    """More options of each process's store, such as `read_order` and `feed`."""
    prepare: Callable[[], None] | None = None
    """Called in each process first; can be pickled. A test breaks the code here."""


def run(plan: Plan, say: Callable[[str], None] = print) -> Report:
    """Run the campaign and judge it; `say` gets a line per phase. Leaves nothing behind but the histories.

    Raises `ConfigError` for a plan that cannot work, and `StoreError` if a tier cannot be reached before any fault.
    """
    _check(plan)
    _reach(plan)
    proxies = [Proxy(plan.stack.host, plan.stack.port) for _ in range(plan.processes)]
    crew = _Crew(plan, proxies)
    try:
        crew.start()
        _phases(plan, crew, Injector(proxies, plan.server, crew.replace, seed=plan.seed), say)
        crew.stop()
        say("every process has ended; reading everything back")
        disagreeing = _read_back(plan)
        events = read_history(sorted(plan.directory.glob("*.jsonl")))
    finally:
        crew.stop()
        for proxy in proxies:
            proxy.close()
        with TieredBackend.from_url(plan.stack.url, namespace=plan.namespace) as store:
            store.clear()
    report = _judged(plan, crew, events)
    report.died, report.disagreeing = crew.died, disagreeing
    return report


def _check(plan: Plan) -> None:
    for fault in plan.faults:
        if fault not in FAULTS:
            raise ConfigError(f"unknown fault {fault!r}; known: {', '.join(FAULTS)}")
        if fault in SERVER_FAULTS and plan.server is None:
            raise ConfigError(f"{fault} harms the server itself, so it needs one of the kit's own: leave out --url")


def _reach(plan: Plan) -> None:
    """A tier that is away from the start would fail the campaign in the end, and nobody could say why."""
    with TieredBackend.from_url(plan.stack.url, namespace=plan.namespace) as store:
        try:
            store.set("reached", True)
            store.replay()  # raises what the cache tier said, if it did not take the key
        except StoreError:
            store.clear()
            raise


def _judged(plan: Plan, crew: _Crew, events: list[Event]) -> Report:
    return check(
        events,
        delta=plan.staleness,
        errors_allowed=plan.stack.redis_is_record,
        longest_allowed=plan.longest,
        killed=crew.killed,
    )


def _phases(plan: Plan, crew: _Crew, injector: Injector, say: Callable[[str], None]) -> None:
    """Warm up, then each fault and the recovery from it, in an order chosen by the seed."""
    faults = [fault for fault in plan.faults if fault != "abandon"]
    faults *= max(1, round(plan.seconds / PHASE / (len(faults) or 1)))
    random.Random(plan.seed).shuffle(faults)
    ending = "abandon" in plan.faults
    share = plan.seconds / (len(faults) + 1 + ending * BROKEN_SHARE)
    begun = time.monotonic()

    def phase(name: str, seconds: float) -> None:
        before, start = crew.calls(), time.monotonic()
        time.sleep(seconds)
        done, took = crew.calls() - before, time.monotonic() - start
        say(f"{time.monotonic() - begun:6.1f} s  {name:<34} {done:>8,} calls {done / took:>8,.0f}/s")

    phase("all is well", share)
    for fault in faults:
        whom = injector.on(fault)
        phase(f"{fault}: {whom}", share * BROKEN_SHARE)
        injector.off(fault)
        phase(f"after {fault}", share * (1 - BROKEN_SHARE))
    if ending:
        phase(f"abandon: {injector.on('abandon')}", share * BROKEN_SHARE)


class _Crew:
    """The processes at work, each behind a proxy of its own."""

    def __init__(self, plan: Plan, proxies: Sequence[Proxy]) -> None:
        self._plan, self._proxies = plan, proxies
        # Spawned, not forked: this process has threads. What is shared has no lock that a killed process could hold.
        self._context = multiprocessing.get_context("spawn")
        self._stopped: Any = self._context.RawValue("b", 0)
        self._counters: list[Any] = []
        self._running: dict[int, tuple[str, Any]] = {}
        self._lives = [0] * plan.processes
        self.killed: set[str] = set()
        self.died: list[str] = []
        """Who ended otherwise than asked to, and how."""

    def start(self) -> None:
        for number in range(self._plan.processes):
            self._spawn(number)
        deadline = time.monotonic() + GRACE
        while any(not any(counter) for counter in self._counters):
            if time.monotonic() > deadline or any(not process.is_alive() for _, process in self._running.values()):
                raise RuntimeError("a process of the workload did not get to work; its error is above")
            time.sleep(0.01)

    def replace(self, number: int) -> None:
        """SIGKILL process `number`, if it has not died before, and start another in its place."""
        self._kill(number)
        self._spawn(number)

    def calls(self) -> int:
        """Calls that have ended so far."""
        return sum(sum(counter) for counter in self._counters)

    def stop(self) -> None:
        """End all of them; one that cannot is killed, without being excused. Idempotent."""
        self._stopped.value = 1
        deadline = time.monotonic() + GRACE
        for name, process in self._running.values():
            process.join(max(0.1, deadline - time.monotonic()))
            late = process.is_alive()
            if late:
                process.kill()
            process.join()
            if late:
                self.died.append(f"{name} did not end within {GRACE:g} s")
            elif process.exitcode:
                self.died.append(_death(name, process.exitcode))
            process.close()
        self._running.clear()

    def _spawn(self, number: int) -> None:
        plan, name = self._plan, f"p{number}" + "'" * self._lives[number]
        self._lives[number] += 1
        spec = WorkerSpec(
            url=plan.stack.through(self._proxies[number].port),
            namespace=plan.namespace,
            process=name,
            history=plan.directory / f"{name}.jsonl",
            seed=plan.seed,
            until=time.monotonic() + 3 * plan.seconds + 60,
            threads=plan.threads,
            staleness=plan.staleness,
            options=plan.options,
            prepare=plan.prepare,
        )
        counter = self._context.RawArray("Q", plan.threads)
        process = self._context.Process(target=work, args=(spec, self._stopped, counter), daemon=True)
        process.start()
        self._counters.append(counter)
        self._running[number] = name, process

    def _kill(self, number: int) -> None:
        name, process = self._running.pop(number)
        if process.is_alive():
            process.kill()
            process.join()
            self.killed.add(name)
        else:
            self.died.append(_death(name, process.exitcode))
        process.close()


def _death(name: str, code: int) -> str:
    how = f"exit code {code}" if code >= 0 else f"signal {-code} ({signal.strsignal(-code)})"
    return f"{name}: {how}"


def _read_back(plan: Plan) -> int:
    """Read everything in a process that never saw it: at once, from the record alone, and when the tiers have settled.

    Returns how many entries `verify` then finds to differ between the tiers.
    """
    time.sleep(plan.staleness)
    recorder = HistoryFile(plan.directory / "final.jsonl")
    try:
        with TieredBackend.from_url(plan.stack.url, namespace=plan.namespace, staleness=plan.staleness) as fresh:
            _reader(plan, fresh, recorder, "fresh").read_all("lookup")
            _settle(fresh)
        with TieredBackend.from_url(plan.stack.record, namespace=plan.namespace) as record:
            _reader(plan, record, recorder, "record").read_all()
        with TieredBackend.from_url(plan.stack.url, namespace=plan.namespace) as whole:
            _reader(plan, whole, recorder, "settled").read_all()
            found = whole.verify()
            return sum(sum(tier.faults.values()) + bool(tier.error) for tier in found.tiers)
    finally:
        recorder.close()


def _reader(plan: Plan, store: TieredBackend, recorder: HistoryFile, process: str) -> Workload:
    return Workload(store, recorder, process=process, thread=0, seed=plan.seed)


def _settle(store: TieredBackend) -> None:
    """Until every tier is in service and owed nothing, for two looks of the keeper, or `SETTLE` seconds."""
    deadline, well = time.monotonic() + SETTLE, 0
    while well < 10 and time.monotonic() < deadline:
        time.sleep(0.1)
        states = [state for state in store.health().values() if "breaker" in state]
        busy = any(state["breaker"] != "closed" or state["owed"] for state in states)
        well = 0 if busy else well + 1
