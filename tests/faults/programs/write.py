"""write.py DIRECTORY VALUE: open a store, write one batch, say so, close it (which checkpoints)."""

import sys

from tiered import FileTier, TieredBackend

store = TieredBackend([FileTier(sys.argv[1])])
store.set_many({"a": sys.argv[2], "b": sys.argv[2] * 300})
print("acknowledged", flush=True)
store.close()
