"""fork.py URL: a store is built and used in the parent; then it and four children use it at the same time."""

import os
import sys

from tiered import TieredBackend

CHILDREN, ROUNDS = 4, 150


def work(name: str) -> bool:
    """Whether every reply was the one that was asked for."""
    for n in range(ROUNDS):
        store.set(f"{name}:{n % 5}", [name, n])
        if store.get(f"{name}:{n % 5}") != [name, n] or store.get("shared") != "parent":
            return False
        store.increment("count")
    return True


store = TieredBackend.from_url(sys.argv[1])
store.set("shared", "parent")
assert store.get("shared") == "parent"
children = []
for number in range(CHILDREN):
    pid = os.fork()
    if pid == 0:
        right = False
        try:
            right = work(f"child{number}")
        finally:
            os._exit(0 if right else 1)
    children.append(pid)
assert work("parent")
assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == [0] * CHILDREN
print(store.namespace("default").increment("count", 0), flush=True)
store.close()
