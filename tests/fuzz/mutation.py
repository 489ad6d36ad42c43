"""Mutation without guidance, for the suite: what coverage-guided fuzzing does, minus the guidance and the time."""

from __future__ import annotations

import random
from collections.abc import Iterator

INTERESTING = [
    b"\0",
    b"\xff",
    b"\x7f\xff\xff\xff",
    b"\xc1",
    b"\xc7\x00\xff",
    b"%2C",
    b",",
    b"://",
    b"@",
    b"[",
    b"]",
    b"=",
]


def mutations(seeds: list[bytes], rng: random.Random) -> Iterator[bytes]:
    """Endlessly: seeds with one to four things done to them, and now and then mere noise."""
    while True:
        if rng.random() < 0.02:
            yield rng.randbytes(rng.randrange(64))
            continue
        data = bytearray(rng.choice(seeds))
        for _ in range(rng.randint(1, 4)):
            _mutate(data, seeds, rng)
        yield bytes(data)


def _mutate(data: bytearray, seeds: list[bytes], rng: random.Random) -> None:
    at = rng.randrange(len(data) + 1)
    match rng.randrange(6):
        case 0 if data:
            data[at % len(data)] ^= 1 << rng.randrange(8)
        case 1:
            data[at:at] = rng.choice(INTERESTING)
        case 2:
            del data[at : at + rng.randrange(1, 9)]
        case 3:
            data[at : at + 4] = rng.randbytes(rng.randrange(5))
        case 4:
            other = rng.choice(seeds)
            start = rng.randrange(len(other) + 1)
            data[at : at + 8] = other[start : start + rng.randrange(24)]
        case _:
            del data[at:]
