"""The contract of a tier as tests that anyone can run on theirs.

Subclass `TierContract` (a cache tier) or `RecordContract` (a store of record too) in a test module and provide a
fixture `tier`; pytest does the rest. Needs pytest, which the extra `dev` brings.
"""

from __future__ import annotations

import random
import threading
from typing import Any

import pytest

from tiered.codecs import codec_for
from tiered.entry import TOMBSTONE, Draft, draft, namespace_seed, open_frame, tombstone, version_of
from tiered.errors import StoreError
from tiered.tiers.base import Mark, Write

NOW = 1_900_000_000_000
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
    "%00",
]
BOUNDARIES = [1, 2, 2**32 - 1, 2**32, 2**32 + 1, 2**53, 2**53 + 1, 2**62, 2**63 - 2, 2**63 - 1]


def value(key: str, content: Any = "value", *, namespace: str = "n", expires_at: int = 0) -> Draft:
    """A draft of `content` as the backend would write it."""
    return draft(namespace_seed(namespace), key, CODEC.encode(content), CODEC.id, expires_at=expires_at)


class TierContract:
    """What every cache tier must do. `tier` is a fresh, empty tier; the fixture closes it."""

    def test_nothing_is_none(self, tier: Any) -> None:
        assert tier.get("n:1", "k") is None
        assert tier.get_many("n:1", ["a", "b"]) == [None, None]
        assert tier.get_many("n:1", []) == [] and tier.put_many("n:1", []) == []

    def test_what_was_put_is_got(self, tier: Any) -> None:
        for key in HOSTILE_KEYS:
            frame = value(key).seal(3)
            assert tier.put("n:1", key, frame) is True
            assert tier.get("n:1", key) == frame
        assert tier.get_many("n:1", HOSTILE_KEYS) == [value(key).seal(3) for key in HOSTILE_KEYS]

    def test_put_if_newer_compares_versions_exactly(self, tier: Any) -> None:
        for version in BOUNDARIES:
            assert tier.put("n:1", "k", value("k").seal(version)) is True
            assert tier.put("n:1", "k", value("k").seal(version)) is False
            assert tier.put("n:1", "k", value("k", "other").seal(version - 1)) is False
            assert tier.get("n:1", "k") == value("k").seal(version)

    def test_a_tombstone_stays_and_refuses_what_is_older(self, tier: Any) -> None:
        import time

        grave = tombstone(namespace_seed("n"), "k", time.time_ns() // 1_000_000).seal(5)
        tier.put("n:1", "k", value("k").seal(4))
        assert tier.put("n:1", "k", grave) is True
        assert tier.put("n:1", "k", value("k").seal(4)) is False
        assert tier.get("n:1", "k") == grave and grave[3] & TOMBSTONE

    def test_batches_keep_their_order_and_apply_in_it(self, tier: Any) -> None:
        items = [(f"k{n}", value(f"k{n}", n).seal(n + 1)) for n in range(500)]
        assert tier.put_many("n:1", items) == [True] * 500
        assert tier.get_many("n:1", [key for key, _ in reversed(items)]) == [frame for _, frame in reversed(items)]
        twice = [("x", value("x").seal(2)), ("x", value("x").seal(1)), ("x", value("x").seal(3))]
        assert tier.put_many("n:1", twice) == [True, False, True]

    def test_scopes_are_separate(self, tier: Any) -> None:
        tier.put("n:1", "k", value("k", 1).seal(9))
        assert tier.get("n:2", "k") is None
        assert tier.put("n:2", "k", value("k", 2).seal(1)) is True

    def test_large_and_empty_values(self, tier: Any) -> None:
        for version, content in enumerate((b"", b"x" * 3_000_000), 1):
            frame = value("k", content).seal(version)
            assert tier.put("n:1", "k", frame) and tier.get("n:1", "k") == frame

    def test_many_threads_end_with_the_highest_version(self, tier: Any) -> None:
        seed = random.randrange(2**32)
        print("seed", seed)
        versions = random.Random(seed).sample(range(1, 10_000), 160)

        def work(mine: list[int]) -> None:
            for version in mine:
                tier.put("n:1", "k", value("k", version).seal(version))

        run_threads(work, [(versions[n::8],) for n in range(8)])
        assert version_of(tier.get("n:1", "k")) == max(versions)

    def test_probe_and_health(self, tier: Any) -> None:
        assert tier.probe() and tier.probe() == tier.probe()
        assert tier.health().ok

    def test_a_closed_tier_says_so(self, tier: Any) -> None:
        tier.close()
        tier.close()
        with pytest.raises(StoreError):
            tier.get("n:1", "k")
        with pytest.raises(StoreError):
            tier.put("n:1", "k", value("k").seal(1))


class RecordContract(TierContract):
    """What every store of record must do besides."""

    def test_versions_rise_over_everything(self, tier: Any) -> None:
        seen = []
        for step in range(5):
            seen.append(commit(tier, Write("k", value("k", step))).version)
            seen.append(commit(tier, Write("k", tombstone(namespace_seed("n"), "k", NOW))).version)
            tier.clear("n")
        assert seen == sorted(set(seen)) and seen[0] > 0

    def test_what_was_committed_is_read(self, tier: Any) -> None:
        written = commit(tier, Write("k", value("k", [1, 2])))
        generation, frame = tier.read("n", "k")
        assert (generation, frame) == (1, written.frame)
        assert CODEC.decode(open_frame(frame, namespace_seed("n"), "k").payload) == [1, 2]
        assert tier.read_many("n", ["x", "k", "k"]) == (1, [None, frame, frame])
        assert tier.read("other", "k") == (1, None)

    def test_conditional_writes(self, tier: Any) -> None:
        first = commit(tier, Write("k", value("k", 1), 0))
        assert first.version
        refused = commit(tier, Write("k", value("k", 2), 0))
        assert (refused.version, refused.frame, refused.existed) == (0, b"", True)
        assert commit(tier, Write("k", value("k", 3), first.version + 7)).version == 0
        assert tier.read("n", "k")[1] == first.frame
        assert commit(tier, Write("k", value("k", 4), first.version)).version > first.version

    def test_an_expired_entry_counts_as_absent(self, tier: Any) -> None:
        commit(tier, Write("k", value("k", 1, expires_at=NOW + 10)))
        assert commit(tier, Write("k", value("k", 2), 0)).version == 0
        assert commit(tier, Write("k", value("k", 2), 0), now=NOW + 10).version > 0

    def test_deletes_tell_what_was_there(self, tier: Any) -> None:
        grave = Write("k", tombstone(namespace_seed("n"), "k", NOW))
        nothing = commit(tier, grave)
        assert nothing.version and not nothing.existed
        commit(tier, Write("k", value("k")))
        assert commit(tier, grave).existed and not commit(tier, grave).existed

    def test_a_batch_applies_in_order_and_a_refused_write_stops_no_other(self, tier: Any) -> None:
        writes = [Write("a", value("a", 1)), Write("b", value("b", 1), 99), Write("a", value("a", 2))]
        done = tier.commit("n", writes, now=NOW)
        assert [bool(it.version) for it in done.written] == [True, False, True]
        assert tier.read_many("n", ["a", "b"])[1] == [done.written[2].frame, None]

    def test_clear_and_bump(self, tier: Any) -> None:
        commit(tier, Write("k", value("k")))
        tier.commit("m", [Write("k", value("k", namespace="m"))], now=NOW)
        assert tier.generation("n") == 1
        assert tier.clear("n") == tier.generation("n") == tier.read("n", "k")[0] > 1
        assert tier.read("n", "k")[1] is None and tier.read("m", "k")[1] is not None
        before = tier.generation("m")
        tier.bump()
        assert tier.generation("m") > before and tier.read("m", "k")[1] is not None

    def test_scan_finds_each_key_once(self, tier: Any) -> None:
        keys = {f"p*{n}" for n in range(60)}
        tier.commit("n", [Write(key, value(key)) for key in sorted(keys | {"q", "pz"})], now=NOW)
        found, cursor = list[str](), None
        while True:
            page = tier.scan("n", "p*", cursor, 7)
            found += [key for key, _ in page.items]
            if (cursor := page.cursor) is None:
                break
        assert set(found) == keys

    def test_compare_and_set_loses_nothing(self, tier: Any) -> None:
        def work() -> None:
            for _ in range(10):
                while True:
                    frame = tier.read("n", "k")[1]
                    entry = open_frame(frame, namespace_seed("n"), "k") if frame else None
                    count = CODEC.decode(entry.payload) if entry else 0
                    if commit(tier, Write("k", value("k", count + 1), entry.version if entry else 0)).version:
                        break

        run_threads(work, [()] * 4)
        assert CODEC.decode(open_frame(tier.read("n", "k")[1], namespace_seed("n"), "k").payload) == 40

    def test_the_journal_clears_marks_by_version_and_generation(self, tier: Any) -> None:
        if (journal := tier.journal) is None:
            assert tier.commit("n", [Write("k", value("k"))], marks=["cache"], now=NOW).written[0].version
            return
        old = commit(tier, Write("k", value("k", 1)), marks=["cache"])
        new = commit(tier, Write("k", value("k", 2)), marks=["cache"])
        mark = Mark("cache", "n", "k", new.version, 1)
        assert journal.pending("cache", limit=10) == [mark]
        for wrong in (mark._replace(version=old.version), mark._replace(generation=2), mark._replace(tier="other")):
            journal.confirm([wrong])
            journal.flush()
            assert journal.pending("cache", limit=10) == [mark]
        journal.confirm([mark])
        journal.flush()
        assert journal.pending("cache", limit=10) == []
        tier.commit("n", [Write(key, value(key)) for key in "cab"], marks=["cache"], now=NOW)
        pages = [journal.pending("cache", limit=2), journal.pending("cache", limit=2, after=("n", "b"))]
        assert [[mark.key for mark in page] for page in pages] == [["a", "b"], ["c"]]


def commit(tier: Any, write: Write, *, now: int = NOW, marks: Any = ()) -> Any:
    """One write in a commit of its own."""
    return tier.commit("n", [write], marks=marks, now=now).written[0]


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
