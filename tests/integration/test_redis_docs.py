"""docs/redis.md against real servers: every URL, the chain, the least ACL, the memory settings."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import trustme

from tests.redis_topologies import RedisCluster, RedisSentinels, TlsServer, authority_file, eventually
from tests.servers import RedisServer
from tiered import FileTier, MemoryTier, RedisTier, TieredBackend
from tiered.entry import draft, namespace_seed
from tiered.errors import Ambiguous, StoreError, StoreUnavailable
from tiered.testing.contract import put

PAGE = (Path(__file__).parents[2] / "docs" / "redis.md").read_text()
URLS: dict[str, str] = dict(re.findall(r"^\| ([^|]+?) \| `([^`]+)` \|$", PAGE, re.MULTILINE))
(ACL,) = re.findall(r"```acl\n(.*?)\n```", PAGE)
(TO_VERIFY,) = re.findall(r"`repair`, besides: `([^`]+)`", PAGE)
(IN_A_CLUSTER,) = re.findall(r"In a cluster, on every node, besides: `([^`]+)`", PAGE)
SLOW = 5.0
FRAME = draft(namespace_seed("n"), "k", b"v", 1).seal(1)


@pytest.fixture(scope="module")
def sentinels() -> Iterator[RedisSentinels]:
    servers = RedisSentinels()
    yield servers
    servers.stop()


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisCluster]:
    cluster = RedisCluster()
    yield cluster
    cluster.stop()


def here(text: str, ports: dict[int, int]) -> str:
    """The page's addresses replaced by those of the test."""
    return re.sub(r"127\.0\.0\.1:(\d+)", lambda found: f"127.0.0.1:{ports[int(found[1])]}", text)


def works(url: str) -> None:
    tier = RedisTier(url, timeout=SLOW, connect_timeout=SLOW)
    assert tier.probe() and put(tier, "n:1", "k", FRAME) and tier.get("n:1", "k") == FRAME
    tier.close()


def test_every_url_of_the_page_is_tried() -> None:
    assert list(URLS) == ["one server", "a user and a password", "a unix socket", "TLS", "Sentinel", "Cluster"]


def test_one_server_with_and_without_a_user_and_by_its_socket(tmp_path: Path) -> None:
    server = RedisServer("--unixsocket", str(tmp_path / "redis.sock"))
    try:
        with redis.Redis(port=server.port) as raw:
            raw.execute_command(ACL)
            works(here(URLS["one server"], {6379: server.port}))
            raw.flushall()
            works(here(URLS["a user and a password"], {6379: server.port}))
            raw.flushall()
            works(URLS["a unix socket"].replace("/run/redis", str(tmp_path)))
    finally:
        server.stop()


def test_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    server = TlsServer(authority, authority.issue_cert("127.0.0.1"))
    try:
        url = here(URLS["TLS"], {6380: server.port})
        works(url.replace("/etc/ssl/redis-ca.pem", str(authority_file(authority, tmp_path))))
    finally:
        server.stop()


