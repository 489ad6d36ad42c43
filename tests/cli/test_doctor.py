"""`tiered doctor`: each thing that can be wrong, made wrong for real; and nothing is changed by looking."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import trustme

from tests.cli.conftest import Bot
from tests.cli.running import Terminal, tiered
from tests.redis_topologies import RedisCluster, TlsServer
from tests.servers import RedisServer, free_port
from tests.waiting import eventually
from tiered import TieredBackend
from tiered.cli.doctor import files
from tiered.cli.doctor.examination import examine
from tiered.cli.doctor.finding import Finding, Level
from tiered.cli.doctor.redis import _Answer, _check_clock

WELL = ("--maxmemory", "64mb", "--maxmemory-policy", "volatile-lru")


@pytest.fixture
def well(tmp_path: Path) -> Iterator[RedisServer]:
    """A server as docs/redis.md wants it."""
    server = RedisServer(*WELL)
    yield server
    server.stop()


def chain(server: RedisServer, directory: Path) -> str:
    return f"memory://,{server.url}?timeout=2s&connect_timeout=2s,file:{directory}/data"


def used(url: str, **options: Any) -> None:
    with TieredBackend.from_url(url, **options) as store:
        store.set("k", "v")


def found(url: str, **options: str) -> dict[str, Finding]:
    """By the name of the check."""
    return {finding.check: finding for finding in examine(None, {"url": url, **options})}


def snapshot(server: RedisServer, directory: Path) -> object:
    with redis.Redis(port=server.port) as client:
        keys = {key: client.get(key) for key in client.scan_iter() if client.type(key) == b"string"}
    return keys, sorted(path.name for path in directory.rglob("*") if not path.name.endswith(("-wal", "-shm")))


def test_a_well_store_with_a_bot_has_no_problem(well: RedisServer, tmp_path: Path) -> None:
    url = chain(well, tmp_path)
    used(url)
    bot = Bot(url)
    eventually(lambda: "bot" in tiered("top", "--interval", "0.1", bot.endpoint).stdout, "a bot at work")
    result = tiered("doctor", "--metrics", bot.endpoint, url=url)
    assert result.returncode == 0 and "OK: no problem" in result.stdout, result.stdout
    numbers = [line[:2].strip() for line in result.stdout.splitlines() if line[:2].strip().isdigit()]
    assert numbers == [str(number + 1) for number in range(len(numbers))] and len(numbers) > 12
    checks = {
        it["check"]: it
        for it in json.loads(tiered("doctor", "--json", "--metrics", bot.endpoint, url=url).stdout)["findings"]
    }
    assert {it["level"] for it in checks.values()} == {"ok"}, checks
    bot.stop()
    assert "metrics.bot" in checks and "redis.claim" in checks


def test_looking_writes_nothing(well: RedisServer, tmp_path: Path) -> None:
    url = chain(well, tmp_path)
    used(url)
    before = snapshot(well, tmp_path)
    assert found(url)["redis.permissions"].level is Level.OK
    assert snapshot(well, tmp_path) == before


def test_where_there_is_no_store_none_is_made(well: RedisServer, tmp_path: Path) -> None:
    empty = tmp_path / "data"
    checks = found(chain(well, tmp_path))
    assert checks["file.directory"].level is Level.ADVICE
    assert {checks["redis.eviction"].level, checks["redis.persistence"].level} == {Level.OK}, "it is the cache"
    assert "publish" in checks["redis.permissions"].text
    assert tiered("doctor", url=chain(well, tmp_path)).returncode == 0
    assert not empty.exists()
    empty.mkdir()
    checks = found(chain(well, tmp_path))
    assert "no store in" in checks["file.directory"].text and checks["redis.version"].level is Level.OK
    assert list(empty.iterdir()) == []


def test_a_journal_that_is_not_there_yet_leaves_the_record_what_it_is(well: RedisServer, tmp_path: Path) -> None:
    cache = f"{well.url}?name=near&prefix=near:"
    checks = found(f"memory://,{cache},{well.url}", journal=str(tmp_path / "journal"))
    assert checks["file.directory"].level is Level.ADVICE and checks["near.persistence"].level is Level.OK
    assert checks["redis.persistence"].level is Level.PROBLEM and not list(tmp_path.iterdir())


def test_what_a_server_evicts_and_what_a_record_keeps(redis_server: RedisServer, tmp_path: Path) -> None:
    url = chain(redis_server, tmp_path)
    used(url)
    with redis.Redis(port=redis_server.port) as client:
        assert found(url)["redis.eviction"].level is Level.ADVICE  # no limit
        client.config_set("maxmemory", "64mb")
        assert "refuses writes" in found(url)["redis.eviction"].text  # noeviction
        client.config_set("maxmemory-policy", "allkeys-random")
        assert found(url)["redis.eviction"].level is Level.PROBLEM
        client.config_set("maxmemory-policy", "volatile-lru")
        assert found(url)["redis.eviction"].level is Level.OK
        record = found(redis_server.url)
        assert record["redis.eviction"].level is Level.PROBLEM and record["redis.persistence"].level is Level.PROBLEM
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("appendonly", "yes")
        assert "everysec" in found(redis_server.url)["redis.persistence"].text
        client.config_set("appendfsync", "always")
        record = found(redis_server.url)
        assert {record["redis.eviction"].level, record["redis.persistence"].level} == {Level.OK}


def test_a_user_who_may_not_do_what_is_needed(well: RedisServer, tmp_path: Path) -> None:
    url = chain(well, tmp_path)
    used(url)
    least = "+get +mget +set +eval +evalsha +pexpire +del +time +publish +subscribe +ping +info"
    as_bot = url.replace("redis://", "redis://bot:a-secret@")
    with redis.Redis(port=well.port) as client:
        client.execute_command(*f"ACL SETUSER bot reset on >a-secret ~tiered:* &tiered:* {least}".split())
        assert all(it.level in (Level.OK, Level.ADVICE) for it in found(as_bot).values())
        for right in ("subscribe", "evalsha", "info"):
            client.execute_command("ACL", "SETUSER", "bot", f"-{right}")
            permissions = found(as_bot)["redis.permissions"]
            assert permissions.level is Level.PROBLEM and f"'{right}'" in permissions.text, permissions
            assert "docs/redis.md" in permissions.fix
            client.execute_command("ACL", "SETUSER", "bot", f"+{right}")
    wrong = tiered("doctor", url=as_bot.replace("a-secret", "another-secret"))
    assert wrong.returncode == 3 and "password" in wrong.stdout and "secret" not in wrong.stdout + wrong.stderr


def test_a_node_of_a_cluster_is_no_matter_of_rights(tmp_path: Path) -> None:
    cluster = RedisCluster(3)
    try:
        fixes = [
            found(f"memory://,redis://127.0.0.1:{node.port}/0?timeout=2s&connect_timeout=2s,file:{tmp_path}/data")
            for node in cluster.masters
        ]
    finally:
        cluster.stop()
    told = {it["redis.permissions"].fix for it in fixes if it["redis.permissions"].level is Level.PROBLEM}
    assert told == {"this is a node of a Redis Cluster: write redis+cluster://"}


def test_a_server_that_is_away_is_exit_3_and_what_it_lacks_is_told(well: RedisServer, tmp_path: Path) -> None:
    url = chain(well, tmp_path)
    used(url)
    well.kill()
    used(url)
    result = tiered("doctor", url=url)
    assert result.returncode == 3 and "Connection refused" in result.stdout and "written to 1 key" in result.stdout
    well.start()
    checks = found(url)
    assert "restarted" in checks["redis.data"].text and checks["redis.backlog"].level is Level.ADVICE
    assert tiered("replay", url=url).returncode == 0
    checks = found(url)
    assert checks["redis.backlog"].level is checks["redis.data"].level is Level.OK


def test_what_to_do_about_a_server_that_cannot_be_reached_is_what_the_tier_says(tmp_path: Path) -> None:
    authority = trustme.CA()
    server = TlsServer(authority, authority.issue_cert("127.0.0.1"))
    for url, fix in (
        (server.url, "check ssl_ca_certs="),
        (server.url.replace("rediss://", "redis://"), "rediss://"),
        (f"redis://127.0.0.1:{free_port()}/0", "check that the server runs, and the host and the port"),
    ):
        finding = found(f"memory://,{url}?timeout=2s&connect_timeout=2s,file:{tmp_path}/data")["redis.reachable"]
        assert finding.level is Level.UNREACHABLE and fix in finding.fix and fix not in finding.text
    server.stop()


def test_another_store_of_record_in_the_same_namespace(well: RedisServer, tmp_path: Path) -> None:
    used(chain(well, tmp_path))
    other = f"{well.url}?timeout=2s&connect_timeout=2s,file:{tmp_path}/other"
    with TieredBackend.from_url(f"file:{tmp_path}/other") as store:
        store.set("k", "v")
    claim = found(other)["redis.claim"]
    assert claim.level is Level.PROBLEM and "redis-cli DEL tiered:default:store" in claim.fix
    assert found(other, namespace="elsewhere")["redis.claim"].level is Level.OK


def test_a_directory_that_others_can_get_at(tmp_path: Path) -> None:
    url, data = f"file:{tmp_path}/data", tmp_path / "data"
    used(url)
    assert found(url)["file.permissions"].level is Level.OK
    data.chmod(0o755)  # what is in it is still closed
    assert found(url)["file.permissions"].level is Level.OK
    (data / "tiered.sqlite3").chmod(0o644)
    permissions = found(url)["file.permissions"]
    assert permissions.level is Level.PROBLEM and f"chmod 700 {data}" in permissions.fix
    (data / "tiered.sqlite3").chmod(0o600)
    data.chmod(0o777)
    assert found(url)["file.permissions"].level is Level.PROBLEM


def test_a_disk_with_little_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used(f"file:{tmp_path}/data")
    assert found(f"file:{tmp_path}/data")["file.space"].level is Level.OK
    monkeypatch.setattr(files, "SCARCE", 1 << 62)
    space = found(f"file:{tmp_path}/data")["file.space"]
    assert space.level is Level.PROBLEM and "NotApplied" in space.fix


@pytest.mark.parametrize(
    ("ahead", "level", "words"),
    [
        (0.0, Level.OK, "agree"),
        (5.0, Level.ADVICE, "ahead of"),
        (-5.0, Level.ADVICE, "behind"),
        (-90.0, Level.PROBLEM, "behind"),
    ],
)
def test_clocks_that_differ(ahead: float, level: Level, words: str) -> None:
    sent, received = 1_000.0, 1_000.2
    theirs = 1_000.1 + ahead
    answer = _Answer(b"", [], [b"%d" % int(theirs), b"%d" % round(theirs % 1 * 1e6)], sent, received)
    finding = _check_clock("redis", "redis", answer)
    assert finding.level is level and words in finding.text


def test_a_record_without_a_journal(well: RedisServer, redis_server: RedisServer, tmp_path: Path) -> None:
    url = f"{well.url}?name=cache,{redis_server.url}"
    assert found(url)["configuration.journal"].level is Level.PROBLEM
    used(url, journal=str(tmp_path / "journal"))
    checks = found(url, journal=str(tmp_path / "journal"))
    assert "configuration.journal" not in checks and checks["journal.space"].level is Level.OK


def test_passwords_where_others_can_read_them(well: RedisServer, tmp_path: Path) -> None:
    url = f"redis://bot:a-secret@127.0.0.1:{well.port}/0"
    config = tmp_path / "tiered.toml"
    config.write_text(f'url = "{url}"\n')
    config.chmod(0o644)
    assert f"chmod 600 {config}" in told("--config", str(config))
    config.chmod(0o600)
    assert "chmod 600" not in told("--config", str(config))
    assert "`ps`" in told("--url", url)
    assert "unencrypted" in told("--url", "redis://bot:a-secret@redis.invalid:6379/0?connect_timeout=1s")


def told(*args: str) -> str:
    """Its output in one line, without the password."""
    result = tiered("doctor", *args)
    assert "a-secret" not in result.stdout + result.stderr
    return " ".join(result.stdout.split())


def test_a_bot_that_is_in_trouble_says_so_through_its_metrics(bot: Bot, url: str, redis_server: RedisServer) -> None:
    redis_server.kill()
    eventually(lambda: "OPEN" in tiered("stat", "--interval", "0.1", bot.endpoint).stdout, "an open breaker")
    result = tiered("doctor", "--metrics", bot.endpoint, "--metrics", f"127.0.0.1:{free_port()}", url=url)
    assert result.returncode == 1
    assert "the breaker of redis is" in result.stdout and "Connection refused" in result.stdout
    assert "metrics.exposure" in tiered("doctor", "--json", "--metrics", f"127.0.0.1:{free_port()}", url=url).stdout


def test_a_configuration_that_cannot_work_is_exit_2() -> None:
    result = tiered("doctor", "--url", "memry://")
    assert result.returncode == 2 and "did you mean" in result.stderr and result.stdout == ""
    assert tiered("doctor").returncode == 2


def test_it_fits_and_has_colours_on_a_terminal_only(well: RedisServer, tmp_path: Path) -> None:
    url = chain(well, tmp_path)
    used(url)
    for columns in (80, 50):
        with Terminal("doctor", columns=columns, url=url) as terminal:
            assert terminal.end() == 0
        plain = terminal.raw.replace(b"\x1b[32m", b"").replace(b"\x1b[2m", b"").replace(b"\x1b[0m", b"")
        assert b"\x1b" in terminal.raw and b"\x1b" not in plain
        long = [line for line in plain.decode().splitlines() if len(line) >= columns]
        assert all(" " not in line.strip().removeprefix("→ ") for line in long), "only a path may be too long"
    assert "\x1b" not in tiered("doctor", url=url).stdout


@pytest.mark.root
def test_a_file_of_another_user_in_the_directory(tmp_path: Path) -> None:
    used(f"file:{tmp_path}/data")
    os.chown(tmp_path / "data" / "tiered.sqlite3", 12345, 12345)
    permissions = found(f"file:{tmp_path}/data")["file.permissions"]
    assert permissions.level is Level.PROBLEM and "chown" in permissions.fix
