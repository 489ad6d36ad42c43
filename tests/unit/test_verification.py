"""The decisions of verify, without I/O: what a difference is, when it is certain, how pages are cut."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests.clocks import HandClock
from tests.frames import frames
from tiered.cli.progress_line import _fitted
from tiered.entry import draft, namespace_seed, tombstone
from tiered.errors import Reason, StoreError, StoreUnavailable
from tiered.tiers.base import Page
from tiered.verification import pages as paging
from tiered.verification.cache_side import CacheSide
from tiered.verification.copies import Copy, Place, compare, opened
from tiered.verification.pages import BYTES, MOST, pages
from tiered.verification.report import Kind, Report, TierReport
from tiered.verification.suspects import judge
from tiered.verification.tally import Tally
from tiered.verification.verifier import Verifier

NOW = 1_000_000
PLACE = Place.of("n")


def alive(version: int, payload: bytes = b"v") -> bytes:
    return draft(namespace_seed("n"), "k", payload, 1).seal(version)


def expired(version: int) -> bytes:
    return draft(namespace_seed("n"), "k", b"v", 1, expires_at=NOW).seal(version)


def buried(version: int) -> bytes:
    return tombstone(namespace_seed("n"), "k", NOW).seal(version)


def signed(version: int) -> bytes:
    return frames("sign").draft("k", b"v", 1).seal(version)


@pytest.mark.parametrize(
    ("record", "tier", "kind"),
    [
        (None, None, None),
        (None, buried(9), None),
        (None, expired(9), None),
        (None, alive(9), Kind.RESURRECTABLE),
        (None, b"?", Kind.DAMAGED),
        (None, signed(9), Kind.UNREADABLE),
        (alive(5), signed(5), Kind.DAMAGED),  # the keys at hand are right: they open what the record has
        (alive(5), None, Kind.MISSING),
        (alive(5), alive(5), Kind.SAME),
        (alive(5), alive(5, b"w"), Kind.DIFFERENT),
        (alive(5), buried(5), Kind.DIFFERENT),
        (alive(5), alive(4), Kind.OLDER),
        (alive(5), buried(4), Kind.OLDER),
        (alive(5), expired(4), Kind.OLDER),
        (alive(5), alive(6), Kind.NEWER),
        (alive(5), buried(6), Kind.NEWER),
        (alive(5), alive(5)[:-1], Kind.DAMAGED),
        (expired(5), None, None),
        (expired(5), expired(5), Kind.SAME),
        (expired(5), buried(5), Kind.SAME),  # what a replay puts for an expired row
        (expired(5), buried(8), Kind.SAME),
        (expired(5), buried(3), Kind.SAME),
        (expired(5), alive(4), Kind.RESURRECTABLE),
        (expired(5), alive(5), Kind.DIFFERENT),
        (expired(5), alive(6), Kind.NEWER),
    ],
)
def test_what_a_difference_is(record: bytes | None, tier: bytes | None, kind: Kind | None) -> None:
    recorded, held = opened(PLACE, "k", record, NOW), opened(PLACE, "k", tier, NOW)
    assert compare(recorded, held, lambda a, b: a.content == b.content) is kind


def test_a_report_is_one_line_to_read_in_a_shell() -> None:
    record = TierReport("file", "record", {Kind.SAME: 1200, Kind.MISSING: 0})
    memory = TierReport("memory", "memory", {Kind.SAME: 0})
    cache = TierReport("redis", "cache", {Kind.SAME: 1, Kind.OLDER: 2}, mended={Kind.OLDER: 2})
    away = TierReport("far", "cache", {}, error="timeout")
    report = Report(("default",), (memory, cache, record), 0.25)
    assert repr(report) == str(report)
    assert repr(report) == (
        "<Report converged: <memory: nothing> <redis: 1 same, 2 older, 2 older mended> <file: 1,200 same> in 0.250 s>"
    )
    assert repr(Report((), (away,), 1.0)) == "<Report NOT OK: <far: not compared: timeout, nothing> in 1.000 s>"
    assert str(record.counts) == "{'same': 1200, 'missing': 0}"


def test_what_is_behind_is_a_fault_only_if_it_lacks_what_was_known_at_the_first_look() -> None:
    held = Copy(4, False, b"")
    for kind in (Kind.OLDER, Kind.RESURRECTABLE):
        assert judge(5, kind, held, owing=False) is kind
        assert judge(4, kind, held, owing=False) is Kind.PENDING, (
            "it has reached that, and something newer is under way"
        )
        assert judge(5, kind, held, owing=True) is Kind.PENDING
    for kind in (Kind.NEWER, Kind.DIFFERENT, Kind.DAMAGED, Kind.SAME):
        assert judge(5, kind, held, owing=True) is kind
    assert judge(5, None, None, owing=False) is None


def test_what_was_seen_on_both_sides_of_a_clear_is_looked_at_once_more() -> None:
    """Else what the tier held before would be compared with what the record has after it."""
    generations, asked = iter([1, 2]), list[int]()

    class Record:
        name = "record"
        generation = staticmethod(lambda namespace: next(generations))
        read_many = staticmethod(lambda namespace, keys: (2, [None]))

    class Side:
        name, tally = "side", Tally("side", "cache", 1)

        @staticmethod
        def held(place: Place, generation: int, keys: list[str]) -> list[Copy | None]:
            asked.append(generation)
            return [Copy(5, False, b"before") if generation == 1 else None]

    chain: Any = SimpleNamespace(record=Record, clock=HandClock())
    side: Any = Side
    assert list(Verifier(chain, [side], Side.tally)._look(PLACE, side, ["k"])) == [("k", None, None)]
    assert asked == [1, 2]


def scripted(sizes: list[int], limits: list[int]) -> Any:
    """A fetch over so many frames of these sizes that notes the limits it was given."""

    def fetch(cursor: str | None, limit: int) -> Page:
        limits.append(limit)
        start = int(cursor or 0)
        items = [(str(n), b"x" * size) for n, size in enumerate(sizes[start : start + limit], start)]
        return Page(items, str(start + limit) if start + limit < len(sizes) else None)

    return fetch


def test_pages_grow_with_small_frames_and_shrink_with_large_ones() -> None:
    limits: list[int] = []
    keys = [key for page in pages(scripted([10] * 3000, limits)) for key, _ in page]
    assert keys == [str(n) for n in range(3000)] and limits[-1] == MOST and limits[0] < MOST
    limits.clear()
    assert sum(map(len, pages(scripted([BYTES] * 40, limits)))) == 40
    assert max(limits[1:]) <= 2


def test_a_page_is_tried_again_smaller_and_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "PAUSE", 0)
    limits: list[int] = []
    inner = scripted([1] * 20, [])

    def slow(cursor: str | None, limit: int) -> Page:
        limits.append(limit)
        if limit > 4:
            raise StoreUnavailable("slow", tier="t", reason=Reason.TIMEOUT)
        page: Page = inner(cursor, limit)
        return page

    assert sum(map(len, pages(slow))) == 20 and min(limits) <= 4

    def refused(cursor: str | None, limit: int) -> Page:
        limits.append(limit)
        raise StoreUnavailable("no", tier="t", reason=Reason.AUTH)

    limits.clear()
    with pytest.raises(StoreError, match="no"):
        list(pages(refused))
    assert len(limits) == 1, "what does not pass is not tried again"


def test_keys_that_take_too_long_together_are_asked_for_in_halves() -> None:
    asked: list[int] = []

    class Slow:
        name = "slow"

        class tier:
            @staticmethod
            def get_many(scope: str, keys: list[str]) -> list[bytes | None]:
                asked.append(len(keys))
                if len(keys) > 3:
                    raise StoreUnavailable("no answer in time", tier="slow", reason=Reason.TIMEOUT)
                return [key.encode() for key in keys]

    side = CacheSide.__new__(CacheSide)
    side.guard = Slow  # type: ignore[assignment]  # only its tier is asked
    keys = [str(n) for n in range(20)]
    assert side._frames("n:1", keys) == [key.encode() for key in keys]
    assert max(asked) == 20 and asked[-1] <= 3


@pytest.mark.parametrize(
    ("total", "seconds", "width", "text"),
    [
        (1000, 10.0, 79, "comparing  25%  30 s left  250 of 1,000  25/s"),
        (1000, 10.0, 30, "comparing  25%  30 s left"),
        (1000, 0.1, 79, "comparing  25%  250 of 1,000"),
        (None, 10.0, 79, "comparing  250  25/s"),
        (0, 10.0, 79, "comparing  25/s"),
        (1000, 10.0, 6, "compar"),
    ],
)
def test_the_progress_line_says_what_there_is_room_for(
    total: int | None, seconds: float, width: int, text: str
) -> None:
    assert _fitted("comparing", 250, total, seconds, width) == text
