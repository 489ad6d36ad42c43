"""The eviction policy of the memory tier: a segmented LRU, of a queue and a cachetools LRU.

After Karedla, Love and Wherry, "Caching Strategies to Improve Disk System Performance" (1994): new keys enter a
probation segment, a second access moves them to a protected one. A scan passes through probation and leaves the
protected keys alone. Nothing moves within probation, so that a queue will do there, and takes less time.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque

from cachetools import LRUCache

PROTECTED_SHARE = 0.8


class SegmentedLRU:
    """Keys in eviction order. Not thread-safe: its owner holds a lock."""

    def __init__(self) -> None:
        self._probation: OrderedDict[str, None] = OrderedDict()
        self._protected: LRUCache[str, None] = LRUCache(math.inf)

    def __len__(self) -> int:
        return len(self._probation) + len(self._protected)

    def add(self, key: str) -> None:
        """Add a key that is not held."""
        self._probation[key] = None

    def touch(self, accesses: deque[str]) -> None:
        """Note the accesses that are there now, and take them out; keys that are no longer held are ignored."""
        probation, protected, take = self._probation, self._protected, accesses.popleft
        try:
            for _ in range(len(accesses)):  # not until it is empty: readers go on adding
                key = take()
                if key in probation:
                    del probation[key]
                    protected[key] = None
                    self._demote()
                elif key in protected:
                    protected[key]  # reading is what moves it to the young end
        except IndexError:  # a full buffer dropped an access meanwhile
            return

    def refill(self) -> None:
        """Before evictions: where few are left on probation, because other namespaces grew, let protected ones be the next.

        Else whoever comes new would be the next, for ever.
        """
        probation, protected = self._probation, self._protected
        while protected and (len(probation) < 2 or len(protected) > PROTECTED_SHARE * len(self)):
            key = protected.popitem()[0]
            probation[key] = None
            probation.move_to_end(key, last=False)

    def remove(self, key: str) -> None:
        """Forget a key that is held."""
        if key in self._probation:
            del self._probation[key]
        else:
            del self._protected[key]

    def evict(self) -> str:
        """Remove the next victim and return it; KeyError when empty."""
        if self._probation:
            return self._probation.popitem(last=False)[0]
        return self._protected.popitem()[0]

    def _demote(self) -> None:
        while len(self._protected) > PROTECTED_SHARE * len(self):
            self._probation[self._protected.popitem()[0]] = None
