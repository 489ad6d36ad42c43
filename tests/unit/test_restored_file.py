"""A file tier whose directory was put back to an older copy: what caches hold of the time between must not win."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path

import pytest

from tests.by_hand import Process, Server
from tests.unit.conftest import Start
from tiered import FileTier, StoreUnavailable, TieredBackend
from tiered.errors import Reason
from tiered.tiers import file_history
from tiered.tiers.sqlite import connect


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


def after(process: Process, times: int = 1) -> None:
    """What a process does that goes on after it, in both tiers."""
    process.store.set("k", "v3")
    process.store._core.chain.memory.forget_all()
    assert process.store.get_many(["k", "new"]) == {"k": "v3"}
    assert process.store.verify().converged and bumps(process) == times


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


def test_it_is_noticed_however_much_was_written_since(start: Start, ended: Process) -> None:
    restore(ended)
    with TieredBackend([FileTier(ended.record.directory)]) as alone:
        for _ in range(20):
            alone.set("k", "v1")
    after(start())


def test_it_is_noticed_after_that_although_the_copy_is_of_the_session_that_went_on(start: Start) -> None:
    a = start()
    a.store.set("k", "v1")
    _copy(a, "store", "copy")
    for _ in range(5):
        a.store.set_many({"k": "v2", "new": "v2"})
    a.look()
    restore(a)
    with TieredBackend([FileTier(a.record.directory)]) as alone:
        for _ in range(20):
            alone.set("k", "v1")
    after(start())


def test_a_process_that_was_killed_had_noted_it_at_its_last_look(start: Start, copied: None) -> None:
    a = start()
    a.store.set("k", "v2")
    a.look()
    restore(a)
    b = start()
    assert b.store.get("k") == "v1" and bumps(b) == 1


def test_processes_that_do_not_live_until_their_first_look_lose_what_the_last_of_them_wrote(
    start: Start, copied: None
) -> None:
    for _ in range(3):
        a = start()
        a.store.set("k", "v2")
    restore(a)
    after(start())


def test_a_cache_that_was_emptied_gets_its_note_back(start: Start, server: Server, ended: Process) -> None:
    a = start()
    a.store.get("k")
    server.notes.clear()
    a.look(5)
    assert not server.notes
    a.clock.advance(60)
    a.look()
    assert server.notes
    server.notes.clear()
    server.run = "run 2"
    a.guard.breaker.trip()
    a.clock.advance(1)
    a.look()
    assert server.notes


def put_back_while_open(process: Process) -> None:
    place = process.record.directory.parent
    with (
        closing(connect(place / "copy/tiered.sqlite3")) as copy,
        closing(connect(place / "store/tiered.sqlite3")) as live,
        live.backup("main", copy, "main") as pages,
    ):
        pages.step()


@pytest.mark.parametrize("noting", [True, False])
def test_a_process_that_sees_its_store_go_back_starts_it_anew(
    start: Start, ended: Process, monkeypatch: pytest.MonkeyPatch, noting: bool
) -> None:
    a = start()
    a.store.set("k", "v2")
    if not noting:
        monkeypatch.setattr(a.cache, "note", a.cache.refuse)
    for times in (1, 2):  # the second time to a line that was left
        a.store.set_many({"k": "v2", "new": "v2"})
        a.look()
        put_back_while_open(a)
        a.look()
        assert not a.guard.breaker.closed
        a.readmit()
        assert bumps(a) == times
        after(a, times)
    b = start()
    assert b.store.get("k") == "v3" and bumps(b) == 0


def test_a_process_that_outgrows_what_its_store_lost_notices_it_all_the_same(start: Start) -> None:
    a = start()
    a.store.set("k", "v1")
    _copy(a, "store", "copy")  # in which it is, too
    for _ in range(5):
        a.store.set_many({"k": "v2", "new": "v2"})
    a.look()
    put_back_while_open(a)
    for _ in range(30):
        a.store.set("other", "x")
    a.store.delete("other")
    a.look()
    a.readmit()
    after(a)


def drill_beside(start: Start, directory: Path) -> None:
    """Somebody opens what is in `directory`; then the store's own process starts, and has all that its cache holds."""
    drill = start(directory=directory)
    drill.store.namespace("drill").set("k", "x")
    drill.store.close()
    a = start()
    assert a.store.lookup("k").tier == "cache" and bumps(a) == 0
    a.store.close()


def test_a_copy_beside_it_costs_a_healthy_store_nothing(start: Start, ended: Process, tmp_path: Path) -> None:
    _copy(ended, "copy", "beside")
    for _ in range(3):
        drill_beside(start, tmp_path / "beside")


def test_nor_does_a_copy_of_what_it_was_put_back_to(start: Start, ended: Process, tmp_path: Path) -> None:
    restore(ended)
    after(a := start())
    a.store.close()
    for _ in range(3):
        _copy(ended, "copy", "beside")
        drill_beside(start, tmp_path / "beside")


