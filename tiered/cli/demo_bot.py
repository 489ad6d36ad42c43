"""The demo's bot: users write, and it remembers state, counters and histories, and what was acknowledged."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from functools import partial
from itertools import accumulate
from typing import Any

from tiered.backend import TieredBackend
from tiered.errors import Ambiguous, TieredError

SAMPLES = 20_000
ROOMS = 20
KEPT = 20
"""Lines of a history."""


class Series:
    """Durations in seconds: how many, the longest, and a fair sample of all of them in bounded memory."""

    def __init__(self) -> None:
        self.count, self.longest, self.sample = 0, 0.0, list[float]()

    def add(self, took: float) -> None:
        self.count += 1
        self.longest = max(self.longest, took)
        if len(self.sample) < SAMPLES:
            self.sample.append(took)
        elif (place := int(random.random() * self.count)) < SAMPLES:
            self.sample[place] = took


class Bot:
    """One worker thread's share of the users, with a ledger of every acknowledged write.

    `ledger` holds what only this thread writes; `shared` counts this thread's part of what all threads write;
    `unsure` holds the keys whose write ended as `Ambiguous`. Other threads only read, and set `phase`.
    """

    def __init__(self, store: TieredBackend, users: int, threads: int, number: int, seed: int) -> None:
        self._store, self._random = store, random.Random(f"{seed}-{number}")
        self._users = range(number, users, threads)
        self._weights = list(accumulate(1 / rank for rank in range(1, len(self._users) + 1)))  # Zipf
        self.ledger: dict[str, Any] = {}
        self.shared: Counter[str] = Counter()
        self.unsure: set[str] = set()
        self.times: defaultdict[str, Series] = defaultdict(Series)
        self.read_times: defaultdict[str, Series] = defaultdict(Series)
        self.written: Counter[tuple[str, str]] = Counter()
        self.phase = "before"
        self.longest: dict[str, float] = {}
        self.noticed: list[str] = []
        self.operations = self.errors = self.reads = self.memory_reads = 0

    def run(self, stop: threading.Event) -> None:
        """Handle messages until `stop`; every error is kept, since the bot must not notice anything."""
        try:
            self._greet(stop)
            while not stop.is_set():
                user = self._random.choices(self._users, cum_weights=self._weights)[0]
                self._message(user)
        except Exception as error:  # a thread that died silently would look like a demo that passed
            self._note(f"thread died: {type(error).__name__}: {error}")

    def _greet(self, stop: threading.Event) -> None:
        """Every user has said hello once: their states, a hundred in a batch."""
        for start in range(0, len(self._users), 100):
            if stop.is_set():
                return
            states = {f"state:{user}": {"user": user, "seen": 0} for user in self._users[start : start + 100]}
            outcomes = self._try("set_many", list(states), partial(self._store.set_many, states))
            if outcomes is not None:
                self.ledger.update(states)
                for outcome in outcomes.values():
                    self.written.update(outcome.tiers.items())

    def _message(self, user: int) -> None:
        """A message: look at who wrote and at others, then change what the bot knows."""
        state = self._read(f"state:{user}") or {"user": user, "seen": 0}
        for other in self._random.choices(self._users, cum_weights=self._weights, k=6):
            self._read(f"state:{other}")
        self._remember(f"state:{user}", {**state, "seen": state["seen"] + 1})
        if self._random.random() < 0.3:
            self._count(user)
        if self._random.random() < 0.3:
            self._append(user)

    def _remember(self, key: str, state: dict[str, Any]) -> None:
        outcome = self._try("set", [key], partial(self._store.set, key, state))
        if outcome is not None:
            self.ledger[key] = state
            self.written.update(outcome.tiers.items())

    def _count(self, user: int) -> None:
        key = f"count:{user}"
        value = self._try("increment", [key], partial(self._store.increment, key))
        if value is not None:
            self.ledger[key] = value
        if self._try("increment", ["messages"], partial(self._store.increment, "messages")) is not None:
            self.shared["messages"] += 1

    def _append(self, user: int) -> None:
        """To the user's own history, and to that of a room that all threads write in."""
        line, room = f"message {self.operations} of user {user}", f"room:{user % ROOMS}"

        def appended(lines: list[str]) -> list[str]:
            return [*lines, line][-KEPT:]

        def told(held: dict[str, Any]) -> dict[str, Any]:
            return {"count": held["count"] + 1, "lines": appended(held["lines"])}

        key = f"history:{user}"
        lines = self._try("update", [key], partial(self._store.update, key, appended, default=[]))
        if lines is not None:
            self.ledger[key] = lines
        start: dict[str, Any] = {"count": 0, "lines": []}
        if self._try("update", [room], partial(self._store.update, room, told, default=start)) is not None:
            self.shared[room] += 1

    def _read(self, key: str) -> Any:
        start = time.perf_counter()
        found = self._try("get", [], partial(self._store.lookup, key))
        if found is None:
            return None
        self.read_times[found.tier or "none"].add(time.perf_counter() - start)
        self.reads += 1
        self.memory_reads += found.tier == "memory"
        return found.value

    def _try(self, name: str, keys: list[str], call: Callable[[], Any]) -> Any:
        """The result of `call`, timed; None after an error, which is kept. `keys` are those it writes."""
        start = time.perf_counter()
        try:
            return call()
        except TieredError as error:
            self._note(str(error))
            if isinstance(error, Ambiguous):
                self.unsure.update(keys)
        finally:
            took, phase = time.perf_counter() - start, self.phase
            self.longest[phase] = max(self.longest.get(phase, 0.0), took)
            self.operations += 1
            self.times[name].add(took)

    def _note(self, text: str) -> None:
        self.errors += 1
        if len(self.noticed) < 5:
            self.noticed.append(text)
