"""A bot over the chain of TIERED_URL that exports its metrics: says where, and works until its input is closed."""

import itertools
import sys
import threading

from tiered import TieredBackend
from tiered.observability.metrics import serve_metrics

stop = threading.Event()


def work(store: TieredBackend) -> None:
    for number in itertools.count():
        for user in range(20):
            store.get(f"user:{user}")
        store.set(f"user:{number % 20}", "x" * 50, ttl=600)
        if stop.wait(0.01):
            return


with TieredBackend.from_config(name="bot") as store:
    worker = threading.Thread(target=work, args=(store,))
    worker.start()
    print(serve_metrics().url, flush=True)
    sys.stdin.read()
    stop.set()
    worker.join()
