"""The faults of a campaign, and how each is switched on and off."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Protocol

from tiered.testing.chaos.proxy import Proxy

PROXY_FAULTS = ("refuse", "hang", "drop", "delay", "lose_replies", "flap")
SERVER_FAULTS = ("flush", "restart", "old")
"""Only with a server of the kit's own: everything evicted, back empty, back with old data."""
PROCESS_FAULTS = ("kill", "abandon")
"""One is killed; and in the end all are cut off from Redis, go on writing and end, so that others must clear up."""
FAULTS = PROXY_FAULTS + SERVER_FAULTS + PROCESS_FAULTS


class Server(Protocol):
    """A Redis that may be harmed."""

    port: int

    def start(self) -> None:
        """Start it and wait until it answers, with the data of its last `save` if there is one."""

    def kill(self) -> None:
        """SIGKILL."""

    def save(self) -> None:
        """Write its data to its file now."""

    def forget(self) -> None:
        """Remove that file."""

    def flush(self) -> None:
        """Drop all data."""


class Injector:
    """Switches faults on and off; which processes a fault hits is chosen by `seed`."""

    def __init__(
        self, proxies: Sequence[Proxy], server: Server | None, kill: Callable[[int], None], *, seed: int
    ) -> None:
        self._proxies, self._server, self._kill = proxies, server, kill
        self._random = random.Random(seed)

    def on(self, fault: str) -> str:
        """Begin `fault`; says whom it hits."""
        if fault == "abandon":
            for proxy in self._proxies:
                proxy.refuse()
            return "all end while cut off"
        if fault in PROXY_FAULTS:
            return self._proxied(fault)
        if fault == "kill":
            return self._killed()
        assert self._server is not None
        if fault == "flush":
            self._server.flush()
        elif fault == "old":
            self._server.save()  # what is written from here on is missing when it comes back
        else:
            self._server.forget()
            self._server.kill()
        return "the server"

    def off(self, fault: str) -> None:
        """End `fault`."""
        for proxy in self._proxies:
            proxy.pass_through()
        if self._server is not None and fault == "old":
            self._server.kill()
        if self._server is not None and fault in ("old", "restart"):
            self._server.start()

    def _proxied(self, fault: str) -> str:
        """For all processes, or for one alone: then the others go on as if nothing were wrong."""
        chosen = list(range(len(self._proxies)))
        if len(chosen) > 1 and self._random.random() < 0.5:
            chosen = [self._random.choice(chosen)]
        cut = self._random.random() < 0.5
        for number in chosen:
            if fault == "lose_replies":
                self._proxies[number].lose_replies(cut=cut)
            else:
                self._proxies[number].switch(fault)  # type: ignore[arg-type]  # one of PROXY_FAULTS, all of which are kinds
        return "all processes" if len(chosen) == len(self._proxies) else f"only p{chosen[0]}"

    def _killed(self) -> str:
        number = self._random.randrange(len(self._proxies))
        self._kill(number)
        return f"p{number}, replaced"
