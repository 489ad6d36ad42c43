"""Couchbase alone, by Will's own COUCHBASE_URL, in place of a backend that today's client cannot even construct."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.couchbase_servers import CouchbaseMock
from tests.servers import RedisServer
from tests.waiting import eventually
from tests.will.bots import Bot
from tests.will.minds import Mind, Refused

pytestmark = pytest.mark.will
TEN = list(range(10))
NO_REDIS = "PUBSUB_BACKEND = 'zeromq'\n"


def wills(server: CouchbaseMock) -> str:
    """The bucket as a COUCHBASE_URL, with nothing that Will's documentation does not have."""
    return f"couchbase://127.0.0.1:{server.port}{urlsplit(server.url).path}?password=secret&timeout=0.25"


@pytest.fixture
def on_couchbase(couchbase_mock: CouchbaseMock, tmp_path: Path) -> Iterator[Mind]:
    with Mind(tmp_path / "bot", f"COUCHBASE_URL = {wills(couchbase_mock)!r}\n{NO_REDIS}") as mind:
        mind("mind.bootstrap_storage()")
        yield mind


def test_a_stop_in_the_middle_loses_nothing_that_was_saved(on_couchbase: Mind, couchbase_mock: CouchbaseMock) -> None:
    mind = on_couchbase
    assert mind("list(mind.storage._store.stats()['tiers'])") == ["couchbase"]
    assert mind("mind.storage.verify_settings()") is True and "couchbase, the store of record" in mind.said()
    mind(f"mind.save('list', {TEN}), mind.save('other', 1), mind.save('until', 1, expire='3600')")
    assert mind.log == "" and 3500 < mind("mind.storage._store.ttl('until')") <= 3600
    couchbase_mock.freeze()
    assert mind("mind.load('list', [])") == [], "Will gives the default and says nothing"
    with pytest.raises(Refused, match=r"NotApplied|Ambiguous|StoreUnavailable"):
        mind("atomic.append('list', 'while it is stopped')")
    couchbase_mock.thaw()
    eventually(lambda: mind("mind.load('other')") == 1, "the server's return")
    mind("mind.save('list', [10])")
    assert "its last load here failed" in mind.log
    mind("mind.append('list', 10)")
    kept = mind("mind.load('list')")
    assert kept[:10] == TEN and kept[-1] == 10


def test_what_redis_alone_has_said_is_no_base_for_a_save(
    couchbase_mock: CouchbaseMock, redis_server: RedisServer, tmp_path: Path
) -> None:
    """While Couchbase is stopped, lists can be read in Redis; other hosts may have changed them by the time it is back."""
    url = f"{redis_server.url},{couchbase_mock.url}?timeout=250ms"
    with Mind(tmp_path / "bot", f"TIERED_URL = {url!r}\nTIERED_STALENESS = '250ms'\n") as mind:
        mind(f"mind.save('list', {TEN})")
        couchbase_mock.freeze()
        eventually(lambda: mind("mind.storage._store.lookup('list').unproven"), "the end of what Couchbase has proved")
        assert mind("mind.load('list')") == TEN, "Redis has it"
        couchbase_mock.thaw()
        eventually(lambda: not mind("mind.save('another', 1)") and not mind.log, "its return")
        mind("mind.save('list', [10])")
        assert "its last load here was from redis alone" in mind.log
        eventually(lambda: mind("mind.storage._store.lookup('list').unproven") is False, "a proof")
        mind("mind.append('list', 10)")
        assert mind.log == "'list' can be loaded, and saved, again" and mind("mind.load('list')") == [*TEN, 10]


def test_children_go_on_over_connections_of_their_own_while_it_stops(
    on_couchbase: Mind, couchbase_mock: CouchbaseMock
) -> None:
    """The SDK's objects hang in a child, even at its end."""
    mind = on_couchbase
    mind(f"mind.save('list', {TEN})")
    assert mind("many(2, lambda n: mind.append(f'of {n}', mind.load('list')))") == [0, 0]
    assert mind("mind.load('of 0'), mind.load('of 1')") == ([TEN], [TEN])
    couchbase_mock.freeze()
    assert mind("many(2, lambda n: mind.append('list', n))") == [0, 0]
    couchbase_mock.thaw()
    eventually(lambda: mind("mind.load('list')") == TEN, "the list as it was")
    mind("exec('from multiprocessing import get_context')")
    mind(
        'exec(\'child = get_context("fork").Process(target=mind.append, args=("list", 10)); child.start(); child.join(60)\')'
    )
    assert mind("child.exitcode") == 0 and mind("mind.load('list')") == [*TEN, 10]
    assert mind.close() == 0, "nothing hangs at the end either"


def test_its_own_examples_of_a_url_reach_the_bucket_or_say_that_they_cannot(
    couchbase_mock: CouchbaseMock, tmp_path: Path
) -> None:
    host = f"127.0.0.1:{couchbase_mock.port}"
    with Mind(tmp_path / "bot", NO_REDIS, WILL_COUCHBASE_URL=f"couchbase://{host}/default") as mind:
        mind("mind.save('k', 1)")
        assert mind.log == "" and mind("[it['name'] for it in mind.storage.required_settings]") == ["COUCHBASE_URL"]
        another = "exec('import will.backends.storage.tiered_backend as it; storage = it.bootstrap(settings)')"
        for place in (f"{host},{host}/default", f"{host}/default?username=bot&password=a=b,c&timeout=5"):
            mind(f"setattr(settings, 'COUCHBASE_URL', 'couchbase://{place}')")
            mind(another)
            assert mind("storage._store is not mind.storage._store, storage.do_load('k') is not None") == (True, True)
        couchbase_mock.kill()
        mind("setattr(settings, 'COUCHBASE_URL', settings.COUCHBASE_URL.replace('timeout=5', 'timeout=0.3'))")
        mind(another)
        with pytest.raises(Refused, match=r"OSError: the tiered storage backend cannot be reached: .*couchbase"):
            mind("storage.verify_settings()")
        assert "a=b" not in mind.said() and "cannot be reached" in mind.said()


def test_the_bot_goes_on_when_couchbase_does(
    couchbase_mock: CouchbaseMock, redis_server: RedisServer, tmp_path: Path
) -> None:
    with Bot(tmp_path / "bot", redis_server.url, TIERED_URL=f"{couchbase_mock.url}?timeout=500ms") as bot:
        assert "couchbase, the store of record" in bot.awake().said
        bot.asked("remember milk", r"I will remember milk\.")
        couchbase_mock.freeze()
        bot.asked("what do you remember", r"I remember 0: \.")
        assert bot.alive() == 200
        couchbase_mock.thaw()
        recalled = (bot.asked("what do you remember", r"I remember \d+: .*\.") for _ in range(100))
        assert any("I remember 1: milk." in said for said in recalled)
        bot.asked("remember bread", r"I will remember bread\.")
        bot.asked("what do you remember", r"I remember 2: milk, bread\.")