@pytest.mark.parametrize("first", ["a", "c"])
def test_a_copy_that_is_in_use_with_the_store_and_the_store_both_start_anew(
    start: Start, copied: None, tmp_path: Path, first: str
) -> None:
    """Neither knows of the other before both have written: then each has put what the other would read."""
    a, c = start(), start(directory=tmp_path / "copy")
    assert a.store.get("k") == c.store.get("k") == "v1"
    a.store.set("new", "of the store")
    c.store.set("k", "of the copy")
    for one in (a, c, a) if first == "a" else (c, a, c):
        one.look()
    assert not a.guard.breaker.closed and not c.guard.breaker.closed
    for one in (a, c) if first == "a" else (c, a):
        one.readmit()
    for _ in range(3):
        a.store.set("other", "of the store")
        c.store.set("other", "of the copy")
        for one in (a, c):
            one.look()
            one.store._core.chain.memory.forget_all()
    keys = ["k", "new", "other"]
    assert a.store.get_many(keys) == {"k": "v1", "new": "of the store", "other": "of the store"}
    assert c.store.get_many(keys) == {"k": "of the copy", "other": "of the copy"}
    assert a.guard.breaker.closed and c.guard.breaker.closed
    assert a.store.verify().converged and c.store.verify().converged
    assert bumps(a) == bumps(c) == 1


def test_a_store_that_only_reads_notices_a_copy_that_wrote(start: Start, copied: None, tmp_path: Path) -> None:
    a = start()
    assert a.store.get("k") == "v1"
    c = start(directory=tmp_path / "copy")
    c.store.set("k", "of the copy")
    c.store.close()
    a.look()
    assert not a.guard.breaker.closed
    a.readmit()
    a.store._core.chain.memory.forget_all()
    assert a.store.get("k") == "v1" and bumps(a) == 1


def test_nothing_is_noted_while_nothing_is_written(start: Start) -> None:
    a = start()
    a.store.set("k", "v1")
    a.look(5)
    before = a.cache.notes
    a.look(5)
    assert a.cache.notes == before
    a.clock.advance(60)  # before it expires there
    a.look(5)
    assert a.cache.notes == before + 1


def test_a_note_that_fails_says_nothing_of_the_cache_and_is_not_tried_at_every_look(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = start()
    monkeypatch.setattr(a.cache, "note", a.cache.refuse)
    for _ in range(20):
        a.store.set("k", "v1")
        a.look()
    assert a.guard.breaker.closed and a.cache.refused == 1
    assert a.guard.stats.errors["other", Reason.FULL] == 1


def test_a_cache_that_tells_no_notes_is_believed(start: Start, ended: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    a = start()

    def refused(line: str) -> str | None:
        raise StoreUnavailable("no permission", tier="cache", reason=Reason.MISUSE)

    monkeypatch.setattr(a.cache, "noted", refused)
    assert a.store.lookup("k").tier == "cache"


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
    before, knows = a.record.generation("default"), b.record.knows

    def slowly(place: str) -> bool:
        b.record.knows, found = knows, bool(knows(place))
        assert a.store.get("k") == "v1"
        return found

    b.record.knows = slowly
    assert b.store.get("k") == "v1"
    assert (bumps(a), bumps(b)) == (1, 0) and a.record.history() == b.record.history()
    assert a.record.generation("default") == b.record.generation("default") == b.store._core.space.generation > before


@pytest.mark.parametrize("note", ["x", "1-2-3", "9" * 5000, "0-1-1-9999999999", "\ufffd"])
def test_a_note_that_makes_no_sense_costs_one_generation(
    start: Start, server: Server, ended: Process, note: str
) -> None:
    for line in server.notes:
        server.notes[line] = note
    for found in (1, 0):
        a = start()
        assert a.store.get("k") == "v2" and bumps(a) == found
        a.store.set("k", "v2")
        a.store.close()


def test_a_store_that_was_made_before_there_were_sessions(start: Start, ended: Process) -> None:
    with closing(connect(ended.record.directory / "tiered.sqlite3")) as database:
        database.execute("DROP TABLE sessions")
    a = start()
    assert a.store.get("k") == "v2"
    a.store.set("k", "v3")
    assert a.record.knows(a.record.history()[1])


def test_places_of_many_sessions_are_known_and_the_oldest_forgotten(
    start: Start, ended: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_history, "KEPT", 3)
    places = list[str]()
    for n in range(6):
        with TieredBackend([tier := FileTier(ended.record.directory)]) as store:
            store.set("k", n)
            places.append(tier.history()[1])
    with closing(FileTier(ended.record.directory)) as tier:
        assert [tier.knows(it) for it in places] == [False, False, False, True, True, True]
