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
    """Keys with their sizes in eviction order. Not thread-safe: its owner holds a lock."""

    def __init__(self) -> None:
        self._probation: LRUCache[str, int] = LRUCache(math.inf)
        self._protected: LRUCache[str, int] = LRUCache(math.inf)

    def __len__(self) -> int:
        return len(self._probation) + len(self._protected)

    def put(self, key: str, size: int) -> int:
        """Add `key` or note its new size; returns the size it had (0 if it is new)."""
        for segment in (self._probation, self._protected):
            if key in segment:
                before = segment[key]
                segment[key] = size
                return before
        self._probation[key] = size
        return 0

    def touch(self, key: str) -> None:
        """Note an access; a key that is no longer held is ignored."""
        if key in self._protected:
            self._protected[key]  # reading is what moves it to the young end
        elif key in self._probation:
            self._protected[key] = self._probation.pop(key)
            self._demote()

    def remove(self, key: str) -> int:
        """Forget `key`; returns the size it had (0 if it is not held)."""
        if key in self._probation:
            return self._probation.pop(key)
        return self._protected.pop(key, 0)

    def evict(self) -> tuple[str, int]:
        """Remove the next victim and return it with its size; KeyError when empty."""
        return (self._probation or self._protected).popitem()

    def clear(self) -> None:
        self._probation.clear()
        self._protected.clear()

    def _demote(self) -> None:
        while len(self._protected) > PROTECTED_SHARE * len(self):
            key, size = self._protected.popitem()
            self._probation[key] = size
