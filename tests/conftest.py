"""Fixtures for all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from tests.servers import RedisServer

PROFILE = os.environ.get("TIERED_TEST_PROFILE", "default")

settings.register_profile("default", max_examples=100, deadline=None, print_blob=True)
settings.register_profile("nightly", max_examples=1000, deadline=None, print_blob=True)
settings.load_profile(PROFILE)


def pytest_report_header(config: pytest.Config) -> str:
    # A seed is not forced here: Hypothesis then stops replaying the failures it has stored.
    seed = config.getoption("--hypothesis-seed", default=None)
    return f"tiered: profile {PROFILE}, hypothesis seed {'random' if seed is None else seed}"


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """A server that the test may freeze and kill."""
    from tests.servers import RedisServer

    server = RedisServer()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def shared_redis_server() -> Iterator[RedisServer]:
    """One server for the session; a test that harms its server takes `redis_server`."""
    from tests.servers import RedisServer

    server = RedisServer()
    yield server
    server.stop()


@pytest.fixture
def redis_url(shared_redis_server: RedisServer) -> str:
    """The shared server, empty."""
    import redis

    with redis.Redis.from_url(shared_redis_server.url) as client:
        client.flushall()
    return shared_redis_server.url
