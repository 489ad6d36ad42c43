"""interrupted.py URL OPTIONS CALLS KIND: a signal handler raises at any moment of the main thread's calls, while other threads use the store.

In a process of its own, which could crash or hang. Prints how many calls were interrupted.
"""

import builtins
import gc
import json
import signal
import sys
import threading
from itertools import count
from random import Random

from tiered import StoreError, TieredBackend

kind: type[BaseException] = getattr(builtins, sys.argv[4])


class Interrupted(kind):  # type: ignore[misc,valid-type]
    """As KeyboardInterrupt, or a time limit by SIGALRM."""


def interrupt(*_: object) -> None:
    global armed, raised
    if armed:
        armed = False
        raised += 1
        raise Interrupted


def others(own: str) -> None:
    for number in count():
        if done.is_set():
            return
        try:
            store.set(own, number)
            assert store.get(own) == number
            store.get_or_set("loaded", lambda: "value", ttl=0.02)
            if number % 10 == 0:
                store.increment("shared")
        except StoreError as error:
            assert "interrupted" in str(error), error
        except BaseException as error:
            wrong.append(error)


def call(key: str, number: int) -> None:
    """One of the calls; `last` holds what the key may be from then on."""
    before = last.get(key, {None})
    which = random.randrange(4)
    if which == 0:
        last[key] = before | {number}
        store.set(key, number)
        last[key] = {number}
    elif which == 1:
        store.get_many([f"k{n}" for n in range(10)])
    elif which == 2:
        store.increment("shared")
    else:
        store.get_or_set("another", lambda: "value", ttl=0.005)


store = TieredBackend.from_url(sys.argv[1], **json.loads(sys.argv[2]))
random, done, armed, wrong, last = Random(1), threading.Event(), False, list[BaseException](), {}
interrupted = raised = 0
store.set("k0", 0)
threads = [threading.Thread(target=others, args=(f"own {n}",), daemon=True) for n in range(2)]
for thread in threads:
    thread.start()
gc.collect()
gc.disable()  # what is raised in a finalizer goes nowhere
last["k0"] = {0}
signal.signal(signal.SIGALRM, interrupt)
for number in range(int(sys.argv[3])):
    key = f"k{number % 10}"
    signal.setitimer(signal.ITIMER_REAL, 1e-5 * (1 + number % 97))
    try:
        armed = True
        call(key, number)
    except Interrupted:
        interrupted += 1
    finally:
        armed = False
    assert interrupted == raised, "what a handler has raised did not come to the caller"
    found = store.get(key)
    assert found in last.get(key, {None}), (found, last[key])
    last[key] = {found}
done.set()
for thread in threads:
    thread.join(60)
    assert not thread.is_alive()
assert not wrong, wrong
assert "shared" not in store._core.space.turns._queues
leases = getattr(store._core.chain.record, "leases", None)
assert not getattr(leases, "_held", None), "a lease was not released"
store.close()
print(interrupted)
