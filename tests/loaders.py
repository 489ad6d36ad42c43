"""Processes that ask for one key with a loader that the test holds and lets go."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from threading import Thread

from tests.waiting import LIMIT, eventually

PROGRAM = """
import sys, threading, time
from pathlib import Path
from tiered import FileTier, MemoryTier, RedisTier, TieredBackend

name, directory, redis, lease_ttl, patience = sys.argv[1], Path(sys.argv[2]), sys.argv[3], *map(float, sys.argv[4:])
say = lambda *words: print(*words, flush=True)

def loader():
    say("loading")
    while not (directory / f"go-{name}").exists():
        time.sleep(0.005)
    return f"from {name}"

def watch():
    while not store.stats()["namespace"]["waited"]:
        time.sleep(0.005)
    say("waiting")

tiers = [MemoryTier(), FileTier(directory / "data")]
if redis:
    tiers.insert(1, RedisTier(redis, timeout=1.0, connect_timeout=1.0))
with TieredBackend(tiers, lease_ttl=lease_ttl, load_patience=patience) as store:
    store.get("warm")
    threading.Thread(target=watch, daemon=True).start()
    say("ready")
    for line in sys.stdin:
        say("got", store.get_or_set("k", loader, ttl=600))
"""


class Loader:
    """One such process. `said` is what it has printed so far."""

    def __init__(self, name: str, directory: Path, redis: str, lease_ttl: float, patience: float) -> None:
        self.name, self._directory = name, directory
        self.said: list[str] = []
        command = [sys.executable, "-W", "error", "-c", PROGRAM, name, str(directory), redis]
        self.process = subprocess.Popen(
            [*command, str(lease_ttl), str(patience)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()

    def ask(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("ask\n")
        self.process.stdin.flush()

    def let_go(self) -> None:
        (self._directory / f"go-{self.name}").touch()

    def until(self, word: str) -> None:
        eventually(lambda: word in self.said, f"{self.name}: {word!r} after {self.said}")

    def got(self) -> str:
        """The value that it was given."""
        eventually(lambda: any(line.startswith("got ") for line in self.said), f"{self.name}: got, after {self.said}")
        return next(line for line in self.said if line.startswith("got ")).removeprefix("got ")

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)

    def end(self) -> None:
        """Let it end by itself if it can; the test has ended."""
        for stream in (self.process.stdin,):
            if stream is not None:
                stream.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(LIMIT)
        self._reader.join(LIMIT)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line.strip())
