"""What protection costs at 1 KiB: python benchmarks/codecs.py

One round trip is: make a draft of a payload, seal it with its version, open the frame again. The costs are beyond those
of a plain frame, in microseconds: the fastest of some rounds, since this is about the code and not about its neighbours.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tiered.codecs import MsgpackCodec
from tiered.codecs.frames import Frames
from tiered.codecs.keys import Keyring
from tiered.codecs.rules import rules

ROUNDS, CALLS = 15, 500
ASKED = 15.0
SIZE = 1024
USER = {
    "id": 7,
    "name": "Ada Lovelace",
    "roles": ["admin", "editor"],
    "history": [{"text": f"hello world {n}", "at": 1_700_000_000 + 37 * n, "by": f"user{n % 3}"} for n in range(27)],
}
WAYS: dict[str, tuple[str | None, int | None]] = {
    "plain": (None, None),
    "compressed": (None, 256),
    "signed": ("sign", None),
    "encrypted": ("encrypt", None),
    "encrypted, compressed": ("encrypt", 256),
}


def payload() -> bytes:
    """About 1 KiB, as a bot stores it."""
    made = MsgpackCodec().encode(USER)
    return made[:SIZE]


def round_trip(protect: str | None, compress_above: int | None) -> Callable[[], int]:
    """Makes one frame and opens it; returns its size."""
    ring = Keyring({"k": os.urandom(32)}) if protect else None
    options = {"compress_above": compress_above, "keys": ring, "protect": protect, "migrate": False}
    frames = Frames("bot", rules(max_size=2**24, authentic=False, **options))  # type: ignore[arg-type]  # as above
    content, codec = payload(), MsgpackCodec.id

    def run() -> int:
        frame = frames.draft("user:7", content, codec).seal(7)
        assert frames.open(frame, "user:7").payload == content
        return len(frame)

    return run


def measure(rounds: int = ROUNDS, calls: int = CALLS) -> dict[str, tuple[float, float, int]]:
    """By way: the fastest and the median round in µs per round trip, and the size of the frame."""
    works = {name: round_trip(*way) for name, way in WAYS.items()}
    taken: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            began = time.perf_counter()
            for _ in range(calls):
                work()
            taken[name].append((time.perf_counter() - began) / calls * 1e6)
    return {name: (min(taken[name]), statistics.median(taken[name]), works[name]()) for name in works}


def main() -> int:
    found = measure()
    plain = found["plain"][0]
    print(
        f"{len(payload())} bytes of payload; µs per round trip\n{'':24}{'fastest':>8} {'median':>8} {'cost':>8} {'bytes':>8}"
    )
    for name, (fastest, median, size) in found.items():
        print(f"{name:24}{fastest:8.2f} {median:8.2f} {fastest - plain:8.2f} {size:8}")
    cost = found["encrypted, compressed"][0] - plain
    print(
        f"encryption and compression cost {cost:.1f} µs; at most {ASKED:.0f} were asked for: {'ok' if cost <= ASKED else 'MISSED'}"
    )
    return cost > ASKED


if __name__ == "__main__":
    sys.exit(main())
