"""The contract of a tier as tests that anyone can run on theirs.

Subclass `CacheContract` (a cache tier), `RecordContract` (a store of record) or `JournalContract` (one that has a
journal; journal_contract.py), and `GivingContract` too for one that `gives`, in a test module and provide
`@pytest.fixture def tier(self)`: a fresh, empty tier per test, closed afterwards. pytest does the rest. It needs room for
1,000 entries and for one value of 5 MB. Needs pytest, which the extra `dev` brings.
"""

from __future__ import annotations

import random
import threading
import time
from typing import Any

import pytest

from tiered.codecs import codec_for
from tiered.entry import Draft, draft, is_tombstone, namespace_seed, open_frame, tombstone, version_of
from tiered.errors import StoreError
from tiered.tiers.base import NOTHING_HAS, Given, Write, generations_of

NOW = time.time_ns() // 1_000_000
HOUR = 3_600_000
CODEC = codec_for(None)
HOSTILE_KEYS = [
    "../x",
    "a\0b",
    "a\nb",
    "a\r\nb",
    " ",
    "*?[x]^\\",
    "a:b",
    "{a}",
    "ключ",
    "\U0001f600",
    "x" * 1024,
    "x" * 1023 + "y",
    "é" * 512,
    "%00",
]
BOUNDARIES = [1, 2, 2**32 - 1, 2**32, 2**32 + 1, 2**53, 2**53 + 1, 2**62, 2**63 - 2, 2**63 - 1]
CLOSE_PAIRS = [
    (2**31 - 1, 2**31),
    (2**32 - 1, 2**32),
    (2**33 - 1, 2**33),
    (9, 10),
    (255, 256),
    (2**53, 2**53 + 1),
    (2**60 + 2, 2**60 + 3),
    (2**63 - 2, 2**63 - 1),
]


def value(key: str, content: Any = "value", *, namespace: str = "n", expires_at: int = 0) -> Draft:
    """A draft of `content` as the backend would write it."""
    return draft(namespace_seed(namespace), key, CODEC.encode(content), CODEC.id, expires_at=expires_at)


class TierContract:
    """What every tier must do. `tier` is a fresh, empty tier; the fixture closes it."""

    def test_probe_and_health(self, tier: Any) -> None:
        identity = tier.probe()
        assert isinstance(identity, str) and identity
        assert tier.probe() == identity
        assert tier.health().ok

    def test_a_closed_tier_says_so(self, tier: Any) -> None:
        tier.close()
        tier.close()
        refused(tier.probe)
        tier.health()


