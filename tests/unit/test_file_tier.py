"""The file tier, on a real disk: reading and writing, as a record and as a cache; backups."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.file_tier import NOW, SEED, connection, frame, open_tier, put, value
from tiered.entry import tombstone, version_of
from tiered.errors import ConfigError, StoreUnavailable
from tiered.tiers.base import NOTHING_HAS, RETENTION_MS, CacheTier, Given, Record, Write
from tiered.tiers.file import CACHE_LIFE_MS, FileTier
from tiered.tiers.file_session import Session
from tiered.tiers.file_store import has_log


@pytest.fixture
def tier(tmp_path: Path) -> Iterator[FileTier]:
    with closing(open_tier(tmp_path / "store")) as it:
        yield it


def cached(tier: FileTier, key: str, frame: bytes) -> bool:
    (newer,) = tier.put_many("s", [(key, frame)])
    return newer


# Reading and writing


def test_is_a_record_and_a_cache_tier(tier: FileTier) -> None:
    assert isinstance(tier, Record) and isinstance(tier, CacheTier)


def test_read_returns_what_was_committed(tier: FileTier) -> None:
    first = tier.generation("n")
    assert tier.read("n", "k") == (first, None)
    done = tier.commit("n", [Write("k", value("k"))], now=NOW)
    assert done.generation == first
    assert tier.read("n", "k") == (first, done.written[0].frame)
    assert tier.read_many("n", ["x", "k"]) == (first, [None, done.written[0].frame])
    assert tier.read_many("n", []) == (first, [])


@pytest.mark.parametrize("key", ["", "a\0b", "a\nb", "é", "\U0001f600", "\0", "k" * 1024])
def test_any_unicode_key_survives(tier: FileTier, key: str) -> None:
    put(tier, key)
    assert tier.read("n", key)[1] is not None
    assert [name for name, _ in tier.scan("n", "", None, 10).items] == [key]


def test_keys_that_differ_after_a_nul_are_different(tier: FileTier) -> None:
    put(tier, "a\0b", b"1")
    put(tier, "a\0c", b"2")
    assert tier.read("n", "a\0b") != tier.read("n", "a\0c")
    assert len(tier.scan("n", "a\0", None, 10).items) == 2


def test_versions_grow_over_reopening_and_processes(tmp_path: Path) -> None:
    one, two = FileTier(tmp_path), FileTier(tmp_path)
    versions = [put(it, "k") for _ in range(5) for it in (one, two, two)]
    one.close()
    two.close()
    three = FileTier(tmp_path)
    versions.append(put(three, "k"))
    three.close()
    assert versions == sorted(set(versions))


def test_writes_of_one_key_apply_in_order(tier: FileTier) -> None:
    tier.commit("n", [Write("k", value("k", b"1")), Write("k", value("k", b"2"))], now=NOW)
    assert (tier.read("n", "k")[1] or b"").endswith(b"2")


def test_expect_decides(tier: FileTier) -> None:
    first = put(tier, "k", expect=0)
    assert first > 0
    assert put(tier, "k", expect=0) == 0
    assert put(tier, "k", expect=first + 1) == 0
    assert put(tier, "k", expect=first) > first


def test_a_version_that_came_to_nothing_is_nobodys_to_build_on(tier: FileTier) -> None:
    """Another write gets it next: what built on the first would replace what it has never seen."""
    given = Given()

    def fails(session: Session) -> None:
        session.commit("n", [Write("k", value("k", b"first"), 0, given=given)], (), NOW)
        lost.append(given.version)
        raise ValueError

    lost = list[int]()
    with pytest.raises(ValueError):
        tier._writer.write(fails)
    other = put(tier, "k", b"other")
    assert lost == [other] and given.version == NOTHING_HAS
    late = tier.commit("n", [Write("k", value("k", b"late"), NOTHING_HAS, after=given)], now=NOW)
    assert late.written[0].version == 0
    assert (tier.read("n", "k")[1] or b"").endswith(b"other")


def test_what_was_told_stays_true_after_the_commit(tier: FileTier) -> None:
    given = Given()
    tier.commit("n", [Write("k", value("k", b"first"), 0, given=given)], now=NOW)
    with pytest.raises(ZeroDivisionError):
        tier._writer.write(lambda session: 1 // 0)  # another transaction, which is rolled back
    late = tier.commit("n", [Write("k", value("k", b"late"), NOTHING_HAS, after=given)], now=NOW)
    assert late.written[0].version > given.version > 0


def test_an_expired_entry_counts_as_absent(tier: FileTier) -> None:
    version = put(tier, "k", expires_at=NOW)
    assert put(tier, "k", expect=version) == 0
    assert put(tier, "k", expect=0) > version


def test_a_delete_tells_whether_something_was_there(tier: FileTier) -> None:
    put(tier, "k")
    deletes = [Write("k", tombstone(SEED, "k", NOW)), Write("k", tombstone(SEED, "k", NOW))]
    done = tier.commit("n", [*deletes, Write("k", value("k")), Write("k", value("k"))], now=NOW)
    assert [it.existed for it in done.written] == [True, False, False, False]
    assert version_of(done.written[0].frame) == done.written[0].version


def test_scan_pages_through_a_prefix_in_order(tier: FileTier) -> None:
    for key in ("a1", "b1", "b2", "b3", "c"):
        put(tier, key)
    seen, cursor = [], None
    while True:
        page = tier.scan("n", "b", cursor, 2)
        seen += [key for key, _ in page.items]
        cursor = page.cursor
        if cursor is None:
            break
    assert seen == ["b1", "b2", "b3"]
    assert tier.scan("n", "", None, 0).items == []


def test_clear_and_bump(tier: FileTier) -> None:
    first = tier.generation("n")
    put(tier, "k")
    cleared = tier.clear("n")
    assert cleared > first
    assert tier.read("n", "k") == (cleared, None)
    put(tier, "k")
    tier.bump()
    generation, held = tier.read("n", "k")
    assert generation > cleared and held is not None
    assert tier.generation("another") > first  # bumped, though it was not there yet
    assert tier.clear("unknown") > first


def test_two_stores_begin_with_generations_that_the_other_does_not_have(tmp_path: Path) -> None:
    """A directory that was made anew must not read what the caches hold of the one before."""
    firsts = []
    for name in ("one", "two", "three"):
        with closing(open_tier(tmp_path / name)) as it:
            firsts.append(it.generation("n"))
    assert len(set(firsts)) == 3 and min(abs(a - b) for a in firsts for b in firsts if a != b) > 1000


def test_what_was_cleared_is_swept_in_small_steps(tier: FileTier) -> None:
    tier.commit("n", [Write(str(n), value(str(n))) for n in range(25)], now=NOW)
    tier.clear("n")
    put(tier, "kept")
    assert tier.read("n", "3")[1] is None
    assert [tier.expire(NOW, limit=10) for _ in range(4)] == [10, 10, 5, 0]
    assert tier.read("n", "kept")[1] is not None


# The cache role


def test_put_accepts_only_newer(tier: FileTier) -> None:
    assert cached(tier, "k", frame("k", 5))
    assert not cached(tier, "k", frame("k", 5))
    items = [("k", frame("k", 4)), ("k", frame("k", 6)), ("x", b"junk"), ("x", frame("x", 1))]
    assert tier.put_many("s", items) == [False, True, False, True]
    connection(tier).execute("UPDATE entries SET frame = ? WHERE key = ?", (b"junk", "x"))
    assert cached(tier, "x", frame("x", 1))
    assert tier.get_many("s", ["k", "y"]) == [frame("k", 6), None]


def test_a_cached_frame_stays_for_the_retention_or_a_day_and_then_goes(tier: FileTier) -> None:
    """What an older generation left is asked for by nobody, and dropped by nobody else."""
    cached(tier, "k", frame("k", 1, keep_until=NOW))
    cached(tier, "for ever", frame("for ever", 1))
    cached(tier, "a week", frame("a week", 1, keep_until=NOW + 7 * CACHE_LIFE_MS))
    assert tier.expire(NOW + RETENTION_MS - 1) == 0
    assert tier.expire(NOW + RETENTION_MS) == 1
    assert tier.get_many("s", ["k", "for ever"]) == [None, frame("for ever", 1)]
    assert [tier.expire(NOW + CACHE_LIFE_MS - 1), tier.expire(NOW + CACHE_LIFE_MS)] == [0, 2]


def test_a_forgotten_scope_is_swept_in_small_steps(tier: FileTier) -> None:
    tier.put_many("s", [(str(n), frame(str(n), 1)) for n in range(25)])
    tier.forget("s")
    assert tier.get("s", "3") is None
    assert [tier.expire(NOW, limit=10) for _ in range(4)] == [10, 10, 5, 0]


def test_a_cache_that_nobody_had_open_is_another(tmp_path: Path) -> None:
    """A power cut may have taken what was put last, and somebody may have put the directory back."""
    one, two = open_tier(tmp_path / "cache"), open_tier(tmp_path / "cache")
    first = one.probe()
    assert two.probe() == first == one.probe()
    one.close()
    with closing(open_tier(tmp_path / "cache")) as three:
        assert three.probe() == first, "another had it open all the time"
    two.close()
    with closing(open_tier(tmp_path / "cache")) as four:
        assert four.probe() != first


# Backups


def test_a_restored_backup_starts_generations_and_versions_of_its_own(tier: FileTier, tmp_path: Path) -> None:
    version = put(tier, "k")
    tier.journal.adopt("r", "run 1")
    tier.commit("n", [Write("pending", value("pending"))], now=NOW)
    first = tier.generation("n")
    (tmp_path / "restored").mkdir()
    path = tmp_path / "restored" / "tiered.sqlite3"
    tier.backup(path)
    assert path.stat().st_mode & 0o777 == 0o600 and len(list(path.parent.iterdir())) == 1
    restored = FileTier(path.parent)
    assert connection(restored).execute("PRAGMA journal_mode").fetchone() == ("wal",)
    generation, held = restored.read("n", "k")
    assert generation >= first + 2**20 and version_of(held or b"") == version
    assert restored.generation("another") >= first + 2**20
    assert put(restored, "k") >= version + 2**32
    assert restored.journal.pending("r", limit=10) == [] and restored.journal.adopted("r") is None
    restored.close()
    assert tier.generation("n") == first and len(tier.journal.pending("r", limit=10)) == 1


def test_a_failed_backup_leaves_nothing(tier: FileTier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "taken").mkdir()
    for place in (tmp_path / "taken", tmp_path / "missing" / "copy"):
        with pytest.raises(ConfigError):
            tier.backup(place)

    def fails(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(StoreUnavailable, match="Input/output error"):
        tier.backup(tmp_path / "copy")
    assert not list(tmp_path.glob("*.part*"))


def test_a_backup_that_was_killed_is_in_the_way_of_none_and_goes_after_a_while(tier: FileTier, tmp_path: Path) -> None:
    (tmp_path / "copies").mkdir()
    killed, running, journal = (
        tmp_path / "copies" / f"copy.part-{it}" for it in ("0a" * 4, "1b" * 4, "0a" * 4 + "-journal")
    )
    for path in (killed, running, journal):
        path.touch()
    os.utime(killed, (1, 1))
    tier.backup(tmp_path / "copies" / "copy")
    assert {it.name for it in (tmp_path / "copies").iterdir()} == {"copy", running.name}


def test_two_backups_to_one_path_at_once_are_both_made(
    tier: FileTier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tier, "k")
    replace = os.replace

    def meanwhile(part: Path, target: Path) -> None:
        monkeypatch.setattr(os, "replace", replace)
        tier.backup(target)
        replace(part, target)

    monkeypatch.setattr(os, "replace", meanwhile)
    tier.backup(tmp_path / "copy")
    assert has_log(tmp_path / "copy") is False and not list(tmp_path.glob("*.part*"))


def test_who_has_the_directory_in_use_is_said_also_when_it_is_this_process(tmp_path: Path) -> None:
    with closing(FileTier(tmp_path)), pytest.raises(ConfigError, match="in use by a store of this process; share that"):
        FileTier(tmp_path, shared=False)
    with (
        closing(FileTier(tmp_path, shared=False)),
        pytest.raises(ConfigError, match="in use by a store of this process, which asked for it alone"),
    ):
        FileTier(tmp_path)
