"""What an entry in memory costs beyond its key and value: python benchmarks/memory_size.py"""

from __future__ import annotations

import tracemalloc

from tiered import MemoryTier, TieredBackend

ENTRIES = 100_000


def main() -> None:
    import tempfile

    from tiered.tiers.file import FileTier  # the front alone is measured: the record is on disk

    with tempfile.TemporaryDirectory() as directory:
        store = TieredBackend([MemoryTier(max_entries=ENTRIES, max_bytes=2**32), FileTier(directory, sync="normal")])
        keys = [f"key:{n}" for n in range(ENTRIES)]
        values = [f"value {n}" for n in range(ENTRIES)]
        for start in range(0, ENTRIES, 1000):
            store.set_many(dict(zip(keys[start : start + 1000], values[start : start + 1000], strict=True)))
        with store._chain.memory.lock:
            store._chain.memory.empty(store._space.part)
        tracemalloc.start()
        for key, value in zip(keys, values, strict=True):
            slot = (value, float(len(key)) + 1e9, None, int(key[4:]) + 10**6, 0, float(len(value)))
            with store._chain.memory.lock:
                store._chain.memory.admit(store._space.part, key, slot, 60)
        print(f"{tracemalloc.get_traced_memory()[0] / ENTRIES:.0f} bytes per entry beyond key and value (asked: 450)")
        store.close()


if __name__ == "__main__":
    main()
