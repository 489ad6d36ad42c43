"""verify, repair and doctor without the right keys: nothing is damaged, and nothing is done about it."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.cli.running import environment
from tests.frames import KEYS
from tests.servers import RedisServer
from tiered import FileTier, MemoryTier, RedisTier, TieredBackend
from tiered.codecs.keys import new_key
from tiered.tiers.sqlite import connect
from tiered.verification.report import Example, Kind, Report

RIGHT, OTHER, SAME_ID = {"k1": KEYS["k1"]}, {"k2": KEYS["k2"]}, {"k1": KEYS["k2"]}
REASONS = [
    (RIGHT, None, "encrypted, and this process has no keys; give keys= (TIERED_KEYS)"),
    (RIGHT, OTHER, "encrypted with the key 'k1', which is not among the keys of this process; add it"),
    (RIGHT, SAME_ID, "was changed, or belongs to another key, namespace or version, or to other keys"),
    (None, RIGHT, "neither encrypted nor signed, which this store refuses; migrate=True (TIERED_MIGRATE=1) takes it"),
]


def store(directory: Path, url: str, keys: Any) -> TieredBackend:
    tiers = [MemoryTier(), RedisTier(url, timeout=5.0, connect_timeout=5.0), FileTier(directory)]
    return TieredBackend(tiers, keys=keys, staleness=0.2, deadline=0.3)


def filled(directory: Path, url: str, keys: Any) -> None:
    """One entry is there, and one was deleted: of that only Redis has a tombstone."""
    with store(directory, url, keys) as it:
        it.set_many({"user:7": "Ada", "gone": 1})
        it.delete("gone")


def contents(directory: Path, url: str) -> object:
    """Entries of both, as they are."""
    with closing(connect(next(directory.glob("*.sqlite3")))) as rows, redis.Redis.from_url(url) as raw:
        entries = rows.execute("SELECT key, frame FROM entries ORDER BY key").fetchall()
        held = {name: raw.get(name) for name in raw.scan_iter("tiered:default:*:*") if raw.type(name) == b"string"}
    rows.close()
    return entries, held


def faults(report: Report) -> dict[str, dict[Kind, int]]:
    return {tier.tier: tier.faults for tier in report.tiers if tier.faults}


@pytest.mark.parametrize(("written", "given", "reason"), REASONS)
def test_what_the_keys_do_not_open_is_unreadable_and_left(
    tmp_path: Path, redis_server: RedisServer, written: Any, given: Any, reason: str
) -> None:
    filled(tmp_path, redis_server.url, written)
    before = contents(tmp_path, redis_server.url)
    with store(tmp_path, redis_server.url, given) as it:
        for report in (it.verify(), it.repair(), it.repair(dry_run=False)):
            assert faults(report) == {"redis": {Kind.UNREADABLE: 1}, "file": {Kind.UNREADABLE: 1}}
            assert not report.ok and report.unreadable == 2 and not report.new_generation
            record = report.tier("file")
            assert list(record.reasons.values()) == [1] and next(iter(record.reasons)).startswith(reason)
            assert record.examples == {Kind.UNREADABLE: (Example("default", "user:7"),)}
    assert contents(tmp_path, redis_server.url) == before
    with store(tmp_path, redis_server.url, written) as it:
        assert it.verify().converged


def test_where_the_keys_open_the_record_what_they_do_not_open_in_redis_is_damage(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    """Else what somebody else put there would stay a fault for ever."""
    filled(tmp_path, redis_server.url, RIGHT)
    with store(tmp_path / "other", redis_server.url.replace("/0", "/1"), OTHER) as it:
        it.set_many({"user:7": "Eve", "gone": 2})
        stranger = it._core.space.scope
    with store(tmp_path, redis_server.url, RIGHT) as it:
        assert it.get("user:7") == "Ada"
        scope = it._core.space.scope
        with (
            redis.Redis.from_url(redis_server.url) as raw,
            redis.Redis.from_url(redis_server.url.replace("/0", "/1")) as theirs,
        ):
            for key in ("user:7", "gone"):
                raw.set(f"tiered:{scope}:{key}", theirs.get(f"tiered:{stranger}:{key}") or b"", px=60_000)
        assert faults(it.verify()) == {"redis": {Kind.DAMAGED: 2}}
        assert it.repair(dry_run=False).ok and it.verify().ok and it.get("gone") is None


def tiered(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tiered.cli", *args]
    return subprocess.run(command, capture_output=True, text=True, env=environment(COLUMNS="200", **env))


def test_the_commands_name_the_cause_and_advise_no_deletion(tmp_path: Path) -> None:
    keys, url = tmp_path / "keys", f"memory://,file:{tmp_path}/data"
    keys.write_text(new_key("may"))
    keys.chmod(0o600)
    with_keys = {"TIERED_URL": url, "TIERED_KEYS": f"file:{keys}"}
    assert tiered("set", "user:7", "Ada", **with_keys).returncode == 0
    for command in (("verify",), ("repair",), ("repair", "--apply")):
        told = tiered(*command, TIERED_URL=url)
        assert told.returncode == 1 and "1  unreadable" in told.stdout and "give keys=" in told.stdout
        assert "UNREADABLE: 1. Give the keys" in told.stdout and "user:7" in told.stdout
        assert not any(it in told.stdout for it in ("does not open", "backup", "FAULTS", "OK:")), told.stdout
    record = json.loads(tiered("verify", "--json", TIERED_URL=url).stdout)["tiers"][-1]
    assert record["counts"]["unreadable"] == 1 and record["counts"]["damaged"] == 0
    assert list(record["reasons"]) == ["encrypted, and this process has no keys; give keys= (TIERED_KEYS)"]
    assert tiered("verify", **with_keys).returncode == 0
    assert tiered("get", "user:7", **with_keys).stdout == "Ada\n"


def test_doctor_opens_some_entries(tmp_path: Path) -> None:
    keys, url = tmp_path / "keys", f"memory://,file:{tmp_path}/data"
    keys.write_text(new_key("may"))
    keys.chmod(0o600)
    with_keys = {"TIERED_URL": url, "TIERED_KEYS": f"file:{keys}"}
    assert tiered("set", "user:7", "Ada", "--namespace", "bot", **with_keys).returncode == 0

    def entries(**env: str) -> dict[str, str]:
        report = json.loads(tiered("doctor", "--json", **env).stdout)
        (finding,) = [it for it in report["findings"] if it["check"] == "file.entries"]
        return finding  # type: ignore[no-any-return]  # JSON

    assert entries(**with_keys)["level"] == "ok"
    without = tiered("doctor", TIERED_URL=url)
    assert without.returncode == 1 and "TIERED_KEYS" in without.stdout
    assert "give keys=" in entries(TIERED_URL=url)["text"]
    with closing(connect(next((tmp_path / "data").glob("*.sqlite3")))) as rows:
        rows.execute("UPDATE entries SET frame = substr(frame, 1, length(frame) - 1)")
    rows.close()
    assert entries(**with_keys)["level"] == "problem" and "tiered verify" in entries(**with_keys)["fix"]


def test_many_made_up_reasons_are_not_all_kept() -> None:
    from tiered.verification.tally import REASONS, Tally

    tally = Tally("file", "record", 1)
    for number in range(5 * REASONS):
        tally.add(Kind.UNREADABLE, "n", f"k{number}", f"encrypted with the key '{number}'")
    assert len(tally.report().reasons) == REASONS
