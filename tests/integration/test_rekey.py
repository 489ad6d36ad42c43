"""Encryption switched on, keys rotated and taken away, while the store is in use: `migrate`, `rekey`, `tiered rekey`."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.clocks import HandClock
from tests.frames import KEYS
from tests.servers import RedisServer
from tests.waiting import eventually
from tiered import ConfigError, FileTier, MemoryTier, RedisTier, StoreUnavailable, TieredBackend
from tiered.cli import main
from tiered.codecs.keys import Keyring, new_key
from tiered.tiers.sqlite import connect
from tiered.verification.progress import Progress

OLD, BOTH, NEW = {"k1": KEYS["k1"]}, KEYS, {"k2": KEYS["k2"]}
SLOW = 5.0


def store(directory: Path, keys: Any, url: str | None = None, **options: Any) -> TieredBackend:
    middle = [RedisTier(url, timeout=SLOW, connect_timeout=SLOW)] if url else []
    return TieredBackend([MemoryTier(), *middle, FileTier(directory)], keys=keys, **options)


def test_encryption_is_switched_on_without_a_pause(tmp_path: Path, redis_server: RedisServer) -> None:
    values = {f"k{n}": [n, "x" * n] for n in range(50)}
    with store(tmp_path, None, redis_server.url) as plain:
        plain.set_many(values)
    with store(tmp_path, BOTH, redis_server.url) as strict, pytest.raises(StoreUnavailable, match="neither encrypted"):
        strict.get("k1")
    with store(tmp_path, BOTH, redis_server.url, migrate=True) as half:
        assert half.get_many(values) == values
        half.set("k1", "new")
        report = half.rekey()
        assert report.ok and (report.key, report.rewritten, report.current) == ("k2", 49, 1)
        assert half.verify().converged
    with store(tmp_path, BOTH, redis_server.url) as strict:
        assert strict.get_many(values) == values | {"k1": "new"}
        assert strict.stats()["tiers"]["redis"]["corrupt"] == 0


@pytest.mark.parametrize("protect", ["encrypt", "sign"])
def test_what_a_process_without_keys_writes_is_refused_by_those_with_keys(
    tmp_path: Path, redis_server: RedisServer, protect: str
) -> None:
    with (
        store(tmp_path, NEW, redis_server.url, protect=protect) as keyed,
        store(tmp_path, None, redis_server.url) as plain,
    ):
        keyed.set_many({"k": "secret", "other": "secret"})
        with pytest.raises(StoreUnavailable, match="has no keys"):
            plain.get("k")
        assert plain.set("k", "in plain text").tiers["redis"] == "ok" and plain.delete("other")
        for key in ("k", "other"):
            eventually(lambda key=key: key not in keyed._core.space.part.slots)  # it has heard of the write
        assert keyed.get("other") is None
        with pytest.raises(StoreUnavailable, match="neither encrypted nor signed"):
            keyed.get("k")
        keyed.set("k", "secret again")
        assert keyed.get("k") == "secret again"


@pytest.mark.parametrize("protect", ["encrypt", "sign"])
def test_a_key_can_be_taken_away_after_a_rekey(tmp_path: Path, redis_server: RedisServer, protect: str) -> None:
    with store(tmp_path, OLD, redis_server.url, protect=protect) as before:
        before.set_many({f"k{n}": n for n in range(1200)}, ttl=3600)
        before.namespace("other").set("x", 1)
    steps: list[Progress] = []
    with store(tmp_path, BOTH, redis_server.url, protect=protect) as both:
        assert both.get("k7") == 7
        expires = both.lookup("k8").expires_at
        report = both.rekey(all_namespaces=True, on_progress=steps.append)
        assert report.ok and report.rewritten == 1201
        assert both.lookup("k8").expires_at == expires
        again = both.rekey(all_namespaces=True)
        assert (again.rewritten, again.current) == (0, 1201)
        assert [it.done for it in steps if it.namespace == "default"][-1] == 1200 == steps[0].total
        assert steps[0].step == "rekeying" and len(steps) > 3
    with store(tmp_path, NEW, redis_server.url, protect=protect) as after:
        assert after.get("k7") == 7 and after.namespace("other").get("x") == 1 and after.verify().converged
    with store(tmp_path, OLD, protect=protect) as gone, pytest.raises(StoreUnavailable, match="'k2'"):
        gone.get("k7")


KILLED = """
import os, signal, sys
from tests.integration.test_rekey import BOTH, store
from pathlib import Path
def kill(progress):
    if progress.done > 100:
        os.kill(os.getpid(), signal.SIGKILL)
