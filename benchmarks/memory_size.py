"""What an entry in memory costs beyond its key and value: python benchmarks/memory_size.py"""

from __future__ import annotations

import sys
import tempfile
import tracemalloc
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.figures import amount
from tiered import FileTier, MemoryTier, TieredBackend

ENTRIES = 100_000
STEP = 1000
ASKED = 450


def bytes_per_entry(count: int = ENTRIES) -> float:
    """Beyond key and value, of `count` entries that reads promote from a FileTier."""
    with tempfile.TemporaryDirectory(prefix="tiered-bench-") as directory:
        keys = [f"key:{n}" for n in range(count)]
        values = [f"value {n}" for n in range(count)]
        with TieredBackend([MemoryTier(max_entries=0), FileTier(directory, sync="normal")]) as store:
            for start in range(0, count, STEP):
                store.set_many(dict(zip(keys[start : start + STEP], values[start : start + STEP], strict=True)))
        with TieredBackend([MemoryTier(max_entries=count, max_bytes=2**40), FileTier(directory)]) as store:
            store.get("no such key")  # what the first read of all opens
            tracemalloc.start()
            before = tracemalloc.get_traced_memory()[0]
            for key in keys:
                store.get(key)
            taken = tracemalloc.get_traced_memory()[0] - before - sum(map(sys.getsizeof, values))
            tracemalloc.stop()
            assert store.stats()["memory"]["entries"] == count
        return taken / count


def main() -> None:
    each = bytes_per_entry(amount(ENTRIES, STEP))
    print(f"{each:.0f} bytes per entry beyond key and value  asked {ASKED}  {'ok' if each <= ASKED else 'MISSED'}")


if __name__ == "__main__":
    main()
