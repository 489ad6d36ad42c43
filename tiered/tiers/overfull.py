"""Which cache tiers have more marks than a journal may hold for one."""

from __future__ import annotations

import sqlite3


def overfull(db: sqlite3.Cursor, table: str, most: int) -> list[str]:
    """The tiers with more than `most` marks in `table`, found with few of them read: DISTINCT and count() would read all."""
    found, tier = list[str](), ""
    while (row := db.execute(f"SELECT min(tier) FROM {table} WHERE tier > ?", (tier,)).fetchone())[0] is not None:
        tier = row[0]
        if db.execute(f"SELECT 1 FROM {table} WHERE tier = ? LIMIT 1 OFFSET ?", (tier, most)).fetchone():
            found.append(tier)
    return found