store(Path(sys.argv[1]), BOTH).rekey(on_progress=kill)
"""


def test_a_rekey_that_was_killed_is_continued(tmp_path: Path) -> None:
    values = {f"k{n:03}": n for n in range(500)}
    with store(tmp_path, OLD) as before:
        before.set_many(values)
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    with store(tmp_path, BOTH) as both:
        assert both.get_many(values) == values
        report = both.rekey()
        assert report.ok and report.rewritten > 0 and report.current > 100
        assert report.rewritten + report.current == 500
    with store(tmp_path, NEW) as after:
        assert dict(after.items()) == values


def test_writers_go_on_during_a_rekey_and_lose_nothing(tmp_path: Path) -> None:
    with store(tmp_path, OLD) as before:
        before.set_many({f"k{n}": 0 for n in range(300)})
    with store(tmp_path, BOTH) as both:
        done = threading.Event()
        counts = dict.fromkeys(range(3), 0)

        def write(thread: int) -> None:
            while not done.is_set():
                for n in range(thread, 300, 30):
                    both.increment(f"k{n}")
                    counts[thread] += 1

        threads = [threading.Thread(target=write, args=(n,)) for n in counts]
        for thread in threads:
            thread.start()
        eventually(lambda: all(counts.values()))
        reports = [both.rekey() for _ in range(3)]
        done.set()
        for thread in threads:
            thread.join()
        assert sum(both.get(f"k{n}") for n in range(300)) == sum(counts.values())
        assert both.rekey().ok and sum(report.unreadable for report in reports) == 0
    with store(tmp_path, NEW) as after:
        assert len(list(after.items())) == 300


def test_what_has_expired_is_removed_and_what_is_kept_for_stale_answers_stays(tmp_path: Path) -> None:
    clock = HandClock()
    with TieredBackend([FileTier(tmp_path, clock=clock)], keys=OLD, clock=clock, compress_above=0) as before:
        before.set("dead", 1, ttl=5)
        before.get_or_set("stale", lambda: "kept", ttl=5, stale_ttl=1000)
    clock.advance(10)

    def fails() -> str:
        raise RuntimeError("the loader")

    with TieredBackend([FileTier(tmp_path, clock=clock)], keys=BOTH, clock=clock) as both:
        report = both.rekey()
        assert report.ok and (report.rewritten, report.expired) == (1, 1)
        assert both._core.chain.record.read("default", "dead")[1] is None
    with TieredBackend([FileTier(tmp_path, clock=clock)], keys=NEW, clock=clock) as after:
        assert after.get("stale") is None and after.get("dead") is None
        assert after.get_or_set("stale", fails, ttl=5, stale_ttl=1000) == "kept"


def test_what_does_not_open_is_counted_and_named(tmp_path: Path) -> None:
    with store(tmp_path, OLD) as before:
        before.set_many({f"k{n}": n for n in range(9)})
    with store(tmp_path, NEW) as other:
        report = other.rekey()
        assert not report.ok and report.unreadable == 9 and report.rewritten == 0
        assert len(report.examples) == 5 and report.examples[0] == ("default", "k0")
    with store(tmp_path, OLD) as before:
        assert before.get("k8") == 8
    with store(tmp_path, None) as plain, pytest.raises(ConfigError, match="rekey needs keys"):
        plain.rekey()


@pytest.mark.parametrize(
    "damage", ["zeroblob(0)", "substr(frame, 1, 3)", "substr(frame, 1, 33)", "substr(frame, 1, 40)"]
)
def test_what_was_truncated_is_counted_and_named(tmp_path: Path, damage: str) -> None:
    with store(tmp_path, OLD) as before:
        before.set_many({f"k{n}": n for n in range(3)})
    with contextlib.closing(connect(tmp_path / "tiered.sqlite3")) as database:
        database.execute(f"UPDATE entries SET frame = {damage} WHERE key = 'k1'")
    with store(tmp_path, BOTH) as both:
        report = both.rekey()
        assert (report.unreadable, report.rewritten) == (1, 2) and report.examples == (("default", "k1"),)


def test_what_was_never_encrypted_is_named_as_that_with_what_to_do(tmp_path: Path) -> None:
    with store(tmp_path, None) as plain:
        plain.set_many({"a": 1, "b": 2})
    path = tmp_path / "keys"
    path.write_text(new_key("june"))
    path.chmod(0o600)
    settings = {"TIERED_URL": f"file:{tmp_path}", "TIERED_KEYS": f"file:{path}"}
    failed = tiered("rekey", **settings)
    assert failed.returncode == 1 and "keys at hand" not in failed.stdout
    assert "2 neither encrypted nor signed" in failed.stdout and "TIERED_MIGRATE=1" in failed.stdout
    (reason,) = json.loads(tiered("rekey", "--json", **settings).stdout)["reasons"].items()
    assert reason[0].startswith("neither encrypted nor signed") and reason[1] == 2
    assert tiered("rekey", **settings, TIERED_MIGRATE="1").stdout.startswith("2 written again with june")
    assert tiered("rekey", **settings).returncode == 0


def test_a_running_store_follows_its_source(tmp_path: Path) -> None:
    keys: dict[str, bytes] = dict(OLD)
    ring = Keyring(lambda: dict(keys))
    with TieredBackend([FileTier(tmp_path)], keys=ring) as it:
        it.set("k", "v")
        keys = dict(BOTH)
        ring.reload()
        assert it.get("k") == "v" and it.rekey().rewritten == 1
        keys = dict(NEW)
        ring.reload()
        assert it.get("k") == "v"


def tiered(*args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("TIERED_")} | environment
    return subprocess.run([sys.executable, "-m", "tiered.cli", *args], capture_output=True, text=True, env=env)


def test_from_the_command_line(tmp_path: Path) -> None:
    path, url = tmp_path / "keys", f"file:{tmp_path}/data"
    old, new = tiered("keygen", "may").stdout, new_key("june") + "\n"
    assert old.startswith("may:") and main(["keygen", "no id"]) == 2
    path.write_text(old)
    path.chmod(0o600)
    settings = {"TIERED_URL": url, "TIERED_KEYS": f"file:{path}", "TIERED_COMPRESS_ABOVE": "1kb"}
    assert tiered("set", "k", "v" * 5000, **settings).returncode == 0
    path.write_text(new + old)
    assert tiered("get", "k", **settings).stdout == "v" * 5000 + "\n"
    told = tiered("rekey", **settings)
    assert told.returncode == 0 and told.stdout == "1 written again with june, 0 were so already\n"
    path.write_text(new)
    report = json.loads(tiered("rekey", "--all", "--json", **settings).stdout)
    assert report["ok"] and report["current"] == 1 and report["key"] == "june"
    path.write_text(old)
    failed = tiered("rekey", **settings)
    assert (
        failed.returncode == 1
        and "1 encrypted with the key 'june'" in failed.stdout
        and "'default': 'k'" in failed.stdout
    )
    without = tiered("get", "k", TIERED_URL=url)
    assert without.returncode == 3 and "give keys= (TIERED_KEYS)" in without.stderr
    for secret in (old, new):
        assert secret.split(":")[1].strip() not in told.stdout + told.stderr + failed.stdout + without.stderr
