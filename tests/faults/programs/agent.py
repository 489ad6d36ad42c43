"""agent.py URL OPTIONS: a store that does what it is told, a line of JSON per call and per answer."""

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

from tiered import Lookup, TieredBackend, TieredError, WriteOutcome


def limit(name: str, soft: int) -> None:
    """A limit of this process; -1 lifts it again."""
    kind = getattr(resource, f"RLIMIT_{name}")
    hard = resource.getrlimit(kind)[1]
    resource.setrlimit(kind, (hard if soft < 0 else soft, hard))


def descriptors() -> int:
    """One more than the highest open descriptor."""
    return max(map(int, os.listdir("/proc/self/fd"))) + 1


def clocks() -> tuple[float, float]:
    return time.time(), time.monotonic()


def coherence() -> dict[str, int]:
    """What the subscription did."""
    it = store._core.service.coherence.stats
    return {"connected": it.connected, "received": it.received, "applied": it.applied, "resyncs": it.resyncs}


def look_no_more() -> None:
    """End the looks at the record: from here on only messages and time tell of other processes."""
    store._core.service.keeper._stop.set()


def plain(answer: Any) -> Any:
    if isinstance(answer, Lookup):
        return {"value": answer.value, "tier": answer.tier, "version": answer.version}
    if isinstance(answer, WriteOutcome):
        return {"version": answer.version, "tiers": dict(answer.tiers)}
    return answer


store = TieredBackend.from_url(sys.argv[1], **json.loads(sys.argv[2]))
functions: list[Callable[..., Any]] = [limit, descriptors, clocks, coherence, look_no_more]
own = {function.__name__: function for function in functions}
print(json.dumps("ready"), flush=True)
for line in sys.stdin:
    name, *args = json.loads(line)
    started, answer, error = time.monotonic(), None, None
    try:
        answer = own[name](*args) if name in own else getattr(store, name)(*args)
    except TieredError as failed:
        error = type(failed).__name__, str(failed)
    seconds = time.monotonic() - started
    print(json.dumps({"value": plain(answer), "error": error, "seconds": seconds}), flush=True)
store.close()
