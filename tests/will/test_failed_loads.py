"""A load that failed never becomes an overwritten list."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.servers import RedisServer
from tests.waiting import eventually
from tests.will.minds import Mind

pytestmark = pytest.mark.will
TEN = list(range(10))


def test_append_after_a_failed_load_is_refused_until_a_load_succeeds(on_file: Mind) -> None:
    on_file(f"mind.save('list', {TEN})")
    on_file("exec('store = mind.storage._store; lookup = store.lookup')")
    on_file("exec('def broken(key): store.lookup = lookup; raise OSError(\"once\")')")
    on_file("setattr(store, 'lookup', broken)")
    on_file("mind.append('list', 'ten')")
    assert "is not saved: its last load here failed" in on_file.log and "Unable to save" in on_file.log
    assert on_file("mind.load('list')") == TEN
    on_file("mind.append('list', 'ten')")
    assert on_file("mind.load('list')") == [*TEN, "ten"] and on_file.log == ""


def test_a_record_that_hangs_while_a_list_is_loaded(redis_server: RedisServer, tmp_path: Path) -> None:
    with Mind(tmp_path / "bot", f"TIERED_URL = '{redis_server.url}?timeout=200ms'\n") as mind:
        mind(f"mind.save('list', {TEN}), mind.save('other', 1)")
        redis_server.freeze()
        assert mind("mind.load('list', [])") == [], "Will gives the default and says nothing"
        redis_server.thaw()
        eventually(lambda: mind("mind.load('other')") == 1, "the server's return")
        mind("mind.save('list', [10])")
        assert "its last load here failed" in mind.log
        mind("mind.save('unread', [1])")
        assert mind.log == "", "only what could not be loaded is kept from being saved"
        mind("mind.append('list', 10)")
        assert mind("mind.load('list')") == [*TEN, 10]


@pytest.mark.parametrize("wrong", ["WILL_SECRET_KEY", "class"])
def test_what_cannot_be_read_is_not_replaced_either(tmp_path: Path, wrong: str) -> None:
    place = f"TIERED_URL = 'file:{tmp_path}/data'\n"
    with Mind(tmp_path / "bot", place) as mind:
        mind(f"mind.save('list', {TEN})")
        if wrong == "class":
            mind("mind.storage.do_save('list', mind.storage.encrypt(b'cgone_module\\nGone\\n.'))")
        before = mind("mind.storage.do_load('list')")
    settings = {wrong: "another"} if wrong == "WILL_SECRET_KEY" else {}
    with Mind(tmp_path / "bot", place, **settings) as mind:
        assert mind("mind.load('list', [])") == []
        mind("mind.append('list', 10)")
        assert "neither decrypted nor unpickled" in mind.log or "not saved" in mind.log
        assert mind("mind.storage._store.get('list')") == before
        mind("mind.clear('list'), mind.append('list', 10)")
        assert mind("mind.load('list')") == [10], "who clears it may begin anew"


def test_another_thread_that_never_loaded_it_may_save(on_file: Mind) -> None:
    on_file("exec('from concurrent.futures import ThreadPoolExecutor')")
    on_file("mind.storage._failed_loads.failed('lock', OSError())")
    on_file("mind.save('lock', True)")
    assert "not saved" in on_file.log
    on_file("ThreadPoolExecutor(1).submit(mind.save, 'lock', 'by another').result()")
    assert on_file.log == "" and on_file("mind.load('lock')") == "by another"


def test_an_interrupt_in_a_load_is_a_failed_load(on_file: Mind) -> None:
    on_file(f"mind.save('list', {TEN})")
    on_file("exec('encryption = type(mind.storage.encryption_backend); true = encryption.decrypt_from_b64')")
    on_file("exec('def interrupted(raw): encryption.decrypt_from_b64 = true; return None')")
    on_file("setattr(encryption, 'decrypt_from_b64', staticmethod(interrupted))")  # as Will's own answers one
    on_file("mind.append('list', 10)")
    assert "its last load here failed" in on_file.log and on_file("mind.load('list')") == TEN
