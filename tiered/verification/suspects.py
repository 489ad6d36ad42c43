"""Differences that were seen once. With writers at work most of them are gone a moment later."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from tiered.verification.copies import Copy
from tiered.verification.report import Kind

MOST = 5000
"""As many as are kept before they are looked at again."""
CHUNK = 100


class Finding(NamedTuple):
    """A fault that was seen twice, and what there was the second time."""

    key: str
    kind: Kind
    held: Copy
    recorded: Copy | None


class Suspects:
    """The keys of one tier and one namespace that seemed to differ, and when the last of them was seen.

    With each goes the version that the tier must have *reached* by the time of the next look: what was known to be
    committed at the first.
    """

    def __init__(self) -> None:
        self.since = 0.0
        self._keys: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def full(self) -> bool:
        return len(self._keys) >= MOST

    def add(self, key: str, kind: Kind, held: Copy, recorded: Copy | None, now: float) -> None:
        """Suspect `key`, seen at `now` (monotonic seconds)."""
        reach = 0
        if kind is Kind.OLDER and recorded is not None:
            reach = recorded.version
        elif kind is Kind.RESURRECTABLE:
            reach = held.version + 1
        self._keys[key] = reach
        self.since = now

    def take(self) -> Iterator[dict[str, int]]:
        """All of them, in chunks; none is left."""
        keys, self._keys = list(self._keys.items()), {}
        for start in range(0, len(keys), CHUNK):
            yield dict(keys[start : start + CHUNK])


def judge(reach: int, kind: Kind | None, held: Copy | None, *, owing: bool) -> Kind | None:
    """What a suspect is that has to reach a version, now that it was looked at again and found to be `kind`.

    The tier was read before the record, so what is newer there, or other, is so for certain: nothing is published
    before it is durable. What is behind is on its way unless it lacks what was committed before the first look.
    """
    if kind not in (Kind.OLDER, Kind.RESURRECTABLE) or held is None:
        return kind
    return kind if held.version < reach and not owing else Kind.PENDING
