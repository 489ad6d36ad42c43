"""`tiered get --explain`: where a key is, which tier answers, and why another does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.cli.running import Terminal, tiered
from tests.servers import RedisServer
from tiered import TieredBackend
from tiered.codecs.keys import new_key


def explained(url: str, key: str, **env: str) -> tuple[int, dict[str, Any], dict[str, dict[str, Any]]]:
    result = tiered("get", key, "--explain", "--json", url=url, **env)
    told = json.loads(result.stdout)
    return result.returncode, told, {tier["tier"]: tier for tier in told["tiers"]}


def test_each_tier_with_version_and_time_to_live_but_never_the_value(url: str) -> None:
    with TieredBackend.from_url(url) as store:
        version = store.set("k", "a-secret", ttl=3600).version
        store.set("gone", "a-secret")
        store.delete("gone")
    code, told, tiers = explained(url, "k")
    assert (code, told["found"], told["tier"], told["version"]) == (0, True, "redis", version)
    for name in ("redis", "file"):
        assert tiers[name]["has"] == "a value" and tiers[name]["version"] == version
        assert 3000 < tiers[name]["ttl"] <= 3600 and tiers[name]["notes"] == []
    people = tiered("get", "k", "--explain", url=url)
    assert "found in redis" in people.stdout and "a-secret" not in people.stdout + json.dumps(told)
    code, told, tiers = explained(url, "gone")
    assert (code, told["found"], told["tier"]) == (1, False, "redis")
    assert (tiers["redis"]["has"], tiers["file"]["has"]) == ("a tombstone", "nothing")


@pytest.mark.parametrize("options", [{"compress_above": "0"}, {"keys": "env:BOT_KEYS"}], ids=list)
def test_what_is_compressed_or_encrypted_is_no_damage(
    url: str, options: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOT_KEYS", new_key("june"))
    with TieredBackend.from_config({"url": url, **options}) as store:
        store.set("k", "v" * 500, ttl=3600)
    _, _, tiers = explained(url, "k", **{f"TIERED_{name.upper()}": value for name, value in options.items()})
    for name in ("redis", "file"):
        assert tiers[name]["has"] == "a value" and tiers[name]["ttl"] > 3000 and tiers[name]["notes"] == []
    if "keys" in options:
        _, told, tiers = explained(url, "k")
        assert (
            tiers["file"]["has"] == "UNREADABLE"
            and "give keys=" in tiers["file"]["notes"][0]
            and "give keys=" in told["error"]
        )


def test_damage_and_what_is_pending_are_named(url: str, redis_server: RedisServer) -> None:
    with TieredBackend.from_url(url) as store:
        store.set("k", "v")
        store.set("l", "v")
    with redis.Redis(port=redis_server.port) as client:
        (place,) = client.keys("tiered:default:*:k")
        client.set(place, b"junk")
    _, told, tiers = explained(url, "k")
    assert tiers["redis"]["has"] == "DAMAGED" and told["tier"] == "file" and told["found"]
    hasty = url.replace("timeout=2s", "timeout=100ms")
    redis_server.freeze()
    with TieredBackend.from_url(hasty) as store:
        version = store.set("l", "w").version
    down = tiered("get", "l", "--explain", url=hasty)
    assert down.returncode == 0 and "no answer" in down.stdout and "found in file" in down.stdout
    redis_server.thaw()
    _, told, tiers = explained(url, "l")
    assert any("pending" in note for note in tiers["redis"]["notes"]) and told["version"] == version


def test_a_tier_that_was_restarted_is_not_believed(url: str, redis_server: RedisServer) -> None:
    with TieredBackend.from_url(url) as store:
        store.set("k", "v")
    redis_server.restart()
    _, told, tiers = explained(url, "k")
    assert "restarted" in tiers["redis"]["notes"][0] and told["tier"] == "file"


def test_a_record_that_cannot_be_read_is_exit_3(tmp_path: Path) -> None:
    result = tiered("get", "k", "--explain", url="redis://127.0.0.1:1/0")
    assert result.returncode == 3 and "no answer" in result.stdout and "Connection refused" in result.stderr


def test_it_fits_a_narrow_terminal_and_a_key_cannot_move_its_cursor(url: str) -> None:
    key = "user:\x1b[2J" + "7" * 60
    TieredBackend.from_url(url).close()
    with Terminal("get", key, "--explain", columns=50, url=url) as terminal:
        assert terminal.end() == 1
    assert b"\x1b[2J" not in terminal.raw
    assert max(len(line) for line in terminal.raw.decode().splitlines()) < 50
