"""A bot that talks to itself, for the stack of docker-compose.yml: its chain is in TIERED_*, its metrics are on port 9464.

It goes on whatever happens to the servers, and is a place to try what happens to them: docker compose pause redis.
"""

from __future__ import annotations

import logging
import os
import random
import signal
import time
from threading import Event
from typing import Any

from tiered import TieredBackend, TieredError
from tiered.observability.metrics import serve_metrics

USERS = 2_000
PAUSE = 0.02
"""Seconds between two messages."""

logger = logging.getLogger("bot")


def say(store: TieredBackend, chance: random.Random) -> None:
    """One message: read who it is from, count it, keep the room's last lines."""
    user = f"user:{int(chance.paretovariate(1.1)) % USERS}"
    room = f"room:{chance.randrange(20)}"
    seen = store.get(user, {"seen": 0})["seen"] + 1
    store.set(user, {"seen": seen}, ttl=7 * 86_400)
    store.increment("messages")

    def kept(lines: list[Any]) -> list[Any]:
        return [*lines, [user, seen]][-20:]

    store.update(room, kept, default=[])
    if seen % 50 == 0:
        store.delete(user)


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    stop, chance = Event(), random.Random()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    port = int(os.environ.get("BOT_METRICS_PORT", "9464"))
    metrics = serve_metrics(port=port, addr=os.environ.get("BOT_METRICS_ADDRESS", "127.0.0.1"))
    told = 0.0
    with TieredBackend.from_config() as store:
        while not stop.wait(PAUSE):
            try:
                say(store, chance)
            except TieredError as error:  # a message is lost; the next one is not
                if time.monotonic() - told > 10:
                    told = time.monotonic()
                    logger.warning("a message was lost: %s", error)
    metrics.close()


if __name__ == "__main__":
    main()
