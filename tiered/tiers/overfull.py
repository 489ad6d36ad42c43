"""Which cache tiers have more marks than a journal may hold for one."""

from __future__ import annotations

from tiered.tiers.sqlite import Cursor, first


def overfull(db: Cursor, table: str, most: int) -> list[str]:
    """The tiers with more than `most` marks in `table`, found with few of them read: DISTINCT and count() would read all."""
    found, tier = list[str](), ""
    while (row := first(db, f"SELECT min(tier) FROM {table} WHERE tier > ?", (tier,)))[0] is not None:
        tier = row[0]
        if first(db, f"SELECT 1 FROM {table} WHERE tier = ? LIMIT 1 OFFSET ?", (tier, most)):
            found.append(tier)
    return found
