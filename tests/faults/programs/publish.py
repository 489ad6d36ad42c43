"""publish.py URL: write "new" to the key k, say so, and end without closing anything."""

import os
import sys

from tiered import TieredBackend

store = TieredBackend.from_url(sys.argv[1])
store.set("k", "new")
print("acknowledged", flush=True)
os._exit(0)
