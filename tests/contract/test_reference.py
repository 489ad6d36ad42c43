"""The contract itself: a plain record passes it, and records that break one rule each fail it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from inspect import signature
from threading import RLock
from typing import Any

import pytest

from tiered.entry import Draft, expires_at_of, is_tombstone, version_of
from tiered.errors import StoreError
from tiered.testing.contract import CacheContract, RecordContract
from tiered.testing.journal_contract import JournalContract
from tiered.tiers.base import Absence, Commit, Mark, Page, TierHealth, Write, Written


class DictRecord:
    """A record that is as plain as possible: one lock, a few dicts, nothing durable."""

    name = identity = "reference"
    max_key_bytes = 1024

    def __init__(self) -> None:
        self.frames: dict[tuple[str, str], bytes] = {}
        self.entries: dict[str, dict[str, bytes]] = {}
        self.generations: dict[str, int] = {}
        self.bumps, self.version = 41, 0  # generations may begin anywhere
        self.caches: dict[str, str] = {}
        self.replayers: set[str] = set()
        self.marks: dict[tuple[str, str, str], Mark] = {}
        self.journal = self
        self.lock, self.closed = RLock(), False

    def get(self, scope: str, key: str) -> bytes | None:
        return self.get_many(scope, [key])[0]

    def get_many(self, scope: str, keys: Sequence[str]) -> list[bytes | None]:
        with self.opened():
            return [self.frames.get((scope, key)) for key in keys]

    def put_many(
        self, scope: str, items: Sequence[tuple[str, bytes]], *, since: float | None = None, tell: bool = False
    ) -> list[bool]:
        with self.opened():
            return [self.put_one((scope, key), frame) for key, frame in items]

    def forget(self, scope: str) -> None:
        self.frames = {place: frame for place, frame in self.frames.items() if place[0] != scope}

    def probe(self) -> str:
        with self.opened():
            return "reference"

    def health(self) -> TierHealth:
        return TierHealth(not self.closed)

    def close(self) -> None:
        self.closed = True

    def read(self, namespace: str, key: str) -> tuple[int, bytes | None]:
        generation, (frame,) = self.read_many(namespace, [key])
        return generation, frame

    def read_many(self, namespace: str, keys: Sequence[str]) -> tuple[int, list[bytes | None]]:
        with self.opened():
            held = self.entries.get(namespace, {})
            return self.generation(namespace), [held.get(key) for key in keys]

    def commit(self, namespace: str, writes: Sequence[Write], *, marks: Sequence[str] = (), now: int) -> Commit:
        with self.opened():
            return Commit(self.generation(namespace), [self.write(namespace, it, marks, now) for it in writes])

    def scan(self, namespace: str, prefix: str, cursor: str | None, limit: int) -> Page:
        with self.opened():
            held = self.entries.get(namespace, {})
            keys = sorted(key for key in held if key.startswith(prefix) and (cursor is None or key > cursor))
            items = [(key, held[key]) for key in keys[:limit]]
            return Page(items, keys[limit - 1] if len(keys) > limit else None)

    def generation(self, namespace: str) -> int:
        with self.opened():
            return self.generations.get(namespace, 1) + self.bumps

    def clear(self, namespace: str) -> int:
        with self.opened():
            self.entries.pop(namespace, None)
            self.marks = {place: mark for place, mark in self.marks.items() if mark.namespace != namespace}
            self.generations[namespace] = self.generations.get(namespace, 1) + 1
            return self.generation(namespace)

    def bump(self) -> None:
        with self.opened():
            self.bumps += 1

    # The journal

    def intents(self) -> list[tuple[str, str]]:
        return []

    def pending(self, tier: str, *, limit: int, above: int = 0) -> list[Mark]:
        with self.opened():
            marks = [it for it in self.marks.values() if it.tier == tier and it.version > above]
            return sorted(marks, key=lambda it: it.version)[:limit]

    def still_pending(self, tier: str, keys: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        with self.opened():
            return {key for key in keys if (tier, *key) in self.marks}

    def confirm(self, marks: Sequence[Mark]) -> None:
        for mark in marks:
            if self.marks.get((mark.tier, mark.namespace, mark.key)) == mark:
                del self.marks[mark.tier, mark.namespace, mark.key]

    def flush(self) -> None:
        pass

    def absences(self, namespace: str, keys: Sequence[str]) -> tuple[int, list[bytes | Absence]]:
        with self.opened():
            held = self.entries.get(namespace, {})
            return self.generation(namespace), [
                self.living(held.get(key), 0) or self.absence(namespace, key) for key in keys
            ]

    def absence(self, namespace: str, key: str) -> Absence:
        return Absence(self.version, any(place[1:] == (namespace, key) for place in self.marks))

    def adopt(self, tier: str, identity: str) -> bool:
        with self.opened():
            changed = self.caches.get(tier) != identity
            self.caches[tier] = identity
            self.bumps += changed
            return changed

    def adopted(self, tier: str) -> str | None:
        with self.opened():
            return self.caches.get(tier)

    @contextmanager
    def replaying(self, tier: str) -> Iterator[bool]:
        mine = tier not in self.replayers
        self.replayers.add(tier)
        yield mine
        if mine:
            self.replayers.discard(tier)

    def opened(self) -> RLock:
        if self.closed:
            raise StoreError("closed", tier=self.name)
        return self.lock

    def put_one(self, place: tuple[str, str], frame: bytes) -> bool:
        newer = self.newer(frame, self.frames.get(place, b""))
        if newer:
            self.frames[place] = frame
        return newer

    def newer(self, frame: bytes, held: bytes) -> bool:
        return version_of(frame) > version_of(held)

    def write(self, namespace: str, write: Write, marks: Sequence[str], now: int) -> Written:
        held = self.entries.setdefault(namespace, {})
        before = self.living(held.get(write.key), now)
        told = before is not None and (write.expect is not None or write.draft.tombstone)
        if write.expect is not None and write.expect != version_of(before or b""):
            return Written(0, b"", told)
        self.version += 1
        held[write.key] = frame = self.seal(write.draft)
        for tier in {*marks, *self.caches}:
            mark = Mark(tier, namespace, write.key, self.version, self.generation(namespace))
            self.marks[tier, namespace, write.key] = mark
        return Written(self.version, frame, told)

    def living(self, frame: bytes | None, now: int) -> bytes | None:
        if frame is None or is_tombstone(frame) or 0 < expires_at_of(frame) <= now:
            return None
        return frame

    def seal(self, draft: Draft) -> bytes:
        return draft.seal(self.version)


class Whole(CacheContract, JournalContract):
    """A cache tier, a record and a journal."""


class TestReference(Whole):
    @pytest.fixture
    def tier(self) -> Iterator[DictRecord]:
        tier = DictRecord()
        yield tier
        tier.close()


class NoVersionCheck(DictRecord):
    def newer(self, frame: bytes, held: bytes) -> bool:
        return True


class AcceptsEqual(DictRecord):
    def newer(self, frame: bytes, held: bytes) -> bool:
        return version_of(frame) >= version_of(held)


class FloatVersions(DictRecord):
    def newer(self, frame: bytes, held: bytes) -> bool:
        return float(version_of(frame)) > float(version_of(held))


class HalfWordVersions(DictRecord):
    def newer(self, frame: bytes, held: bytes) -> bool:
        return version_of(frame) % 2**32 > version_of(held) % 2**32


class NothingExpires(DictRecord):
    def living(self, frame: bytes | None, now: int) -> bytes | None:
        return super().living(frame, 0)


class ConfirmsAnyVersion(DictRecord):
    def confirm(self, marks: Sequence[Mark]) -> None:
        for mark in marks:
            self.marks.pop((mark.tier, mark.namespace, mark.key), None)


class MarksOnlyOfTheChain(DictRecord):
    def write(self, namespace: str, write: Write, marks: Sequence[str], now: int) -> Written:
        adopted, self.caches = self.caches, {}
        written = super().write(namespace, write, marks, now)
        self.caches = adopted
        return written


class PagesByKey(DictRecord):
    def pending(self, tier: str, *, limit: int, above: int = 0) -> list[Mark]:
        return sorted(super().pending(tier, limit=2**30, above=above))[:limit]


class AbsencesWithoutVersion(DictRecord):
    def absence(self, namespace: str, key: str) -> Absence:
        return super().absence(namespace, key)._replace(version=0)


class AbsencesNeverPending(DictRecord):
    def absence(self, namespace: str, key: str) -> Absence:
        return super().absence(namespace, key)._replace(pending=False)


class FirstAdoptionIsNothingNew(DictRecord):
    def adopt(self, tier: str, identity: str) -> bool:
        self.caches.setdefault(tier, identity)
        return super().adopt(tier, identity)


class AdoptsWithoutNewGeneration(DictRecord):
    def adopt(self, tier: str, identity: str) -> bool:
        changed = super().adopt(tier, identity)
        self.bumps -= changed
        return changed


class AnybodyReplays(DictRecord):
    @contextmanager
    def replaying(self, tier: str) -> Iterator[bool]:
        yield True


class OneReplaysToAll(DictRecord):
    def replaying(self, tier: str) -> AbstractContextManager[bool]:
        return super().replaying("any")


class NothingIsStillPending(DictRecord):
    def still_pending(self, tier: str, keys: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        return set()


class StillPendingAnywhere(DictRecord):
    def still_pending(self, tier: str, keys: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        return {key for key in keys if any(place[1:] == key for place in self.marks)}


class VersionsRestartOnClear(DictRecord):
    def clear(self, namespace: str) -> int:
        self.version = 0
        return super().clear(namespace)


class MarksOutliveAClear(DictRecord):
    def clear(self, namespace: str) -> int:
        marks = dict(self.marks)
        generation = super().clear(namespace)
        self.marks = marks
        return generation


class ScanRepeats(DictRecord):
    def scan(self, namespace: str, prefix: str, cursor: str | None, limit: int) -> Page:
        page = super().scan(namespace, prefix, cursor, limit)
        return page._replace(items=page.items + page.items[:1])


BROKEN = [
    (NoVersionCheck, "test_put_if_newer_compares_versions_exactly"),
    (NoVersionCheck, "test_a_tombstone_stays_and_refuses_what_is_older"),
    (AcceptsEqual, "test_put_if_newer_compares_versions_exactly"),
    (FloatVersions, "test_put_if_newer_compares_versions_exactly"),
    (HalfWordVersions, "test_put_if_newer_compares_versions_exactly"),
    (NothingExpires, "test_an_expired_entry_counts_as_absent"),
    (ConfirmsAnyVersion, "test_marks_are_cleared_by_version_and_generation"),
    (MarksOnlyOfTheChain, "test_every_commit_leaves_marks_for_adopted_tiers"),
    (MarksOutliveAClear, "test_a_cleared_namespace_leaves_no_marks"),
    (PagesByKey, "test_marks_page_by_version_over_namespaces"),
    (AbsencesWithoutVersion, "test_an_absence_is_as_new_as_the_newest_version"),
    (AbsencesNeverPending, "test_an_absence_is_as_new_as_the_newest_version"),
    (FirstAdoptionIsNothingNew, "test_adopting_other_data_gives_every_namespace_a_new_generation"),
    (AdoptsWithoutNewGeneration, "test_adopting_other_data_gives_every_namespace_a_new_generation"),
    (AnybodyReplays, "test_one_replays_to_a_tier_at_a_time"),
    (OneReplaysToAll, "test_one_replays_to_a_tier_at_a_time"),
    (NothingIsStillPending, "test_what_is_still_pending_is_told_by_tier_and_namespace"),
    (StillPendingAnywhere, "test_what_is_still_pending_is_told_by_tier_and_namespace"),
    (VersionsRestartOnClear, "test_versions_rise_over_everything"),
    (ScanRepeats, "test_scan_finds_each_key_once"),
]


@pytest.mark.parametrize("broken, promise", BROKEN)
def test_a_broken_record_fails(broken: type[DictRecord], promise: str) -> None:
    test: Any = getattr(Whole(), promise)
    assert list(signature(test).parameters) == ["tier"]
    test(DictRecord())
    with pytest.raises(AssertionError):
        test(broken())


def test_a_record_with_a_journal_is_not_tested_without_it() -> None:
    with pytest.raises(AssertionError, match="JournalContract"):
        RecordContract().test_a_record_without_a_journal_ignores_marks(DictRecord())
