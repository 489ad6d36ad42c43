"""`tiered verify`, `repair` and `replay`, as processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.servers import RedisServer, free_port
from tests.terminals import on_a_terminal
from tiered import FileTier, TieredBackend

EVIL = "evil\x1b[31m\n" + "é" * 60


def tiered(*args: str, columns: int = 80) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "COLUMNS": str(columns), "NO_COLOR": "1"}
    return subprocess.run([sys.executable, "-m", "tiered.cli", *args], capture_output=True, text=True, env=env)


@pytest.fixture
def url(redis_url: str, tmp_path: Path) -> str:
    """A store of 301 keys that all tiers agree on."""
    url = f"memory://,{redis_url},file:{tmp_path}/data"
    with TieredBackend.from_url(url) as store:
        store.set_many({f"user:{n:03}": n for n in range(300)})
        store.set(EVIL, 1)
    return url


@pytest.fixture
def raw(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


def spoil(raw: redis.Redis, key: str) -> None:
    (name,) = [it for it in raw.scan_iter("tiered:default:*") if it.decode().endswith(f":{key}")]
    raw.set(name, b"damaged", px=60_000)


def test_a_store_that_agrees_is_exit_0(url: str) -> None:
    result = tiered("verify", "--url", url)
    assert result.returncode == 0 and result.stderr == "", result.stderr
    assert "301  as in file" in result.stdout and "OK: all tiers agree" in result.stdout


def test_faults_are_exit_1_until_they_are_mended(url: str, raw: redis.Redis) -> None:
    for key in ("user:007", EVIL):
        spoil(raw, key)
    found = tiered("verify", "--url", url)
    assert found.returncode == 1 and "2  damaged" in found.stdout and "user:007" in found.stdout
    assert "\x1b" not in found.stdout and "evil\\x1b[31m\\n" in found.stdout, "a key cannot move the cursor"
    dry = tiered("repair", "--url", url)
    assert dry.returncode == 1 and "would be mended" in dry.stdout and "--apply" in dry.stdout
    assert tiered("verify", "--url", url).returncode == 1, "showing changes nothing"
    mended = tiered("repair", "--apply", "--url", url)
    assert mended.returncode == 0 and "removed and put again" in mended.stdout
    assert tiered("verify", "--url", url).returncode == 0


def test_json_has_everything(url: str, raw: redis.Redis) -> None:
    spoil(raw, "user:007")
    result = tiered("verify", "--json", "--all", "--url", url)
    report = json.loads(result.stdout)
    assert result.returncode == 1 and result.stderr == ""
    assert report["ok"] is False and report["namespaces"] == ["default"] and report["dry_run"] is None
    tiers = {tier["tier"]: tier for tier in report["tiers"]}
    assert list(tiers) == ["memory", "redis", "file"] and tiers["file"]["counts"]["same"] == 301
    assert tiers["redis"]["counts"]["damaged"] == 1
    assert tiers["redis"]["examples"] == {"damaged": [{"namespace": "default", "key": "user:007"}]}


@pytest.mark.parametrize("columns", [40, 80])
def test_it_fits_the_terminal(url: str, raw: redis.Redis, columns: int) -> None:
    for key in ("user:007", EVIL):
        spoil(raw, key)
    for command in (("verify",), ("repair",), ("repair", "--all")):
        lines = tiered(*command, "--url", url, columns=columns).stdout.splitlines()
        assert max(map(len, lines)) <= columns, lines


def test_progress_is_shown_on_a_terminal_and_taken_away(url: str) -> None:
    code, output, shown = on_a_terminal([sys.executable, "-m", "tiered.cli", "verify", "--url", url])
    assert code == 0 and b"OK" in output
    assert b"comparing" in shown and b"searching redis" in shown and shown.endswith(b"\r\x1b[K")


def test_a_tier_out_of_reach_is_exit_3(tmp_path: Path) -> None:
    url = f"redis://127.0.0.1:{free_port()}/0,file:{tmp_path}/data"
    FileTier(tmp_path / "data").close()
    for command in (("verify",), ("repair",), ("repair", "--apply")):
        result = tiered(*command, "--url", url)
        assert result.returncode == 3 and "NOT COMPARED: redis" in result.stdout, result
    assert json.loads(tiered("verify", "--json", "--url", url).stdout)["tiers"][0]["error"].startswith("redis: ")


def test_replay_of_a_chain_without_a_cache_says_that_there_is_none(tmp_path: Path) -> None:
    url = f"memory://,file:{tmp_path}/data"
    TieredBackend.from_url(url).close()
    told = tiered("replay", "--url", url)
    assert (told.returncode, told.stdout) == (
        0,
        "no cache tier between memory and the store of record: nothing to replay\n",
    )
    assert tiered("replay", "--json", "--url", url).stdout == "{}\n"


def test_replay_tells_how_many_and_is_exit_3_when_it_cannot(redis_server: RedisServer, tmp_path: Path) -> None:
    url = f"{redis_server.url},file:{tmp_path}/data"
    with TieredBackend.from_url(url) as store:
        store.set("k", "old")
        redis_server.freeze()
        store.set("k", "new")
    assert tiered("replay", "--url", url).returncode == 3
    redis_server.thaw()
    result = tiered("replay", "--json", "--url", url)
    assert result.returncode == 0 and json.loads(result.stdout)["redis"] in (0, 1)
    report = json.loads(tiered("verify", "--json", "--url", url).stdout)
    assert report["converged"] is True and report["tiers"][0]["counts"]["same"] == 1


def test_a_wrong_option_is_exit_2(tmp_path: Path) -> None:
    assert tiered("verify", "--examples", "0", "--url", f"file:{tmp_path}/data").returncode == 2
    assert "repair --apply" in tiered("repair", "--help").stdout
