"""The eviction policy of the memory tier: a segmented LRU made of two cachetools LRUs.

After Karedla, Love and Wherry, "Caching Strategies to Improve Disk System Performance" (1994): new keys enter a
probation segment, a second access moves them to a protected one. A scan passes through probation and leaves the
protected keys alone.
"""

from __future__ import annotations

import math

from cachetools import LRUCache

PROTECTED_SHARE = 0.8


class SegmentedLRU:
    """Keys in eviction order. Not thread-safe: its owner holds a lock."""

    def __init__(self) -> None:
        self._probation: LRUCache[str, None] = LRUCache(math.inf)
        self._protected: LRUCache[str, None] = LRUCache(math.inf)

    def __len__(self) -> int:
        return len(self._probation) + len(self._protected)

    def add(self, key: str) -> None:
        """Add a key that is not held."""
        self._probation[key] = None

    def touch(self, key: str) -> None:
        """Note an access; a key that is no longer held is ignored."""
        if key in self._protected:
            self._protected[key]  # reading is what moves it to the young end
        elif key in self._probation:
            del self._probation[key]
            self._protected[key] = None
            self._demote()

    def remove(self, key: str) -> None:
        """Forget a key that is held."""
        segment = self._probation if key in self._probation else self._protected
        del segment[key]

    def evict(self) -> str:
        """Remove the next victim and return it; KeyError when empty."""
        return (self._probation or self._protected).popitem()[0]

    def clear(self) -> None:
        self._probation.clear()
        self._protected.clear()

    def _demote(self) -> None:
        while len(self._protected) > PROTECTED_SHARE * len(self):
            self._probation[self._protected.popitem()[0]] = None
