"""A seeded workload that records what it does: threads on a backend, also in processes of their own."""

from __future__ import annotations

import logging
import random
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

from tiered.backend import TieredBackend
from tiered.errors import StoreError
from tiered.testing.chaos.history import Event, HistoryFile, Recorder, Token

MIX = {"get": 30, "lookup": 25, "get_many": 8, "set": 18, "set_many": 4, "delete": 6, "increment": 5, "update": 4}
"""Operations and their weights."""
QUIET = "q0"
"""A key that is read often and written seldom: of it alone does a memory hold an old value for long, if nobody tells it of a new one."""
QUIET_READS, QUIET_WRITES = 0.4, 0.005
"""The shares of reads and writes that are about it."""


class Done(NamedTuple):
    """What a call did with one key."""

    value: Token
    version: int = 0
    base: Token = None
    tier: str = ""


class Workload:
    """One thread's share: random operations on `keys` keys, a few counters and a quiet key, every one recorded.

    Counters (n0, n1, …) are only incremented and read, so that their values tell their order. `thread` must be unique
    in `process`, and `process` among the backends of the run. A call that raises is recorded and the work goes on.
    """

    def __init__(
        self, store: TieredBackend, recorder: Recorder, *, process: str, thread: int, seed: int, keys: int = 16
    ) -> None:
        self._store, self._recorder, self._process, self._thread = store, recorder, process, thread
        self._random = random.Random(f"{seed}-{process}-{thread}")
        self._keys = [f"k{n}" for n in range(keys)]
        self._counters = [f"n{n}" for n in range(max(1, keys // 4))]
        self._calls = count()
        self.finished = 0

    def run(self, stop: Callable[[], bool], pause: float = 0.0) -> None:
        """Work until `stop()`, with random pauses of up to twice `pause` seconds."""
        while not stop():
            self.step()
            if pause:
                time.sleep(2 * pause * self._random.random())

    def step(self) -> None:
        """One random operation."""
        (op,) = self._random.choices(list(MIX), list(MIX.values()))
        getattr(self, f"_{op}")()
        self.finished += 1

    def read_all(self, op: str = "final") -> None:
        """Look every key up, recorded as `op`."""
        for key in [*self._keys, *self._counters, QUIET]:
            self._read(op, [key], lambda key=key: {key: self._looked_up(key)})  # type: ignore[misc]  # mypy on defaults

    # Reading

    def _get(self) -> None:
        key = self._any()
        self._read("get", [key], lambda: {key: Done(_token(self._store.get(key)))})

    def _lookup(self) -> None:
        key = self._any()
        self._read("lookup", [key], lambda: {key: self._looked_up(key)})

    def _get_many(self) -> None:
        keys = self._random.sample(self._keys, min(5, len(self._keys)))

        def call() -> dict[str, Done]:
            values = self._store.get_many(keys)
            return {key: Done(_token(values.get(key))) for key in keys}

        self._read("get_many", keys, call)

    def _looked_up(self, key: str) -> Done:
        found = self._store.lookup(key)
        return Done(_token(found.value), found.version, tier=found.tier or "")

    # Writing

    def _set(self) -> None:
        key, token = self._writable(), self._new()
        self._write("set", {key: token}, lambda: {key: Done(token, self._store.set(key, self._value(token)).version)})

    def _set_many(self) -> None:
        tokens = {key: f"{self._new()}.{key}" for key in self._random.sample(self._keys, min(4, len(self._keys)))}

        def call() -> dict[str, Done]:
            outcomes = self._store.set_many({key: self._value(token) for key, token in tokens.items()})
            return {key: Done(token, outcomes[key].version) for key, token in tokens.items()}

        self._write("set_many", tokens, call)

    def _delete(self) -> None:
        key = self._writable()

        def call() -> dict[str, Done]:
            self._store.delete(key)
            return {key: Done(None)}

        self._write("delete", {key: None}, call)

    def _increment(self) -> None:
        key = self._random.choice(self._counters)
        self._write("increment", {key: None}, lambda: {key: Done(self._store.increment(key))})

    def _update(self) -> None:
        key, token = self._writable(), self._new()
        bases: list[Token] = []

        def follow(value: Any) -> dict[str, Any]:
            bases.append(_token(value))
            return {"id": token, "base": bases[-1]}

        def call() -> dict[str, Done]:
            self._store.update(key, follow)
            return {key: Done(token, base=bases[-1])}

        self._write("update", {key: token}, call)

    # Recording

    def _read(self, op: str, keys: Iterable[str], call: Callable[[], Mapping[str, Done]]) -> None:
        number, start = self._number(), time.monotonic()
        self._finish([Event(self._process, number, op, key, start) for key in keys], call)

    def _write(self, op: str, tokens: Mapping[str, Token], call: Callable[[], Mapping[str, Done]]) -> None:
        number, start = self._number(), time.monotonic()
        begun = [Event(self._process, number, op, key, start, value=token) for key, token in tokens.items()]
        for event in begun:
            self._recorder.add(event)
        self._finish(begun, call)

    def _finish(self, begun: list[Event], call: Callable[[], Mapping[str, Done]]) -> None:
        done, error = dict[str, Done](), ""
        try:
            done = dict(call())
        except Exception as caught:  # recorded, so that the checker judges it
            error = _kind(caught)
        end = time.monotonic()
        for event in begun:
            it = done.get(event.key, Done(event.value))
            self._recorder.add(
                event._replace(end=end, value=it.value, version=it.version, base=it.base, tier=it.tier, error=error)
            )

    def _number(self) -> int:
        return next(self._calls) * 1000 + self._thread

    def _new(self) -> str:
        return f"{self._process}.{self._thread}.{next(self._calls)}"

    def _any(self) -> str:
        return QUIET if self._random.random() < QUIET_READS else self._random.choice(self._keys + self._counters)

    def _writable(self) -> str:
        return QUIET if self._random.random() < QUIET_WRITES else self._random.choice(self._keys)

    def _value(self, token: str) -> Any:
        """Immutable and mutable values take different ways through memory."""
        return token if self._random.random() < 0.5 else {"id": token, "pad": "x" * self._random.randrange(200)}


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSpec:
    """What a process of its own needs to work; it can be pickled."""

    url: str
    namespace: str
    process: str
    history: Path
    seed: int
    until: float
    """CLOCK_MONOTONIC seconds; it ends then even if nobody tells it."""
    threads: int = 2
    keys: int = 16
    pause: float = 0.002
    staleness: float = 1.5
    options: Mapping[str, Any] = field(default_factory=dict)
    """More options of the store."""
    prepare: Callable[[], None] | None = None
    """Called first: a test breaks the code here."""


def work(spec: WorkerSpec, stopped: Any, calls: Any) -> None:
    """A process's main function: work until `spec.until` or `stopped.value`, counting calls in `calls[thread]`.

    Both are shared memory without locks, since a worker may be killed at any moment.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends us and checks
    logging.getLogger("tiered").setLevel(logging.ERROR)  # that tiers go out of service is what we are here for
    if spec.prepare is not None:
        spec.prepare()
    recorder = HistoryFile(spec.history)
    try:
        options = {"namespace": spec.namespace, "staleness": spec.staleness, **spec.options}
        with TieredBackend.from_url(spec.url, **options) as store:
            jobs = [
                Workload(store, recorder, process=spec.process, thread=n, seed=spec.seed, keys=spec.keys)
                for n in range(spec.threads)
            ]

            def stop() -> bool:
                for number, job in enumerate(jobs):
                    calls[number] = job.finished
                return bool(stopped.value) or time.monotonic() > spec.until

            run_threads(jobs, stop, pause=spec.pause)
    finally:
        recorder.close()


def run_threads(jobs: Iterable[Workload], stop: Callable[[], bool], *, pause: float = 0.0) -> None:
    """Run each of `jobs` in a thread until `stop()`, and wait for all of them; raises what ended one before that."""
    raised: list[BaseException] = []

    def run(job: Workload) -> None:
        try:
            job.run(stop, pause)
        except BaseException as error:  # of whatever kind: a thread that is gone does no work, and finds nothing
            raised.append(error)

    threads = [Thread(target=run, args=(job,), daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if raised:
        raise RuntimeError("a thread of the workload ended before its time") from raised[0]


def _token(value: Any) -> Token:
    """What identifies `value`; anything that no workload wrote comes out as its own description."""
    if value is None or isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    if isinstance(value, dict) and isinstance(value.get("id"), str):
        return str(value["id"])
    return f"not of this workload: {value!r:.40}"


def _kind(error: Exception) -> str:
    reason = f" {error.reason}" if isinstance(error, StoreError) else ""
    return type(error).__name__ + reason
