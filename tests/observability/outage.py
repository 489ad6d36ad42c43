"""A bot with real parts through a real Redis outage, scraped by a real Prometheus: for the tests, and for the pictures."""

from __future__ import annotations

import random
import re
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

from prometheus_client import CollectorRegistry

from tests.prometheus import GRAFANA, Prometheus
from tests.servers import RedisServer
from tests.waiting import LIMIT, eventually
from tiered import FileTier, MemoryTier, RedisTier, TieredBackend
from tiered.observability.metrics import serve_metrics

SCRAPE = 0.5
EXPECTED = frozenset({"TieredBreakerOpen", "TieredInvalidationDisconnected", "TieredReplayStuck"})
"""What fires when Redis is away."""
HURRY = 60
"""So much faster than in the shipped rules does time go in the rules of a run."""
RATE = "5s"
"""What `$__rate_interval` is in a run."""


def filled_in(expression: str) -> str:
    """A panel's query with the dashboard's variables as they are when nothing is chosen."""
    expression = expression.replace("$__rate_interval", RATE)
    for variable in ("$job", "$instance", "$cache"):
        expression = expression.replace(variable, ".+")
    return expression


def hurried(rules: str) -> str:
    """Alerts whose waiting times and ranges are `HURRY` times shorter; numbers of seconds in expressions, too."""
    units = {"m": 60, "h": 3600, "d": 86400}
    fast = re.sub(
        r"(?<=[\[ ])(\d+)([mhd])\b",
        lambda found: f"{max(2, round(int(found[1]) * units[found[2]] / HURRY))}s",
        rules,
    )
    return fast.replace("10 * 60", str(10 * 60 // HURRY))


def configure(directory: Path) -> None:
    """The shipped configuration, hurried, with `directory`/targets to write to."""
    text = (GRAFANA / "prometheus/prometheus.yml").read_text()
    (directory / "rules").mkdir(parents=True)
    (directory / "prometheus.yml").write_text(
        text.replace("_interval: 15s", f"_interval: {int(SCRAPE * 1000)}ms").replace(
            "refresh_interval: 30s", "refresh_interval: 1s"
        )
    )
    for path in (GRAFANA / "prometheus/rules").glob("*.yml"):
        # The range of a rate must hold two scrapes; windows of days would hold no end of a short run.
        (directory / "rules" / path.name).write_text(hurried(path.read_text()))


class Bot:
    """Two stores over one directory and one Redis, as two processes have them, and users who talk to both."""

    def __init__(self, directory: Path, redis_url: str) -> None:
        self.stores = [self._store(directory, redis_url, name) for name in ("bot", "worker")]
        self._stop = threading.Event()
        self.errors: list[Exception] = []
        self._threads = [threading.Thread(target=self._user, args=(n,), daemon=True) for n in range(4)]
        for thread in self._threads:
            thread.start()

    def _store(self, directory: Path, redis_url: str, name: str) -> TieredBackend:
        tiers = [MemoryTier(max_bytes=300 * 1024), RedisTier(redis_url), FileTier(directory, sync="normal")]
        return TieredBackend(tiers, name=name)

    def _user(self, number: int) -> None:
        dice, store = random.Random(number), self.stores[number % 2]
        sessions = store.namespace("sessions")
        while not self._stop.is_set():
            try:
                self._say_something(dice, store, sessions)
            except Exception as error:
                self.errors.append(error)
            self._stop.wait(0.004)

    def _say_something(self, dice: random.Random, store: TieredBackend, sessions: TieredBackend) -> None:
        user = f"user:{min(int(dice.expovariate(1 / 200)), 2000)}"
        for _ in range(4):
            store.get(user)
        sessions.get(f"session:{dice.randrange(900)}")
        store.get_many([f"user:{dice.randrange(2000)}" for _ in range(5)])
        turn = dice.random()
        if turn < 0.3:
            sessions.set(f"session:{dice.randrange(900)}", {"text": "x" * dice.randrange(300)}, ttl=60)
        elif turn < 0.4:
            store.set(user, dice.random())
        elif turn < 0.5:
            store.set_many({f"user:{dice.randrange(2000)}": dice.random() for _ in range(5)})
        elif turn < 0.55:
            store.delete(user)
        elif turn < 0.65:
            store.increment("messages")
        elif turn < 0.68:
            store.add(f"seen:{dice.randrange(10**6)}", 1, ttl=2)
        else:
            self._load(dice, store)

    def _load(self, dice: random.Random, store: TieredBackend) -> None:
        """A value that expires soon and whose source is slow, and fails now and then."""

        def loader() -> str:
            time.sleep(dice.random() / 50)
            if dice.random() < 0.3:
                raise LookupError("the weather service does not answer")
            return "sunny"

        try:
            store.get_or_set(f"weather:{dice.randrange(5)}", loader, ttl=0.3, stale_ttl=30)
        except LookupError:
            return

    def close(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=30)
        for store in self.stores:
            store.close()


class Outage:
    """The run. Each phase is a time in Unix seconds; `prometheus` can be asked until `close`."""

    def __init__(self, directory: Path, *, seconds: tuple[float, float, float]) -> None:
        self.healthy, self.away, self.back = seconds
        self._directory = directory
        configure(directory)
        self.redis = RedisServer()
        self.bot = Bot(directory / "store", self.redis.url)
        self.metrics = serve_metrics(targets=directory / "targets", registry=CollectorRegistry())
        self.prometheus = Prometheus(directory)
        self.seen: dict[str, set[str]] = {}

    def run(self, told: Callable[[str], None] = lambda _: None) -> None:
        """Healthy, then without Redis, then with it again; notes which alerts fired when."""
        eventually(lambda: self.prometheus.query("tiered_build_info"), "a scrape")
        eventually(lambda: not self.prometheus.firing(), "an evaluation after it")
        self.started = time.time()
        told("healthy")
        self._pass("healthy", self.healthy)
        told("Redis is killed")
        self.killed = time.time()
        self.redis.kill()
        self._pass("away", self.away, until=EXPECTED)
        told("Redis is back, empty")
        self.restarted = time.time()
        self.redis.start()
        for store in self.bot.stores:
            eventually(lambda store=store: store.health()["redis"]["breaker"] == "closed", "the return of Redis")  # type: ignore[misc]  # bound now
        self._pass("back", self.back)
        self.ended = time.time()

    def _pass(self, phase: str, seconds: float, until: frozenset[str] = frozenset()) -> None:
        """At least so many seconds, and until these alerts have fired, for as long as a test may wait."""
        fired = self.seen[phase] = set()
        ends = time.monotonic() + seconds
        while time.monotonic() < ends or (not until <= fired and time.monotonic() < ends + LIMIT):
            fired |= self.prometheus.firing()
            time.sleep(SCRAPE)

    def close(self) -> None:
        self.prometheus.stop()
        self.bot.close()
        self.metrics.close()
        self.redis.stop()
        shutil.rmtree(self._directory, ignore_errors=True)
