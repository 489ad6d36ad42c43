"""Will builds its storage in the parent, uses it in children, and builds more for every message."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from tests.servers import RedisServer
from tests.will.conftest import chain
from tests.will.minds import Mind

pytestmark = pytest.mark.will


@pytest.mark.parametrize("kind", ["file", "redis", "redis+file", "couchbase"])
def test_built_in_the_parent_and_used_everywhere(
    kind: str, redis_url: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    place = chain(kind, redis_url, tmp_path, request)
    with Mind(tmp_path / "bot", f"TIERED_URL = {place!r}\n") as mind:
        mind("mind.save('parent', 1)")
        mind("exec('from multiprocessing import Process')")
        handler = (
            "lambda n: all(Mind().load('parent') == 1 and not Mind().save((n, i), i) and Mind().load((n, i)) == i"
            " for i in range(25)) or 1 / 0"
        )
        mind(f"exec({f'started = [Process(target={handler}, args=(n,)) for n in range(4)]'!r})")
        mind("[it.start() for it in started]")
        mind("[mind.save(('parent', i), i) for i in range(25)]")
        mind("[it.join() for it in started]")
        assert mind("[it.exitcode for it in started]") == [0] * 4
        assert mind("[mind.load((n, i)) for n in (*range(4), 'parent') for i in range(25)]") == list(range(25)) * 5
        assert mind.log == ""
        assert mind.close() == 0


def test_a_storage_object_costs_no_connection_and_no_store(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        url = f"redis://127.0.0.1:{port}/0,file:{tmp_path}/data"
        with Mind(tmp_path / "bot", f"TIERED_URL = {url!r}\n") as mind:
            mind("exec('from will.backends.storage import tiered_backend; import os, threading')")
            mind("mind.bootstrap_storage()")
            mind("exec('files = len(os.listdir(\"/proc/self/fd\")); threads = threading.active_count()')")
            begun = time.monotonic()
            mind("exec('more = [tiered_backend.bootstrap(settings) for _ in range(500)]')")
            assert time.monotonic() - begun < 500 * 0.005, "5 ms each"
            assert mind("len({id(it._store) for it in more} | {id(mind.storage._store)})") == 1
            assert mind("len(os.listdir('/proc/self/fd')) == files, threading.active_count() == threads") == (
                True,
                True,
            )
            listening.setblocking(False)
            with pytest.raises(BlockingIOError):
                listening.accept()


@pytest.mark.parametrize("kind", ["redis", "redis+file"])
def test_nothing_hangs_at_the_end_with_a_redis_that_hangs(kind: str, redis_server: RedisServer, tmp_path: Path) -> None:
    with Mind(tmp_path / "bot", f"TIERED_URL = {chain(kind, redis_server.url, tmp_path)!r}\n") as mind:
        mind("mind.save('k', 1)")
        redis_server.freeze()
        mind("exec('from multiprocessing import Process; it = Process(target=mind.save, args=(1, 2)); it.start()')")
        assert mind("it.join(60), it.exitcode") == (None, 0)
        assert mind.close() == 0


def test_what_a_child_confirmed_is_written_down_when_it_ends(redis_server: RedisServer, tmp_path: Path) -> None:
    """Else each message would leave work behind for the others."""
    with Mind(tmp_path / "bot", f"TIERED_URL = {chain('redis+file', redis_server.url, tmp_path)!r}\n") as mind:
        mind("mind.save('k', 0), mind.storage._store._core.service.keeper.stop()")  # nobody else tidies up
        mind("exec('from multiprocessing import Process; it = Process(target=mind.save, args=(1, 2)); it.start()')")
        assert mind("it.join(60), it.exitcode") == (None, 0)
        assert mind("[m.key for m in mind.storage._store._core.chain.record.journal.pending('redis', limit=9)]") == []


@pytest.mark.parametrize("kind", ["file", "redis+file"])
def test_a_value_is_never_torn(kind: str, redis_url: str, tmp_path: Path) -> None:
    """Will's File backend truncates in place: most reads beside a rewrite give the default, and a kill loses the value."""
    settings = f"TIERED_URL = {chain(kind, redis_url, tmp_path)!r}\n"
    with Mind(tmp_path / "bot", settings) as writer, Mind(tmp_path / "bot", settings) as reader:
        writer("exec('long = lambda n: [n] * 20_000')")
        writer("mind.save('k', long(0))")
        writer("exec('import itertools, threading')")
        rewrite = "threading.Thread(target=lambda: [mind.save('k', long(n)) for n in itertools.count()], daemon=True)"
        writer(f"{rewrite}.start()")
        seen = reader("[(len(it), it[0], len(set(it))) for it in (mind.load('k', [0]) for _ in range(40))]")
        assert all((size, kinds) == (20_000, 1) for size, _, kinds in seen)
        writer.kill()
        assert reader("len(mind.load('k', [])) == 20_000")
        assert [n for _, n, _ in seen] == sorted(n for _, n, _ in seen) and seen[-1][1] > 0


def test_a_thread_that_outlives_its_handler_can_still_save(on_file: Mind) -> None:
    on_file("mind.save('k', 0)")
    code = """
import threading
from multiprocessing import Process, util
ending = threading.Event()
def handler():
    util.Finalize(None, ending.set, exitpriority=0)  # after the storage's own
    threading.Thread(target=lambda: (ending.wait(), mind.save('k', 'late'))).start()
it = Process(target=handler)
it.start()
it.join(60)
"""
    on_file(f"exec({code!r}, globals())")
    assert on_file("it.exitcode, mind.load('k')") == (0, "late")
