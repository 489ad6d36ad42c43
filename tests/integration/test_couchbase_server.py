"""What CouchbaseMock cannot do: these run on the server of TIERED_TEST_COUCHBASE, and the summary names those that do not."""

from __future__ import annotations

import subprocess
import time
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args

import pytest

from tests.couchbase_servers import REAL, fresh, needs_a_real_server
from tests.waiting import eventually
from tiered import CouchbaseTier, MemoryTier, NotApplied, StoreUnavailable, TieredBackend
from tiered.errors import Reason
from tiered.testing.contract import scan_all, value
from tiered.tiers.base import Write
from tiered.tiers.couchbase import Durability
from tiered.tiers.couchbase_documents import MAX_BODY

NOW = time.time_ns() // 1_000_000


@pytest.fixture
def tier(request: pytest.FixtureRequest) -> Iterator[CouchbaseTier]:
    """A tier on the real server; its options by `indirect`."""
    needs_a_real_server(request.node.get_closest_marker("needs").args[0])
    options: dict[str, Any] = getattr(request, "param", {})
    tier = CouchbaseTier(options.pop("url", REAL), prefix=fresh(), timeout=10.0, connect_timeout=20.0, **options)
    yield tier
    tier.close()


@pytest.mark.needs("range scan")
def test_keys_and_items_by_range_scan(tier: CouchbaseTier) -> None:
    keys = {f"a{n}" for n in range(1200)} | {"é" * 100, "x" * 246, "b\0c"}
    with TieredBackend([MemoryTier(), tier]) as store:
        store.set_many(dict.fromkeys(sorted(keys), 1))
        assert set(store.keys()) == keys and set(store.keys("a1")) == {key for key in keys if key.startswith("a1")}
        assert dict(store.items("x")) == {"x" * 246: 1} and list(store.keys("b\0")) == ["b\0c"]
        store.clear()
        assert list(store.keys()) == []


@pytest.mark.needs("range scan")
def test_a_cache_lists_what_it_holds(tier: CouchbaseTier) -> None:
    frames = [(f"k{n}", value(f"k{n}").seal(1)) for n in range(300)]
    tier.put_many("n:1", frames)
    page = tier.listing("n:1", None, 100)
    assert page.cursor is not None and len(page.items) <= 100
    assert sorted(scan_all(tier, "n", "")) == []


@pytest.mark.needs("collections")
def test_a_collection_that_is_there_and_one_that_is_not(tier: CouchbaseTier) -> None:
    scope = tier._link._connection  # connects, so that the bucket is there
    scope.ping()
    manager = scope._bucket.collections()
    name = f"t{uuid.uuid4().hex[:8]}"
    manager.create_collection("_default", name)
    try:
        there = CouchbaseTier(f"{REAL}/_default/{name}", prefix=fresh(), timeout=10.0, connect_timeout=20.0)
        eventually(lambda: there.health().ok)
        assert there.commit("n", [Write("x" * 246, value("x" * 246))], now=NOW).written[0].version
        there.close()
    finally:
        manager.drop_collection("_default", name)
    missing = CouchbaseTier(f"{REAL}/_default/nothing", prefix=fresh(), timeout=1.0, connect_timeout=20.0)
    with pytest.raises(StoreUnavailable):
        missing.read("n", "k")
    missing.close()


@pytest.mark.parametrize("level", [level for level in get_args(Durability) if level != "none"])
@pytest.mark.needs("durability levels")
def test_a_durable_write_is_done_or_certainly_not(level: Durability, request: pytest.FixtureRequest) -> None:
    needs_a_real_server("durability levels")
    tier = CouchbaseTier(REAL, prefix=fresh(), durability=level, timeout=10.0, connect_timeout=20.0)
    try:
        assert tier.commit("n", [Write("k", value("k"))], now=NOW).written[0].version
    except NotApplied as error:
        assert error.reason is Reason.MISUSE, "a bucket with replicas that no node has cannot be durable"
    finally:
        tier.close()


@pytest.mark.needs("authentication")
def test_a_wrong_password_is_told_in_words_that_help(tier: CouchbaseTier) -> None:
    wrong = REAL.replace("@", "wrong@", 1)
    with pytest.raises(StoreUnavailable, match="password") as raised:
        CouchbaseTier(wrong, connect_timeout=5.0).read("n", "k")
    assert raised.value.reason is Reason.AUTH and "wrong@" not in str(raised.value)


@pytest.mark.needs("limit of 20 MiB")
def test_the_server_takes_what_we_let_pass(tier: CouchbaseTier) -> None:
    with TieredBackend([MemoryTier(max_entries=0), tier]) as store:
        largest = b"x" * (MAX_BODY - 100)
        store.set("k", largest)
        assert store.get("k") == largest


@pytest.mark.needs("versions that are a clock's")
def test_versions_rise_over_deletes_and_purges(tier: CouchbaseTier) -> None:
    first = tier.commit("n", [Write("k", value("k"))], now=NOW).written[0].version
    collection = tier._link._connection.collection(write=True)
    collection.remove(f"{tier._record._prefix}:n:0:k")
    second = tier.commit("n", [Write("k", value("k"))], now=NOW).written[0].version
    assert first < second < 2**63


@pytest.mark.needs("expiry of a binary document")
def test_the_native_expiry_is_what_was_asked_for(tier: CouchbaseTier) -> None:
    from couchbase.options import GetOptions

    with TieredBackend([MemoryTier(max_entries=0), tier]) as store:
        store.set("k", 1, ttl=timedelta(days=40))
    found = tier._link._connection.collection(write=False).get(
        f"{tier._record._prefix}:default:0:k", GetOptions(with_expiry=True)
    )
    assert abs(found.expiry_time.timestamp() - time.time() - 40 * 86_400) < 120


@pytest.mark.needs("TLS")
def test_tls_refuses_a_certificate_that_nobody_vouches_for(tier: CouchbaseTier, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    key = str(tmp_path / "key.pem")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=other", "-days", "1"]
    subprocess.run([*command, "-keyout", key, "-out", str(other)], check=True, capture_output=True)
    url = REAL.replace("couchbase://", "couchbases://", 1)
    with pytest.raises(StoreUnavailable):
        CouchbaseTier(url, certificate=str(other), connect_timeout=5.0).read("n", "k")
