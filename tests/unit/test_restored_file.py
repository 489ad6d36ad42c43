"""A file tier whose directory was put back to an older copy: what caches hold of the time between must not win."""

from __future__ import annotations

import shutil

import pytest

from tests.by_hand import Process, Server
from tests.unit.conftest import Start


@pytest.fixture
def copied(start: Start) -> None:
    """There is a copy of the store, with k=v1."""
    a = start()
    a.store.set("k", "v1")
    a.store.close()
    _copy(a, "store", "copy")


@pytest.fixture
def ended(start: Start, copied: None) -> Process:
    """One that wrote k=v2 and more, and was closed."""
    a = start()
    for _ in range(5):
        a.store.set("k", "v2")
    a.store.set("new", "v2")
    a.store.close()
    return a


def _copy(process: Process, what: str, where: str) -> None:
    place = process.record.directory.parent
    shutil.rmtree(place / where, ignore_errors=True)
    shutil.copytree(place / what, place / where)


def restore(process: Process) -> None:
    _copy(process, "copy", "store")


def bumps(process: Process) -> int:
    return process.guard.stats.bumps["record_restored"]


def test_what_is_written_after_it_is_not_refused_for_what_was_lost(start: Start, ended: Process) -> None:
    restore(ended)
    a, b = start(), start()
    a.store.set("k", "v3")
    a.store._core.chain.memory.forget_all()
    assert a.store.get("k") == b.store.get("k") == "v3"
    assert a.store.lookup("k").version > 2**32 and bumps(a) == 1
    assert a.store.verify().converged


def test_what_was_lost_is_not_read_from_the_cache(start: Start, ended: Process) -> None:
    restore(ended)
    a = start()
    assert a.store.get_many(["k", "new"]) == {"k": "v1"}
    assert not a.store.lookup("new").found and a.owes("new") is False


def test_it_is_noticed_once(start: Start, ended: Process) -> None:
    restore(ended)
    a = start()
    a.store.set("k", "v3")
    a.store.close()
    b = start()
    assert b.store.lookup("k").tier == "cache" and bumps(b) == 0


def test_a_store_that_was_not_restored_keeps_its_caches(start: Start, ended: Process) -> None:
    a = start()
    assert a.store.lookup("k").tier == "cache" and bumps(a) == 0


def test_a_process_that_was_killed_had_noted_it_at_its_last_look(start: Start, copied: None) -> None:
    a = start()
    a.store.set("k", "v2")
    a.look()
    restore(a)
    b = start()
    assert b.store.get("k") == "v1" and bumps(b) == 1


def test_nothing_is_noted_while_nothing_is_written(start: Start) -> None:
    a = start()
    a.store.set("k", "v1")
    a.look(5)
    assert a.cache.noted == 1
    a.clock.advance(3600)  # before it expires there
    a.look(5)
    assert a.cache.noted == 2


def test_a_cache_that_was_away_is_asked_when_it_is_back(start: Start, ended: Process) -> None:
    restore(ended)
    a = start()
    a.cache.cut_off()
    a.store.set("k", "v3")
    assert a.store.get("k") == "v3"
    a.cache.reconnect()
    a.readmit()
    a.store._core.chain.memory.forget_all()
    assert a.store.get("k") == "v3" and a.store.get("new") is None and bumps(a) == 1


def test_of_two_processes_that_start_at_once_one_starts_the_store_anew(start: Start, ended: Process) -> None:
    restore(ended)
    a, b = start(), start()
    before, last_version = a.record.generation("default"), b.record.last_version

    def slowly() -> int:
        b.record.last_version, found = last_version, int(last_version())
        assert a.store.get("k") == "v1"
        return found

    b.record.last_version = slowly
    assert b.store.get("k") == "v1"
    assert (bumps(a), bumps(b)) == (1, 0) and a.record.last_version() < 2**33
    assert a.record.generation("default") == b.record.generation("default") > before


def test_a_note_that_nobody_can_have_reached_costs_one_generation(start: Start, server: Server, ended: Process) -> None:
    server.notes[ended.record.journal.identity] = 2**62
    for found in (1, 0):
        a = start()
        assert a.store.get("k") == "v2" and bumps(a) == found
        a.store.set("k", "v2")
        a.store.close()