class CacheContract(TierContract):
    """What every cache tier must do besides."""

    def test_nothing_is_none(self, tier: Any) -> None:
        assert tier.get("n:1", "k") is None
        assert tier.get_many("n:1", ["a", "b"]) == [None, None]
        assert tier.get_many("n:1", []) == [] and tier.put_many("n:1", []) == []

    def test_what_was_put_is_got(self, tier: Any) -> None:
        for key in HOSTILE_KEYS:
            frame = value(key).seal(3)
            assert put(tier, "n:1", key, frame) is True
            assert tier.get("n:1", key) == frame
        assert tier.get_many("n:1", HOSTILE_KEYS) == [value(key).seal(3) for key in HOSTILE_KEYS]
        assert tier.get_many("n:1", ["../y", "a", "*", "x"]) == [None] * 4

    def test_put_if_newer_compares_versions_exactly(self, tier: Any) -> None:
        for version in BOUNDARIES:
            assert put(tier, "n:1", "k", value("k").seal(version)) is True
            assert put(tier, "n:1", "k", value("k").seal(version)) is False
            assert put(tier, "n:1", "k", value("k", "other").seal(version - 1)) is False
            assert tier.get("n:1", "k") == value("k").seal(version)

    @pytest.mark.parametrize("older, newer", CLOSE_PAIRS)
    def test_versions_that_a_float_or_half_a_word_confuses(self, tier: Any, older: int, newer: int) -> None:
        assert put(tier, "n:1", "k", value("k").seal(newer)) is True
        assert put(tier, "n:1", "k", value("k").seal(older)) is False
        assert tier.get("n:1", "k") == value("k").seal(newer)
        assert put(tier, "n:1", "up", value("up").seal(older)) is True
        assert put(tier, "n:1", "up", value("up").seal(newer)) is True

    def test_a_tombstone_stays_and_refuses_what_is_older(self, tier: Any) -> None:
        now = time.time_ns() // 1_000_000  # not when this was imported: a tier keeps it for a minute
        grave = tombstone(namespace_seed("n"), "k", now).seal(5)
        put(tier, "n:1", "k", value("k").seal(4))
        assert put(tier, "n:1", "k", grave) is True
        assert put(tier, "n:1", "k", value("k").seal(4)) is False
        assert tier.get("n:1", "k") == grave
        assert put(tier, "n:1", "k", value("k", "again").seal(6)) is True

    def test_a_frame_past_its_retention_still_replaces_what_is_older(self, tier: Any) -> None:
        put(tier, "n:1", "k", value("k", "old").seal(1))
        put(tier, "n:1", "k", value("k", "new", expires_at=NOW - 1_000_000).seal(2))
        assert tier.get("n:1", "k") != value("k", "old").seal(1)

    def test_batches_keep_their_order_and_apply_in_it(self, tier: Any) -> None:
        items = [(f"k{n}", value(f"k{n}", n).seal(n + 1)) for n in range(1000)]
        assert tier.put_many("n:1", items) == [True] * 1000
        assert tier.put_many("n:1", items) == [False] * 1000
        assert tier.get_many("n:1", [key for key, _ in reversed(items)]) == [frame for _, frame in reversed(items)]
        twice = [("x", value("x").seal(2)), ("x", value("x").seal(1)), ("x", value("x").seal(3))]
        assert tier.put_many("n:1", twice) == [True, False, True]
        newest = value("x").seal(3)
        assert tier.get_many("n:1", ["x", "absent", "x", "k7"]) == [newest, None, newest, items[7][1]]

    def test_scopes_are_separate(self, tier: Any) -> None:
        put(tier, "n:1", "k", value("k", 1).seal(9))
        assert tier.get("n:2", "k") is None
        assert put(tier, "n:2", "k", value("k", 2).seal(1)) is True
        assert tier.get("n:1", "k") == value("k", 1).seal(9) and tier.get("n:2", "k") == value("k", 2).seal(1)

    def test_large_and_empty_values(self, tier: Any) -> None:
        for version, payload in enumerate((CODEC.encode(b""), CODEC.encode(b"x" * 5_000_000), b""), 1):
            frame = draft(namespace_seed("n"), "k", payload, CODEC.id).seal(version)
            assert put(tier, "n:1", "k", frame) and tier.get("n:1", "k") == frame

    def test_many_threads_end_with_the_highest_version(self, tier: Any) -> None:
        seed = random.randrange(2**32)
        print("seed", seed)
        versions = random.Random(seed).sample(range(1, 10_000), 160)

        def work(mine: list[int]) -> None:
            for version in mine:
                put(tier, "n:1", "k", value("k", version).seal(version))

        run_threads(work, [(versions[n::8],) for n in range(8)])
        assert version_of(tier.get("n:1", "k")) == max(versions)

    def test_a_closed_cache_says_so(self, tier: Any) -> None:
        tier.close()
        refused(tier.get, "n:1", "k")
        refused(tier.get_many, "n:1", ["k"])
        refused(tier.put_many, "n:1", [("k", value("k").seal(1))])


