"""The contract of what a cache tier may offer to `verify` and `repair`: to list its entries, and to remove damage.

Subclass `EnumerableContract` as you do `CacheContract`, with the same fixture `tier`.
"""

from __future__ import annotations

from typing import Any

from tiered.testing.contract import HOSTILE_KEYS, put, value
from tiered.tiers.base import Enumerable

MANY = 700


def entries(tier: Any, scope: str, limit: int) -> dict[str, bytes]:
    """All that `tier` lists under `scope`, in pages of `limit`."""
    found: dict[str, bytes] = {}
    cursor: str | None = None
    while True:
        page = tier.listing(scope, cursor, limit)
        found.update(page.items)
        cursor = page.cursor
        if cursor is None:
            return found


class EnumerableContract:
    """What an `Enumerable` must do. `tier` is a fresh, empty tier; the fixture closes it."""

    def test_it_says_that_it_can(self, tier: Any) -> None:
        assert isinstance(tier, Enumerable)

    def test_a_listing_has_every_entry_of_its_scope_and_no_other(self, tier: Any) -> None:
        frames = {key: value(key).seal(7) for key in [*HOSTILE_KEYS, *(f"k{n}" for n in range(MANY))]}
        for scope in ("n:1", "n:10", "n:2", "nn:1"):
            assert entries(tier, scope, 100) == {}
        tier.put_many("n:1", list(frames.items()))
        tier.put_many("n:10", [("other", value("other").seal(1))])
        assert entries(tier, "n:1", 100) == frames
        assert entries(tier, "n:1", 1_000_000) == frames
        assert entries(tier, "n:10", 3) == {"other": value("other").seal(1)}

    def test_a_page_is_about_as_long_as_was_asked_for(self, tier: Any) -> None:
        tier.put_many("n:1", [(f"k{n}", value(f"k{n}").seal(1)) for n in range(MANY)])
        page = tier.listing("n:1", None, 50)
        assert len(page.items) <= 250 and page.cursor is not None

    def test_only_what_still_holds_these_bytes_is_removed(self, tier: Any) -> None:
        for key in HOSTILE_KEYS:
            put(tier, "n:1", key, value(key).seal(5))
        put(tier, "n:2", "a:b", value("a:b").seal(5))
        wrong = [(key, value(key).seal(4)) for key in HOSTILE_KEYS]
        assert tier.discard("n:1", wrong) == 0
        assert tier.discard("n:1", []) == 0 and tier.discard("n:1", [("nothing", b"x")]) == 0
        some = [(key, value(key).seal(5)) for key in HOSTILE_KEYS[:5]]
        assert tier.discard("n:1", [*some, *wrong[5:]]) == 5
        assert entries(tier, "n:1", 100) == {key: value(key).seal(5) for key in HOSTILE_KEYS[5:]}
        assert tier.get("n:2", "a:b") is not None
        assert put(tier, "n:1", HOSTILE_KEYS[0], value(HOSTILE_KEYS[0]).seal(1)) is True, (
            "its version is forgotten, too"
        )
