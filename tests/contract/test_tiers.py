"""Our own tiers under the contract that we ask of others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import RedisServer
from tiered import FileTier, MemoryTier, RedisTier
from tiered.testing.contract import CacheContract, GivingContract, RecordContract
from tiered.testing.enumerable_contract import EnumerableContract
from tiered.testing.journal_contract import JournalContract
from tiered.tiers.journaled import JournaledRecord


class TestMemoryTier(CacheContract, RecordContract, EnumerableContract):
    @pytest.fixture
    def tier(self) -> Iterator[MemoryTier]:
        tier = MemoryTier()
        yield tier
        tier.close()


class TestFileTier(CacheContract, JournalContract, EnumerableContract, GivingContract):
    @pytest.fixture
    def tier(self, tmp_path: Path) -> Iterator[FileTier]:
        tier = FileTier(tmp_path)
        yield tier
        tier.close()


class TestRedisTier(CacheContract, RecordContract, EnumerableContract):
    @pytest.fixture
    def tier(self, redis_server: RedisServer) -> Iterator[RedisTier]:
        tier = RedisTier(redis_server.url, timeout=5.0)
        yield tier
        tier.close()


class TestJournaledMemory(JournalContract):
    versions_of_absences = False

    @pytest.fixture
    def tier(self, tmp_path: Path) -> Iterator[JournaledRecord]:
        tier = JournaledRecord(MemoryTier(), tmp_path)
        yield tier
        tier.close()


class TestJournaledRedis(JournalContract):
    versions_of_absences = False

    @pytest.fixture
    def tier(self, redis_server: RedisServer, tmp_path: Path) -> Iterator[JournaledRecord]:
        tier = JournaledRecord(RedisTier(redis_server.url, timeout=5.0), tmp_path)
        yield tier
        tier.close()