class RecordContract(TierContract):
    """What every store of record must do besides."""

    journal_too = False

    def test_versions_rise_over_everything(self, tier: Any) -> None:
        seen: list[int] = []
        for step in range(5):
            seen.append(commit(tier, Write("k", value("k", step))).version)
            seen.append(commit(tier, Write("k", tombstone(namespace_seed("n"), "k", NOW))).version)
            seen.append(commit(tier, Write("other", value("other"))).version)
            tier.clear("n")
        assert seen == sorted(set(seen)) and seen[0] > 0

    def test_what_was_committed_is_read(self, tier: Any) -> None:
        first = tier.generation("n")
        written = commit(tier, Write("k", value("k", [1, 2])))
        generation, frame = tier.read("n", "k")
        assert (generation, frame) == (first, written.frame)
        assert CODEC.decode(open_frame(frame, namespace_seed("n"), "k").payload) == [1, 2]
        assert tier.read_many("n", ["x", "k", "k"]) == (first, [None, frame, frame])
        assert tier.read("other", "k") == (tier.generation("other"), None)

    def test_conditional_writes(self, tier: Any) -> None:
        first = commit(tier, Write("k", value("k", 1), 0))
        assert first.version
        refused = commit(tier, Write("k", value("k", 2), 0))
        assert (refused.version, refused.frame, refused.existed) == (0, b"", True)
        assert commit(tier, Write("k", value("k", 3), first.version + 7)).version == 0
        assert tier.read("n", "k")[1] == first.frame
        assert commit(tier, Write("k", value("k", 4), first.version)).version > first.version
        assert commit(tier, Write("k", value("k", 5), first.version)).version == 0

    def test_a_version_is_not_expected_where_nothing_is(self, tier: Any) -> None:
        refused_one = commit(tier, Write("absent", value("absent"), 1))
        assert refused_one.version == 0 and tier.read("n", "absent")[1] is None
        gone = commit(tier, Write("k", value("k")))
        grave = commit(tier, Write("k", tombstone(namespace_seed("n"), "k", NOW), gone.version))
        assert grave.version > gone.version and grave.existed
        for version in (gone.version, grave.version):
            assert commit(tier, Write("k", value("k", 2), version)).version == 0
        assert commit(tier, Write("k", value("k", 2), 0)).version > grave.version

    def test_existed_is_told_of_conditional_writes_only(self, tier: Any) -> None:
        assert commit(tier, Write("absent", value("absent"), 1)).existed is False
        first = commit(tier, Write("k", value("k")))
        assert commit(tier, Write("k", value("k"), first.version)).existed is True
        assert commit(tier, Write("k", value("k"))).existed is False

    def test_an_expired_entry_counts_as_absent(self, tier: Any) -> None:
        short = commit(tier, Write("k", value("k", 1, expires_at=NOW + HOUR)))
        assert commit(tier, Write("k", value("k", 2), 0), now=NOW + HOUR - 1).version == 0
        assert commit(tier, Write("k", value("k", 2), short.version), now=NOW + HOUR).version == 0
        assert commit(tier, Write("k", value("k", 2), 0), now=NOW + HOUR).version > short.version
        commit(tier, Write("d", value("d", expires_at=NOW + HOUR)))
        assert not commit(tier, Write("d", tombstone(namespace_seed("n"), "d", NOW)), now=NOW + HOUR).existed

    def test_deletes_tell_what_was_there(self, tier: Any) -> None:
        grave = Write("k", tombstone(namespace_seed("n"), "k", NOW))
        nothing = commit(tier, grave)
        assert nothing.version and not nothing.existed
        commit(tier, Write("k", value("k")))
        deleted = commit(tier, grave)
        assert deleted.existed and is_tombstone(deleted.frame) and version_of(deleted.frame) == deleted.version
        assert not commit(tier, grave).existed
        frame = tier.read("n", "k")[1]
        assert frame is None or is_tombstone(frame)

    def test_a_batch_applies_in_order_and_a_refused_write_stops_no_other(self, tier: Any) -> None:
        writes = [Write("a", value("a", 1)), Write("b", value("b", 1), 99), Write("a", value("a", 2))]
        done = tier.commit("n", writes, now=NOW)
        assert [bool(it.version) for it in done.written] == [True, False, True]
        assert done.written[2].version > done.written[0].version
        assert tier.read_many("n", ["a", "b"])[1] == [done.written[2].frame, None]
        own = tier.commit("n", [Write("c", value("c", 1), 0), Write("c", value("c", 2), 0)], now=NOW).written
        assert [bool(it.version) for it in own] == [True, False]
        assert tier.read("n", "c")[1] == own[0].frame

    def test_hostile_keys_large_batches_and_values(self, tier: Any) -> None:
        done = tier.commit("n", [Write(key, value(key, key[:9])) for key in HOSTILE_KEYS], now=NOW).written
        assert tier.read_many("n", HOSTILE_KEYS)[1] == [it.frame for it in done]
        assert dict(scan_all(tier, "n", "")) == {k: it.frame for k, it in zip(HOSTILE_KEYS, done, strict=True)}
        keys = [f"k{n}" for n in range(1000)]
        done = tier.commit("n", [Write(key, value(key)) for key in keys], now=NOW).written
        assert tier.read_many("n", keys[::-1])[1] == [it.frame for it in done[::-1]]
        large = commit(tier, Write("k0", value("k0", b"x" * 5_000_000)))
        assert tier.read("n", "k0")[1] == large.frame

    def test_clear_and_bump(self, tier: Any) -> None:
        commit(tier, Write("k", value("k")))
        tier.commit("m", [Write("k", value("k", namespace="m"))], now=NOW)
        first, other = tier.generation("n"), tier.generation("m")
        assert first == tier.read("n", "k")[0] > 0
        assert tier.clear("n") == tier.generation("n") == tier.read("n", "k")[0] > first
        assert tier.read("n", "k")[1] is None and tier.read("m", "k")[1] is not None
        assert scan_all(tier, "n", "") == [] and tier.generation("m") == other
        after = tier.commit("n", [Write("k", value("k", 2), 0)], now=NOW)
        assert after.generation == tier.generation("n") and after.written[0].version
        before = [tier.generation("n"), tier.generation("m")]
        tier.bump()
        bumped = [tier.generation("n"), tier.generation("m")]
        assert bumped[0] > before[0] and bumped[1] > before[1]
        assert tier.read("n", "k") == (bumped[0], after.written[0].frame) and tier.read("m", "k")[1] is not None
        assert list(generations_of(tier, ["m", "n", "new"])) == [bumped[1], bumped[0], tier.generation("new")]
        assert tier.clear("n") > bumped[0]

    def test_scan_finds_each_key_once(self, tier: Any) -> None:
        keys = {f"p*{n}" for n in range(60)}
        tier.commit("n", [Write(key, value(key)) for key in sorted(keys | {"q", "pz"})], now=NOW)
        tier.commit("m", [Write("p*other", value("p*other", namespace="m"))], now=NOW)
        for limit in (1, 7, 60, 1000):
            found = scan_all(tier, "n", "p*", limit)
            assert sorted(key for key, _ in found) == sorted(keys)
        assert [frame for _, frame in found] == tier.read_many("n", [key for key, _ in found])[1]

    @pytest.mark.parametrize("prefix", ["*", "?", "[a]", "[^a", "\\", "{a}", "%", "_", "a\n", "é", "\U0001f600"])
    def test_a_prefix_is_taken_literally(self, tier: Any, prefix: str) -> None:
        others = ["a", "b", "ab", "aa", "a]", "xyz"]
        tier.commit("n", [Write(key, value(key)) for key in (prefix, prefix + "x", *others)], now=NOW)
        assert sorted(key for key, _ in scan_all(tier, "n", prefix)) == [prefix, prefix + "x"]

    def test_compare_and_set_loses_nothing(self, tier: Any) -> None:
        def work() -> None:
            for _ in range(5):
                while True:
                    frame = tier.read("n", "k")[1]
                    entry = open_frame(frame, namespace_seed("n"), "k") if frame else None
                    count = CODEC.decode(entry.payload) if entry else 0
                    if commit(tier, Write("k", value("k", count + 1), entry.version if entry else 0)).version:
                        break

        run_threads(work, [()] * 8)
        assert CODEC.decode(open_frame(tier.read("n", "k")[1], namespace_seed("n"), "k").payload) == 40

    def test_a_record_without_a_journal_ignores_marks(self, tier: Any) -> None:
        assert commit(tier, Write("k", value("k")), marks=["cache"]).version
        assert self.journal_too is (tier.journal is not None), "a record with a journal runs JournalContract"

    def test_a_closed_record_says_so(self, tier: Any) -> None:
        tier.close()
        refused(tier.read, "n", "k")
        refused(tier.read_many, "n", ["k"])
        refused(tier.scan, "n", "", None, 10)
        refused(tier.generation, "n")
        refused(tier.clear, "n")
        refused(tier.bump)
        with pytest.raises(StoreError):
            commit(tier, Write("k", value("k")))


