"""The demo's bot: users write, and it remembers state, counters and histories, and what was acknowledged."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any

from tiered.backend import TieredBackend
from tiered.errors import TieredError

SAMPLES = 50_000


class Bot:
    """One worker thread's share of the users, with a ledger of every acknowledged write."""

    def __init__(self, store: TieredBackend, users: int, threads: int, number: int, seed: int) -> None:
        self._store, self._random = store, random.Random(f"{seed}-{number}")
        self._users = range(number, users, threads)
        self.ledger: dict[str, Any] = {}
        self.times: defaultdict[str, list[float]] = defaultdict(list)
        self.read_times: defaultdict[str, list[float]] = defaultdict(list)
        self.written: Counter[tuple[str, str]] = Counter()
        self.operations = self.messages = self.errors = 0
        self.longest = 0.0

    def run(self, stop: threading.Event) -> None:
        """Handle messages until `stop`; the store's errors are counted, since the bot must not notice anything."""
        self.greet()
        while not stop.is_set():
            user = self._users[min(len(self._users) - 1, int(self._random.paretovariate(0.8)) - 1)]
            try:
                self._message(user)
            except TieredError as error:
                self.errors += 1
                print(f"\nthe bot noticed: {error}")

    def greet(self) -> None:
        """Every user has said hello once: their states, a hundred in a batch."""
        for start in range(0, len(self._users), 100):
            states = {f"state:{user}": {"user": user, "seen": 0} for user in self._users[start : start + 100]}
            for outcome in self._store.set_many(states).values():
                self.written.update(outcome.tiers.items())
            self.ledger.update(states)

    def _message(self, user: int) -> None:
        """A message: look at who wrote and what was said, now and then change it."""
        state = self._timed("get", lambda: self._read(f"state:{user}"))
        for _ in range(6):
            other = self._random.choice(self._users[:400])
            self._timed("get", partial(self._read, f"state:{other}"))
        state["seen"] += 1
        outcome = self._timed("set", lambda: self._store.set(f"state:{user}", state))
        self.written.update(outcome.tiers.items())
        self.ledger[f"state:{user}"] = state
        if self._random.random() < 0.3:
            self._timed("increment", lambda: self._store.increment("messages"))
            self.messages += 1
        if self._random.random() < 0.3:
            line, key = f"message {self.messages}", f"history:{user}"
            self.ledger[key] = self._timed(
                "update", lambda: self._store.update(key, lambda lines: [*lines, line][-20:], default=[])
            )

    def _read(self, key: str) -> Any:
        start = time.perf_counter()
        found = self._store.lookup(key)
        if len(self.read_times[found.tier or "none"]) < SAMPLES:
            self.read_times[found.tier or "none"].append(time.perf_counter() - start)
        return found.value

    def _timed(self, name: str, call: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = call()
        took = time.perf_counter() - start
        self.longest = max(self.longest, took)
        self.operations += 1
        if len(self.times[name]) < SAMPLES:
            self.times[name].append(took)
        return result
