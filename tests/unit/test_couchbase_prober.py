"""The breaker of the Couchbase tier that probes by itself: somebody does, whatever becomes of the thread."""

from __future__ import annotations

import threading

import pytest

from tests.clocks import HandClock
from tests.waiting import eventually
from tiered.errors import Reason, StoreUnavailable
from tiered.replication.breaker import CONSECUTIVE, MAX_DELAY
from tiered.tiers.couchbase_prober import Prober

DOWN = StoreUnavailable("no answer", reason=Reason.TIMEOUT)


def test_without_a_thread_to_be_had_a_later_call_has_it_probed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    clock, probes = HandClock(), list[int]()
    prober = Prober("couchbase", probes.append, clock)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        for _ in range(CONSECUTIVE):
            prober.failed(DOWN)
        prober.watch()
    assert not prober.breaker.closed
    clock.advance(MAX_DELAY)
    prober.watch()
    eventually(lambda: prober.breaker.closed, "a probe")
    assert probes == [0]