def put(tier: Any, scope: str, key: str, frame: bytes) -> bool:
    """Put one frame; whether it was newer."""
    (newer,) = tier.put_many(scope, [(key, frame)])
    return bool(newer)


def commit(tier: Any, write: Write, *, now: int = NOW, marks: Any = ()) -> Any:
    """One write in a commit of its own."""
    return tier.commit("n", [write], marks=marks, now=now).written[0]


def scan_all(tier: Any, namespace: str, prefix: str, limit: int = 100) -> list[tuple[str, bytes]]:
    """Everything that `scan` finds, page by page, repeats included."""
    page = tier.scan(namespace, prefix, None, limit)
    found = list(page.items)
    while page.cursor is not None:
        page = tier.scan(namespace, prefix, page.cursor, limit)
        found += page.items
    return found


def refused(operation: Any, *arguments: Any) -> None:
    """Call `operation`, which must raise `StoreError`."""
    with pytest.raises(StoreError):
        operation(*arguments)


def run_threads(work: Any, arguments: list[tuple[Any, ...]]) -> None:
    """Run `work` in a thread for each tuple of arguments and raise the first error that one of them met."""
    errors: list[BaseException] = []

    def guarded(*args: Any) -> None:
        try:
            work(*args)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=args) for args in arguments]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


class GivingContract:
    """What a store of record that `gives` must do besides."""

    def test_a_write_may_build_on_one_before_it(self, tier: Any) -> None:
        first, second, never = Given(), Given(), Given()
        chained = [
            Write("k", value("k", 1), 0, given=first),
            Write("k", value("k", 2), NOTHING_HAS, after=first, given=second),
            Write("k", value("k", 3), NOTHING_HAS, after=first),  # too late
            Write("k", value("k", 4), NOTHING_HAS, after=never),
        ]
        done = tier.commit("n", chained, now=NOW).written
        assert [bool(it.version) for it in done] == [True, True, False, False]
        assert (first.version, second.version) == (done[0].version, done[1].version)
        later = commit(tier, Write("k", value("k", 5), NOTHING_HAS, after=second, given=never))
        assert later.version == never.version > second.version
        refused = commit(tier, Write("k", value("k", 6), NOTHING_HAS, after=second, given=first))
        assert refused.version == 0 and tier.read("n", "k")[1] == later.frame