def test_sentinel_and_the_chain_of_the_page(sentinels: RedisSentinels, tmp_path: Path) -> None:
    ports = {26379 + n: sentinel.port for n, sentinel in enumerate(sentinels.sentinels)}
    works(here(URLS["Sentinel"], ports))
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    patient = here(code, ports).replace("timeout=100ms", "timeout=5s&connect_timeout=5s")
    result = subprocess.run([sys.executable, "-c", patient], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0 and "'breaker': 'closed'" in result.stdout, result.stdout + result.stderr


def test_cluster_with_the_least_rights(cluster: RedisCluster) -> None:
    for master in cluster.masters:
        cluster.ask(master, *f"{ACL} {IN_A_CLUSTER}".split())
    url = here(URLS["Cluster"], {7000 + n: master.port for n, master in enumerate(cluster.masters)})
    works(url)
    cluster.empty()
    tier = RedisTier(url.replace("//", "//bot:PASSWORD@"), timeout=SLOW, connect_timeout=SLOW)
    items = [(f"k{n}", FRAME) for n in range(100)]
    assert tier.probe() and tier.put_many("n:1", items, tell=True) == [True] * 100
    target = next(master for master in cluster.masters if master is not cluster.owner("tiered:n:1:k0"))
    finish = cluster.migrate("tiered:n:1:k0", target)
    assert put(tier, "n:1", "{k0}x", FRAME) and tier.get("n:1", "k0") == FRAME
    finish()
    assert tier.get("n:1", "k0") == FRAME and tier.health().ok
    assert tier.claim("n", "mine") == "mine" and tier.claim("n", "theirs") == "mine"
    tier.subscribe().close()
    assert [cluster.ask(master, "ACL", "LOG") for master in cluster.masters] == [[], [], []]
    tier.close()


def test_the_least_rights_are_enough_for_a_chain_and_none_is_too_many(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    url = f"redis://bot:PASSWORD@127.0.0.1:{redis_server.port}/0"
    with redis.Redis(port=redis_server.port) as raw:
        raw.execute_command(ACL)
        raw.config_resetstat()
        chains = [
            TieredBackend([MemoryTier(), RedisTier(url, timeout=SLOW, connect_timeout=SLOW), FileTier(tmp_path)])
            for _ in range(2)
        ]
        for chain in chains:
            eventually(lambda chain=chain: chain.set("k", "old").tiers["redis"] == "ok")
            eventually(lambda chain=chain: chain._core.space.subscribed)
        chains[0].set_many({f"k{n}": n for n in range(10)})
        chains[0].set("k", "new")
        eventually(lambda: chains[1].get("k") == "new")
        assert chains[1].get_many([f"k{n}" for n in range(10)]) == {f"k{n}": n for n in range(10)}
        assert chains[0].delete("k0") and chains[0].add("k0", 1)
        assert chains[1].get_or_set("loaded", lambda: 7) == 7
        chains[0].clear()
        for chain in chains:
            assert chain._core.chain.guards[0].tier.health().ok
            chain.close()
        assert raw.acl_log() == []
        used = {name.removeprefix("cmdstat_") for name in raw.info("commandstats")}
    granted = set(re.findall(r"\+([a-z|]+)", ACL))
    assert granted <= used and used - granted <= {"auth", "acl|log", "config|resetstat", "info"}


def test_a_user_of_the_sentinels_needs_one_right_and_a_wrong_password_is_told() -> None:
    (right,) = re.findall(r"A user of the sentinels .* needs `(\+[a-z|]+)`", PAGE)
    sentinels = RedisSentinels()
    try:
        for sentinel in sentinels.sentinels:
            with redis.Redis(port=sentinel.port) as raw:
                raw.execute_command(f"ACL SETUSER bot reset on >PASSWORD {right}")
        login = f"{sentinels.url}?sentinel_username=bot&sentinel_password="
        tier = RedisTier(f"{login}PASSWORD", timeout=SLOW, connect_timeout=SLOW)
        assert tier.probe() and put(tier, "n:1", "k", FRAME) and tier.get("n:1", "k") == FRAME
        tier.close()
        tier = RedisTier(f"{login}wr0ng", timeout=SLOW, connect_timeout=SLOW)
        with pytest.raises(StoreUnavailable, match=r"auth.*sentinel_password="):
            tier.get("n:1", "k")
        tier.close()
    finally:
        sentinels.stop()


def test_verify_and_repair_need_two_rights_more(redis_server: RedisServer, tmp_path: Path) -> None:
    url = f"redis://bot:PASSWORD@127.0.0.1:{redis_server.port}/0"
    with redis.Redis(port=redis_server.port) as raw:
        raw.execute_command(ACL)
        with TieredBackend([RedisTier(url, timeout=SLOW, connect_timeout=SLOW), FileTier(tmp_path)]) as store:
            store.set_many({"whole": 1, "damaged": 2})
            assert store.verify().unreachable == ("redis",)
            raw.execute_command(f"ACL SETUSER bot {TO_VERIFY}")
            raw.acl_log_reset()
            (name,) = raw.scan_iter("tiered:default:*:damaged")
            raw.set(name, b"rubbish")
            assert store.verify().tier("redis").faults
            assert store.repair(dry_run=False).ok and store.verify().converged
        assert raw.acl_log() == []


def test_a_user_without_the_keys_or_the_channels_is_told(redis_server: RedisServer) -> None:
    with redis.Redis(port=redis_server.port) as raw:
        raw.execute_command(ACL.replace("~tiered:*", "~theirs:*"))
        url = f"redis://bot:PASSWORD@127.0.0.1:{redis_server.port}/0"
        tier = RedisTier(url, timeout=SLOW, connect_timeout=SLOW)
        assert "MISUSE" == refused(lambda: tier.get("n:1", "k")) == refused(lambda: put(tier, "n:1", "k", FRAME))
        raw.execute_command(ACL.replace("&tiered:*", ""))
        assert put(tier, "n:1", "k", FRAME)
        with pytest.raises(Ambiguous):  # the script has stored it before it may not tell of it
            tier.put_many("n:1", [("other", FRAME)], tell=True)
        assert tier.get("n:1", "other") == FRAME
        assert refused(lambda: tier.put_many("n:1", [("k", FRAME)], tell=True)) == "MISUSE"
        tier.close()


def refused(call: Any) -> str:
    with pytest.raises(StoreError) as caught:
        call()
    return caught.value.reason.name


def test_the_memory_settings_are_known_to_the_server(tmp_path: Path) -> None:
    (conf,) = re.findall(r"```conf\n(.*?)```", PAGE, re.DOTALL)
    server = RedisServer(*(it for line in conf.splitlines() for it in f"--{line}".split()))
    try:
        with redis.Redis(port=server.port) as raw:
            assert raw.config_get("maxmemory*")["maxmemory-policy"] == "volatile-lru"
        works(server.url)
    finally:
        server.stop()
