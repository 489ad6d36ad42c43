"""Couchbase for tests: its own wire-protocol mock, started here; a real server where TIERED_TEST_COUCHBASE names one.

scripts/ensure-couchbase-mock gets the mock. It keeps everything in memory, so one that was killed is empty when it is
started again; `vanish` and `reappear` are a server that goes away and comes back with its data.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import urllib.request
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.machine import tool
from tests.servers import free_port
from tests.waiting import eventually
from tiered import CouchbaseTier
from tiered.tiers.couchbase_batch import Mutation

REAL = os.environ.get("TIERED_TEST_COUCHBASE", "")
LACKS = "CouchbaseMock has no "
JAR = Path(
    os.environ.get("TIERED_TEST_COUCHBASE_MOCK") or Path(__file__).parents[1] / ".couchbase" / "CouchbaseMock.jar"
)
_OPTIONS = [
    "--host",
    "127.0.0.1",
    "--nodes",
    "1",
    "--vbuckets",
    "64",
    "--replicas",
    "0",
    "--cccp",
    "--buckets",
    "default::",
]


class CouchbaseMock:
    """One node with the bucket `default`, which lets everybody in."""

    def __init__(self) -> None:
        if not JAR.exists():
            raise RuntimeError(f"no {JAR.name}: run `make test`, or scripts/ensure-couchbase-mock, which gets it")
        self.start()

    def start(self) -> None:
        """The process; with another port and without data if it was killed."""
        port = free_port()
        command = [tool("java"), "-Xmx192m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-jar", str(JAR)]
        self._log = subprocess.DEVNULL
        self.process = subprocess.Popen([*command, "--port", str(port), *_OPTIONS], stdout=self._log, stderr=self._log)
        self._http = f"http://127.0.0.1:{port}/mock"
        eventually(self._is_up, "CouchbaseMock")
        (self.port,) = self._ask("get_mcports?bucket=default")["payload"]
        self.url = f"couchbase://tests:secret@127.0.0.1:{self.port}/default"

    def freeze(self) -> None:
        """Returns when all of its threads have stopped: one that goes on for a moment answers one more call."""
        self.process.send_signal(signal.SIGSTOP)
        eventually(lambda: all(state == "T" for state in self._states()), "that it stands still")

    def _states(self) -> list[str]:
        tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
        return [(task / "stat").read_text().rpartition(")")[2].split()[0] for task in tasks]

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def vanish(self) -> None:
        """The node closes its connections and its port; its data stay."""
        urllib.request.urlopen(f"{self._http}/failover?idx=0&bucket=default", timeout=30).close()

    def reappear(self) -> None:
        """The node is there again, under the same port."""
        self._ask("respawn?idx=0&bucket=default")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        self.thaw()
        self.kill()

    def _is_up(self) -> bool:
        if self.process.poll() is not None:
            raise RuntimeError(f"CouchbaseMock ended with {self.process.returncode} at its start")
        try:
            return bool(self._ask("get_mcports?bucket=default")["payload"])
        except OSError:
            return False

    def _ask(self, command: str) -> Any:
        with urllib.request.urlopen(f"{self._http}/{command}", timeout=30) as answer:
            return json.load(answer)


def fresh() -> str:
    """A prefix that no other test uses: servers are shared, and nobody may flush a bucket."""
    return f"t{uuid.uuid4().hex[:12]}"


def needs_a_real_server(what: str) -> None:
    """Ends a test that CouchbaseMock cannot serve; the summary names it."""
    if not REAL:
        pytest.skip(f"{LACKS}{what}; TIERED_TEST_COUCHBASE=couchbase://user:password@host/bucket makes it run")


def with_scans(tier: CouchbaseTier) -> CouchbaseTier:
    """`tier`, and if its server is the mock, a range scan of our own: over the ids that this tier has written."""
    if REAL:
        return tier
    link, written = tier._link, set[str]()
    mutate, mutate_many = link.mutate, link.mutate_many

    def note_one(it: Mutation) -> int:
        written.add(it.id)
        return mutate(it)

    def note_many(them: Sequence[Mutation]) -> list[int]:
        written.update(it.id for it in them)
        return mutate_many(them)

    def ids(prefix: str) -> Iterator[str]:
        link.fetch("any")  # a closed link says so
        return iter(sorted((id for id in written if id.startswith(prefix)), key=hash))

    link.mutate, link.mutate_many, link.ids = note_one, note_many, ids  # type: ignore[method-assign, assignment]
    return tier
