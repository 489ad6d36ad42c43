"""A Redis as the store of record is as durable as its append-only file: log and health say whether there is one."""

from __future__ import annotations

import logging

import pytest

from tests.servers import RedisServer
from tiered import RedisTier, TieredBackend


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "appendonly" in record.getMessage()]


def test_a_record_without_an_append_only_file_is_told_of_once(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    with TieredBackend([RedisTier(redis_server.url, timeout=5.0, connect_timeout=5.0)]) as store:
        assert "appendonly" not in store.health()["redis"]
        store.set("k", 1)
        store.set("k", 2)
        assert store.health()["redis"]["appendonly"] is False
    (line,) = told(caplog)
    assert line.startswith("redis: the store of record has no append-only file")


def test_a_record_with_one_is_not(caplog: pytest.LogCaptureFixture) -> None:
    server = RedisServer("--appendonly", "yes")
    try:
        with TieredBackend([RedisTier(server.url, timeout=5.0, connect_timeout=5.0)]) as store:
            store.set("k", 1)
            assert store.health()["redis"]["appendonly"] is True
        assert told(caplog) == []
    finally:
        server.stop()


def test_a_cache_is_not_asked_and_a_server_that_cannot_say_is_asked_again(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "tiered")
    tier = RedisTier(redis_server.url, timeout=5.0, connect_timeout=5.0)
    tier.probe()
    assert "appendonly" not in tier.health().facts
    redis_server.kill()
    tier._durability.look(tier._server)
    assert tier._durability.appendonly is None and told(caplog) == []
    redis_server.start()
    tier.probe()
    tier._durability.look(tier._server)
    assert tier.health().facts["appendonly"] is False and len(told(caplog)) == 1
    tier.close()
