"""count.py DIRECTORY: write batches for ever, and say of each that it was acknowledged."""

import sys

from tiered import FileTier, MemoryTier, TieredBackend

store = TieredBackend([MemoryTier(), FileTier(sys.argv[1])])
n = store.get("n", 0)
while True:
    n += 1
    store.set_many({"n": n, f"k{n % 7}": n})
    print(n, flush=True)
