"""The opt-in mixin: nothing is lost among processes that change the same list."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.will.conftest import chain
from tests.will.minds import Mind, Refused

pytestmark = pytest.mark.will


@pytest.mark.parametrize("kind", ["file", "redis", "redis+file", "couchbase"])
def test_four_processes_times_fifty_appends_keep_two_hundred(
    kind: str, redis_url: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    place = chain(kind, redis_url, tmp_path, request)
    with Mind(tmp_path / "bot", f"TIERED_URL = {place!r}\n") as mind:
        mind("mind.bootstrap_storage()")  # in the parent, as Will does
        assert mind("many(4, lambda n: [atomic.append('list', (n, i)) for i in range(50)])") == [0] * 4
        kept = mind("mind.load('list')")
        assert len(kept) == 200 and set(kept) == {(n, i) for n in range(4) for i in range(50)}
        assert [i for n, i in kept if n == 0] == list(range(50)), "each process's own in its order"
        assert mind("many(4, lambda n: [atomic.pop('list', (n, i)) for i in range(0, 50, 2)])") == [0] * 4
        assert len(mind("mind.load('list')")) == 100


def test_the_schedule_loses_no_item(on_file: Mind) -> None:
    on_file("exec('import datetime; when = datetime.datetime(2100, 1, 1)')")
    add = "atomic.add_to_schedule(when, {'type': 'message', 'n': (n, i)})"
    assert on_file(f"many(4, lambda n: [{add} for i in range(15)])") == [0] * 4
    assert on_file("len(mind.get_schedule_list()), len(mind.get_times_list())") == (60, 60)
    assert on_file("mind.get_schedule_list().keys() == mind.get_times_list().keys()")
    on_file("exec('hashes = list(mind.get_schedule_list())')")
    remove = "[atomic.remove_from_schedule(it) for it in hashes[n::4]]"
    assert on_file(f"many(4, lambda n: {remove} if n else [{add} for i in range(100, 110)])") == [0] * 4
    assert on_file("len(mind.get_schedule_list()), len(mind.get_times_list())") == (15 + 10, 15 + 10)


def test_it_does_what_wills_own_does(on_file: Mind) -> None:
    for which in ("mind", "atomic"):
        on_file(f"{which}.append('{which}', 1, 3600), {which}.append('{which}', 2, 3600), {which}.pop('{which}', 1)")
        on_file(f"{which}.pop('nothing', 1)")
    assert on_file("mind.load('atomic') == mind.load('mind') == [2]")
    assert on_file("mind.load('nothing')") is None
    for which in ("mind", "atomic"):
        with pytest.raises(Refused, match="ValueError"):
            on_file(f"{which}.pop('{which}', 'not in it')")
    assert on_file("mind.load('atomic')") == [2]


def test_a_value_that_cannot_be_read_stays(on_file: Mind) -> None:
    on_file("mind.storage.do_save('list', b'what another SECRET_KEY made')")
    with pytest.raises(Refused, match="Corrupt"):
        on_file("atomic.append('list', 1)")
    assert on_file("mind.storage.do_load('list')") == b"what another SECRET_KEY made"


def test_an_update_of_ones_own(on_file: Mind) -> None:
    assert on_file("mind.storage.update(('votes', 7), lambda votes: votes + 1, default=0)") == 1
    assert (
        on_file("many(4, lambda n: [mind.storage.update(('votes', 7), lambda v: v + 1) for _ in range(25)])") == [0] * 4
    )
    assert on_file("mind.load(('votes', 7))") == 101


def test_with_another_backend_it_is_wills_own_again(redis_url: str, tmp_path: Path) -> None:
    """Going back is one line: plugins that use the mixin stay as they are."""
    head = "STORAGE_BACKEND = 'redis'\n"
    with Mind(tmp_path / "bot", head=head, WILL_REDIS_URL=redis_url, WILL_REDIS_MAX_CONNECTIONS="4") as mind:
        mind("atomic.append('list', 1), atomic.append('list', 2), atomic.pop('list', 1)")
        mind("exec('import datetime; atomic.add_to_schedule(datetime.datetime(2100, 1, 1), {\"a\": 1})')")
        assert mind("type(atomic.storage).__name__, mind.load('list')") == ("RedisStorage", [2])
        assert mind("len(mind.get_schedule_list())") == 1
        mind("atomic.remove_from_schedule(list(mind.get_schedule_list())[0])")
        assert mind("mind.get_schedule_list()") == {}
