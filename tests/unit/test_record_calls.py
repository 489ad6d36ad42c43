"""How many reads may be at the record at once: a limit for those that fall through cache tiers, for no others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.by_hand import Process
from tests.unit.conftest import Start
from tests.unit.test_read_order import FAST, SLOW, measure
from tiered.errors import Reason, StoreUnavailable
from tiered.replication.places import Places

READS: list[Callable[[Process], Any]] = [
    lambda it: it.store.get("k"),
    lambda it: it.store.get_many(["k", "none"]).get("k"),
    lambda it: it.store._core.service.reader.read_together(it.store._core.space, ["k"], {})["k"],
]


def crowded(process: Process) -> Process:
    """With no place left at its record for those who come from above."""
    process.store.set("k", "v")
    process.look(3)
    process.store._core.chain.deadline = 0.01
    process.store._core.chain.record_calls = Places(0)
    return process


@pytest.mark.parametrize("read", READS)
def test_a_chain_without_cache_tiers_never_says_too_many(start: Start, read: Callable[[Process], Any]) -> None:
    value = read(crowded(start(cached=False, entries=0)))
    assert getattr(value, "slot", (value,))[0] == "v"


@pytest.mark.parametrize("read", READS)
def test_nor_does_one_whose_reads_pass_the_cache_by(start: Start, read: Callable[[Process], Any]) -> None:
    it = crowded(start(read_order="measured", entries=0))
    assert it.store.lookup("k").tier == "cache"  # a sample to measure with
    measure(it, FAST, SLOW)
    assert it.store.lookup("k").tier == "file"
    value = read(it)
    assert getattr(value, "slot", (value,))[0] == "v"


@pytest.mark.parametrize("read", READS)
def test_so_many_fall_through_a_cache_that_fails(start: Start, read: Callable[[Process], Any]) -> None:
    it = crowded(start(entries=0))
    it.cache.cut_off()
    try:
        error = read(it)
    except StoreUnavailable as raised:
        error = raised
    assert isinstance(error, StoreUnavailable) and error.reason is Reason.BUSY


def test_a_place_that_is_lost_is_another_s() -> None:
    """As when a signal handler raises just when somebody was given it."""
    places = Places(2)
    mine, lost = places.acquire(0.01), places.acquire(0.01)
    assert mine and lost and not places.acquire(0.01)
    del lost
    another = places.acquire(0.01)
    assert another and not places.acquire(0.01)
    places.release(mine)
    assert places.acquire(0.01) is mine


def test_a_record_that_fails_between_a_miss_and_its_version_is_an_outage(start: Start) -> None:
    """One read of it, in two questions."""
    it = start(cached=False)
    it.store.set("k", "v")
    it.store._core.chain.serve_unproven = True

    def down(*_: object) -> Any:
        raise StoreUnavailable("timed out", tier="file", reason=Reason.TIMEOUT)

    it.record.read, it.record.journal.absences = lambda *_: (it.store._core.space.generation, None), down
    slots = it.store._core.space.part.slots
    slots["k"] = (slots["k"][0], 0.0, *slots["k"][2:])  # not proven any more
    for found in (it.store.lookup("k"), it.store.get("k")):
        assert getattr(found, "value", found) == "v"


def test_who_is_interrupted_at_the_end_of_a_read_leaves_nobody_waiting(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    it = start(entries=0)
    it.store.set("k", "v")
    core = it.store._core

    def interrupted(*_: object) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(core.service.reader, "_finish", interrupted)
        it.store.get("k")
    assert not core.space.flights.leaders, "whoever reads it next would join that read"
    assert it.store.get("k") == "v"
