"""What is random inside a store leaves the program's own random numbers alone."""

from __future__ import annotations

import random
import threading
from contextlib import closing
from pathlib import Path

from tests.servers import free_port
from tests.waiting import eventually
from tiered import TieredBackend


def test_a_program_that_seeded_its_random_numbers_gets_the_same_ones(tmp_path: Path) -> None:
    """Beside an outage, updates that are in each other's way, and loads that others wait for."""
    url = f"redis://127.0.0.1:{free_port()},file:{tmp_path}"
    with closing(TieredBackend.from_url(url)) as one, closing(TieredBackend.from_url(url)) as other:
        random.seed(7)
        before = random.getstate()
        waited_for = threading.Event()

        def load() -> str:
            waited_for.wait(0.2)
            return "loaded"

        def work(store: TieredBackend) -> None:
            for _ in range(50):
                store.increment("counter")
            store.get_or_set("motd", load)

        workers = [threading.Thread(target=work, args=(store,)) for store in (one, other) * 2]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        eventually(lambda: not one.health()["redis"]["ok"])
        assert one.get("counter") == 200 and one.get("motd") == "loaded"
        assert random.getstate() == before
