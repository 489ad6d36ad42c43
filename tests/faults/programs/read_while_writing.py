"""read_while_writing.py DIRECTORY: read the key k (old) for as long as a write of it (new) takes, and say how that went."""

import json
import os
import sys
import threading
import time

from tiered import FileTier, TieredBackend

store = TieredBackend([FileTier(sys.argv[1])])
durations: list[float] = []
took = 0.0


def write() -> None:
    global took
    started = time.monotonic()
    store.set("k", "new")
    took = time.monotonic() - started


writer = threading.Thread(target=write)
writer.start()
while writer.is_alive():
    started = time.monotonic()
    assert store.get("k") in ("old", "new")
    durations.append(time.monotonic() - started)
print(json.dumps({"reads": len(durations), "slowest": max(durations), "write": took}), flush=True)
os._exit(0)  # closing would only wait for the disk
