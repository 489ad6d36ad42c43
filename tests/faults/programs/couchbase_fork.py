"""A process that forks with a connected CouchbaseTier; the child uses it or not, and then ends as a Python program ends."""

from __future__ import annotations

import os
import sys

from tiered import CouchbaseTier, TieredBackend

if __name__ == "__main__":
    url, prefix, how = sys.argv[1:]
    store = TieredBackend([CouchbaseTier(url, prefix=prefix, timeout=5.0, connect_timeout=10.0)])
    store.set("k", "parent")
    child = os.fork()
    if child == 0:
        if how == "uses it":
            assert store.get("k") == "parent"
            store.set("k", "child")
            store.close()
        sys.exit()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    assert store.get("k") == ("child" if how == "uses it" else "parent")
    print("parent goes on")
