"""out_of_memory.py DIRECTORY MEMORY: calls during which one allocation fails, the first, the second, …; then is all well?"""

import _testcapi
import sys
import threading

from tiered import FileTier, MemoryTier, NotApplied, TieredBackend

memory = [MemoryTier(max_entries=1)] if sys.argv[2] == "memory" else []
store = TieredBackend([*memory, FileTier(sys.argv[1])])
CALLS = 40
"""Calls in a row that went well: then the allocation that is to fail is one that no call comes to."""


def sweep(name: str, call: object) -> int:
    failed = well = n = 0
    while well < CALLS:
        n += 1
        _testcapi.set_nomemory(n, n + 1)
        try:
            call(n)  # type: ignore[operator]  # one of the two below
        except (MemoryError, RuntimeError, NotApplied) as error:
            # CPython's "can't allocate lock" and "can't start new thread"; or of a background thread's, which led the batch
            assert isinstance(error, MemoryError) or "can't" in str(error) or "interrupted while" in str(error), error
            failed += 1
            well = 0
        else:
            well += 1
        finally:
            _testcapi.remove_mem_hooks()
        intact(n)
    print(name, "failed", failed, "of", n, flush=True)
    return failed


def intact(n: int) -> None:
    """Nothing is locked, nothing is torn, and what was acknowledged is there."""
    told: list[object] = []

    def look() -> None:
        try:
            found = store.get_many(["a", "b"])
            assert found["a"] == found["b"], found
            told.append(store.set("other", n))
            told.append(store.get("other"))
        except BaseException as error:
            told.append(error)

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    watcher.join(30)
    assert told and told[-1] == n, (n, told)


store.set_many({"a": 0, "b": 0})
failures = [
    sweep("set_many", lambda n: store.set_many({"a": n, "b": n})),
    sweep("get", lambda _: store.get("a")),
]
assert all(failures), failures
print("intact", flush=True)
store.close()
