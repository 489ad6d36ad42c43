"""Fixtures for all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.servers import RedisServer

settings.register_profile("default", deadline=None, print_blob=True)
settings.load_profile("default")


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """A server that the test may freeze and kill."""
    server = RedisServer()
    yield server
    server.stop()
