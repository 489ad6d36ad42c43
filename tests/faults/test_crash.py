"""SIGKILL in the middle of writing: nothing acknowledged is lost, and several processes share a directory."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tiered import ConfigError, FileTier, TieredBackend

WRITER = """
import sys
from tiered import FileTier, MemoryTier, TieredBackend
store = TieredBackend([MemoryTier(), FileTier(sys.argv[1])])
n = store.get("n", 0)
while True:
    n += 1
    store.set_many({"n": n, f"k{n % 7}": n})
    print(n, flush=True)
"""


def test_durable_nothing_acknowledged_is_lost_to_sigkill(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    rng = random.Random(seed)
    for _ in range(8):
        child = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(rng.uniform(0.01, 0.2))
        child.kill()
        acknowledged = max(int(line) for line in child.stdout.read().splitlines() or ["0"])
        child.wait()
        child.stdout.close()
        with TieredBackend([FileTier(tmp_path)]) as store:
            n = store.get("n")
            assert n >= acknowledged
            assert store.get(f"k{n % 7}") == n  # a batch is all or nothing


COUNTER = """
import sys
from tiered import FileTier, MemoryTier, TieredBackend
with TieredBackend([MemoryTier(), FileTier(sys.argv[1])]) as store:
    for _ in range(100):
        store.increment("n")
"""


def test_several_processes_on_one_directory_lose_no_update(tmp_path: Path) -> None:
    children = [subprocess.Popen([sys.executable, "-c", COUNTER, str(tmp_path)]) for _ in range(4)]
    assert [child.wait(120) for child in children] == [0] * 4
    with TieredBackend([FileTier(tmp_path)]) as store:
        assert store.get("n") == 400


def test_shared_false_refuses_a_second_opener_and_is_freed_by_sigkill(tmp_path: Path) -> None:
    code = "import sys, time; from tiered import FileTier; t = FileTier(sys.argv[1], shared=False); print('up', flush=True); time.sleep(60)"
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None and child.stdout.readline() == "up\n"
    with pytest.raises(ConfigError, match="in use"):
        FileTier(tmp_path)
    child.kill()
    child.wait()
    child.stdout.close()
    FileTier(tmp_path, shared=False).close()


def test_a_forked_child_uses_connections_of_its_own(tmp_path: Path) -> None:
    with TieredBackend([FileTier(tmp_path)]) as store:
        store.set("k", 1)
        pid = os.fork()
        if pid == 0:
            os._exit(0 if store.increment("k") == 2 else 1)
        assert os.waitpid(pid, 0)[1] == 0
        assert store.get("k") == 2 and store.increment("k") == 3


OPEN_AND_CLOSE = """
import sys
from tiered import FileTier, TieredBackend
with TieredBackend([FileTier(sys.argv[1])]) as store:
    print(store.get("k"))
"""


def test_two_stores_of_one_process_keep_their_locks_against_another_process(tmp_path: Path) -> None:
    """Closing any descriptor of the database would drop all POSIX locks that this process has on it."""

    def elsewhere() -> str:
        command = [sys.executable, "-c", OPEN_AND_CLOSE, str(tmp_path)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    with TieredBackend([FileTier(tmp_path)]) as one:
        one.set("k", 1)
        with TieredBackend([FileTier(tmp_path)]):
            assert elsewhere() == "1"
            one.set("k", 2)
            assert elsewhere() == "2"
