"""Chains with Couchbase in any place, from URLs, files and the environment; docs/couchbase.md has the URLs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.couchbase_servers import CouchbaseMock, fresh
from tests.waiting import eventually
from tiered import ConfigError, CouchbaseTier, FileTier, MemoryTier, TieredBackend
from tiered.chain_url import tiers_from_url
from tiered.config import tiers_from_settings

PAGE = (Path(__file__).parents[2] / "docs" / "couchbase.md").read_text()
URLS: dict[str, str] = dict(re.findall(r"^\| ([^|]+?) \| `(couchbases?://[^`]+)` \|$", PAGE, re.MULTILINE))
LOGIN = ("TIERED_COUCHBASE_USER", "TIERED_COUCHBASE_PASSWORD", "TIERED_COUCHBASE_CERTIFICATE")


@pytest.fixture(autouse=True)
def no_login(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in LOGIN:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def url(couchbase_url: str) -> str:
    return f"{couchbase_url}?prefix={fresh()}&timeout=5s&connect_timeout=10s"


@pytest.fixture
def in_the_middle(couchbase_mock: CouchbaseMock, tmp_path: Path) -> Iterator[TieredBackend]:
    tiers = [MemoryTier(max_entries=0), CouchbaseTier(couchbase_mock.url, prefix=fresh()), FileTier(tmp_path)]
    with TieredBackend(tiers) as store:
        yield store


def test_every_url_of_the_page_is_one(tmp_path: Path) -> None:
    assert len(URLS) >= 5
    authority = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(authority)
    for meaning, text in URLS.items():
        (tier,) = tiers_from_url(text.replace("/etc/ssl/couchbase-ca.pem", str(authority)))
        assert isinstance(tier, CouchbaseTier), meaning
        tier.close()


def test_a_url_a_table_and_the_environment_say_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(authority)
    login, place = "bot:p%40ss@", "one.example,two.example/chat/main/bots"
    whole = f"couchbases://{login}{place}?certificate={authority}&durability=majority"
    table = {
        "type": "couchbases",
        "url": "couchbases://one.example,two.example/chat/main/bots",
        "user": "bot",
        "password": "p@ss",
        "certificate": str(authority),
        "durability": "majority",
    }
    monkeypatch.setenv("TIERED_URL", "")
    addresses = []
    for source in ({"url": f"memory://,{whole}"}, {"tiers": [{"type": "memory"}, table]}):
        tiers, _ = tiers_from_settings(source, {})
        addresses.append(tiers[1]._link._connection._address)  # type: ignore[attr-defined]
    for name, said in zip(LOGIN, ("bot", "p@ss", str(authority)), strict=True):
        monkeypatch.setenv(name, said)
    monkeypatch.setenv(
        "TIERED_URL", "memory://,couchbases://one.example,two.example/chat/main/bots?durability=majority"
    )
    tiers, _ = tiers_from_settings(None, {})
    addresses.append(tiers[1]._link._connection._address)  # type: ignore[attr-defined]
    assert addresses[0] == addresses[1] == addresses[2]
    assert addresses[0].password == "p@ss" and "p@ss" not in repr(addresses[0])


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("couchbase:localhost/b", "two slashes are missing"),
        ("couchbase://u:p@localhost", "path is /bucket"),
        ("couchbase://u:p@localhost/", "path is /bucket"),
        ("couchbase://u:p@localhost/b/s", "path is /bucket"),
        ("couchbase://u:p@/b", "no host"),
        ("couchbase://localhost/b", "needs a user"),
        ("couchbase://u:p@localhost/b?certificate=/x", "couchbases://"),
        ("couchbases://u:p@localhost/b?certificate=/x", "a file that is not there"),
        ("couchbase://u:p@localhost:abc/b", "a number from 1 to 65535"),
        ("couchbase://u:p@one,localhost:65536/b", "a number from 1 to 65535"),
        ("couchbase://u:p@[::1]:/b", "a number from 1 to 65535"),
        ("couchbase://u:half/p@localhost/b", "write / as %2F"),
        ("couchbase://u:1/p@localhost/b?user=u", "write / as %2F"),
        ("couchbase://u:p@localhost/b?durability=always", "durability must be one of"),
        ("couchbase://u:p@localhost/b?timeout=0", "timeout must be a number"),
        ("couchbase://u:p@localhost/b?prefix=" + "x" * 65, "prefix"),
        ("couchbase://u:p@localhost/b?durabilty=majority", "did you mean 'durability'"),
    ],
)
def test_what_cannot_work_is_refused_in_words_that_help(url: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as raised:
        tiers_from_url(url)
    assert "p@" not in str(raised.value)


@pytest.mark.parametrize("content", [b"", b"\0\xff", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_a_certificate_that_is_none_is_refused_at_once(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "ca.pem").write_bytes(content)
    with pytest.raises(ConfigError, match="couchbase: certificate names a file without certificates"):
        tiers_from_url(f"couchbases://u:p@localhost/b?certificate={tmp_path / 'ca.pem'}")


def test_addresses_that_the_sdk_takes_are_taken() -> None:
    for hosts in ("localhost:65535", "[::1]", "[::1]:11210", "one:1,two,[::1]:2", "one:11210=mcd"):
        CouchbaseTier(f"couchbase://u:p@{hosts}/b").close()


@pytest.mark.parametrize("option", ["user", "password", "certificate"])
def test_a_login_that_is_no_string_is_refused(option: str) -> None:
    wrong: Any = {option: b"p@ss"}
    with pytest.raises(ConfigError, match=f"{option} must be a str, not bytes") as raised:
        CouchbaseTier("couchbases://u@h/b", **wrong)
    assert "p@ss" not in str(raised.value)


def test_feeding_caches_afterwards_is_refused_where_hosts_share_the_record(url: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="feed='journal'"):
        TieredBackend.from_url(
            f"memory://,redis://localhost:1,{url}", journal=str(tmp_path / "journal"), feed="journal"
        )


def test_what_a_journal_keeps_in_the_record_is_no_namespace_in_use(url: str, tmp_path: Path) -> None:
    """Metrics show those, and caches are claimed for them."""
    for _ in range(2):  # the second finds what the first has written
        with TieredBackend.from_url(f"file:{tmp_path}/near,{url}", journal=str(tmp_path / "journal")) as store:
            store.set("k", 1)
            assert [space.name for space in store._core.chain.spaces()] == ["default"]


def test_memory_over_couchbase(url: str) -> None:
    with TieredBackend.from_url(f"memory://,{url}") as store:
        store.set("k", {"a": (1, 2)}, ttl=60)
        assert store.get("k") == {"a": (1, 2)} and 0 < (store.ttl("k") or 0) <= 60
        assert store.add("k", 2) is None and store.increment("n", 5) == 5
        assert store.update("k", lambda it: {**it, "b": 1}) == {"a": (1, 2), "b": 1}
        assert store.delete("k") and not store.delete("k") and store.get("k") is None
        assert store.get_or_set("loaded", lambda: 7) == 7
        store.namespace("other").set("n", 1)
        store.clear()
        assert store.get("n") is None and store.namespace("other").get("n") == 1


def test_file_over_couchbase_is_the_users_order(url: str, tmp_path: Path) -> None:
    """A local disk in front of a far bucket."""
    with TieredBackend.from_url(f"memory://?max_entries=0,file:{tmp_path},{url}") as store:
        assert store.set("k", 1).tiers == {"memory": "skipped", "file": "ok", "couchbase": "ok"}
        assert store.lookup("k").tier == "file"


def test_couchbase_in_the_middle_fails_no_call(in_the_middle: TieredBackend, couchbase_mock: CouchbaseMock) -> None:
    store: Any = in_the_middle
    assert store.set("k", "old").tiers["couchbase"] == "ok" and store.lookup("k").tier == "couchbase"
    for gone, back in (("freeze", "thaw"), ("vanish", "reappear")):
        getattr(couchbase_mock, gone)()
        for n in range(20):
            assert store.set("k", n).tiers["file"] == "ok" and store.get("k") == n
        assert store.health()["couchbase"]["breaker"] == "open"
        store.delete("k")
        getattr(couchbase_mock, back)()
        eventually(
            lambda: store.health()["couchbase"]["breaker"] == "closed" and not store.health()["couchbase"]["owed"]
        )
        assert store.get("k") is None
        # Not at once: the machine may be too slow for its time limit.
        eventually(lambda: store.lookup("k").tier == "couchbase")
        store.set("k", gone)
        assert store.get("k") == gone
        eventually(lambda: store.lookup("k").tier == "couchbase")
