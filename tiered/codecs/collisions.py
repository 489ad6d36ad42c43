"""Members of a set, or keys of a dict, that somebody chose so that putting them together takes hours.

Only hashes of str, bytes and dates are secret: whoever writes numbers or UUIDs can choose a million with the same one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from decimal import Decimal
from typing import Any

MOST_ALIKE = 64
"""How many may have the same hash: all of them are compared with one another."""
LONG = 4096
"""Bits of an int from which on comparing it with a Decimal, which takes the square of them, is slow."""
_SECRET = frozenset({str, bytes})


def collide(members: Collection[Any]) -> bool:
    """Whether `members` are of that kind; may raise TypeError if they have no hashes."""
    if _SECRET.issuperset(map(type, members)):
        return False
    if len(set(map(hash, members))) == len(members):
        return False
    counts = Counter(map(hash, members))
    return max(counts.values()) > MOST_ALIKE or _slow(it for it in members if counts[hash(it)] > 1)


def _slow(members: Iterable[Any]) -> bool:
    atoms = list(_atoms(members))
    return any(type(it) is Decimal for it in atoms) and any(type(it) is int and it.bit_length() > LONG for it in atoms)


def _atoms(members: Iterable[Any]) -> Iterator[Any]:
    for member in members:
        if type(member) in (tuple, frozenset):
            yield from _atoms(member)
        else:
            yield member
