"""With Couchbase as the record the version is known only after the write: frames are sealed again under their CAS."""

from __future__ import annotations

from typing import Any

import pytest

from tests.couchbase_servers import fresh, with_scans
from tests.frames import KEYS
from tiered import CouchbaseTier, MemoryTier, StoreUnavailable, TieredBackend
from tiered.entry import version_of
from tiered.errors import Untrusted
from tiered.tiers.base import LateVersions


def tier_at(url: str, prefix: str) -> CouchbaseTier:
    return with_scans(CouchbaseTier(url, prefix=prefix, timeout=5.0, connect_timeout=10.0))


@pytest.mark.parametrize("options", [{}, {"compress_above": 0}, {"protect": "sign"}])
def test_a_store_is_encrypted_read_and_rekeyed(couchbase_url: str, options: dict[str, Any]) -> None:
    prefix = fresh()
    tier = tier_at(couchbase_url, prefix)
    assert isinstance(tier, LateVersions)
    with TieredBackend([MemoryTier(), tier], keys={"k1": KEYS["k1"]}, **options) as old:
        version = old.set("k", {"a": "v" * 100}).version
        old.set("gone", 1)
        assert old.delete("gone") and old.increment("n", 5) == 5
    tier = tier_at(couchbase_url, prefix)
    with TieredBackend([tier], keys=KEYS, **options) as both:
        found = both.lookup("k")
        assert found.value == {"a": "v" * 100} and found.version == version
        assert both.get("gone") is None and both.increment("n") == 6
        frame = both._core.chain.record.read("default", "k")[1] or b""
        assert version_of(frame) == version and not both._core.space.frames.is_current(frame)
        both.touch("k", 100)  # writes it again, with the current key
        assert both._core.space.frames.is_current(both._core.chain.record.read("default", "k")[1] or b"")
    with TieredBackend([tier_at(couchbase_url, prefix)], keys={"k2": KEYS["k2"]}, **options) as new:
        assert new.get("k") == {"a": "v" * 100} and new.get("n") == 6


def test_what_was_stored_without_a_version_is_no_frame_for_anybody_else(couchbase_url: str) -> None:
    prefix = fresh()
    tier = tier_at(couchbase_url, prefix)
    with TieredBackend([tier], keys=KEYS) as store:
        store.set("k", "v")
        space = store._core.space
        held = tier._link.fetch(f"{prefix}:default:{tier._record._generations.state().space('default')}:k")
        assert held is not None and version_of(held.body) == 0
        with pytest.raises(Untrusted, match="no version"):
            space.frames.open(held.body, "k")


def test_plaintext_is_refused(couchbase_url: str) -> None:
    prefix = fresh()
    with TieredBackend([tier_at(couchbase_url, prefix)]) as plain:
        plain.set("k", "v")
    with TieredBackend([tier_at(couchbase_url, prefix)], keys=KEYS) as store, pytest.raises(StoreUnavailable):
        store.get("k")
    with TieredBackend([tier_at(couchbase_url, prefix)], keys=KEYS, migrate=True) as store:
        assert store.get("k") == "v"
