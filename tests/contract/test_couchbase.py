"""CouchbaseTier under the contract of tiers, in both roles; against a real server where TIERED_TEST_COUCHBASE names one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.couchbase_servers import fresh, with_scans
from tiered import CouchbaseTier
from tiered.testing.contract import CacheContract, RecordContract
from tiered.testing.enumerable_contract import EnumerableContract
from tiered.testing.journal_contract import JournalContract
from tiered.tiers import couchbase_generations
from tiered.tiers.journaled import JournaledRecord


@pytest.fixture(autouse=True)
def quick_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clear waits for a lease to end, and this suite clears often."""
    monkeypatch.setattr(couchbase_generations, "LEASE", 0.1)
    monkeypatch.setattr(couchbase_generations, "WAIT", 0.12)


def tier_at(url: str) -> CouchbaseTier:
    return with_scans(CouchbaseTier(url, prefix=fresh(), timeout=30.0, connect_timeout=30.0))


class TestCouchbaseTier(CacheContract, RecordContract, EnumerableContract):
    @pytest.fixture
    def tier(self, couchbase_url: str) -> Iterator[CouchbaseTier]:
        tier = tier_at(couchbase_url)
        yield tier
        tier.close()


class TestJournaledCouchbase(JournalContract):
    versions_of_absences = False

    @pytest.fixture
    def tier(self, couchbase_url: str, tmp_path: Path) -> Iterator[Any]:
        tier = JournaledRecord(tier_at(couchbase_url), tmp_path)
        yield tier
        tier.close()
