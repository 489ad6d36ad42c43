"""Will's own StorageMixin over each chain, its encryption on and off."""

from __future__ import annotations

import re

import pytest
import redis

from tests.servers import RedisServer
from tests.waiting import eventually
from tests.will.minds import Mind, Refused

pytestmark = pytest.mark.will


def check_size(mind: Mind, lists: bool, begin: str) -> None:
    size = mind("mind.size()")
    assert size.startswith(begin) if lists else re.fullmatch(r"unknown \(couchbase: .* version 7\.6 .*\)", size)


def test_every_operation_of_the_mixin(mind: Mind, lists: bool) -> None:
    assert mind("mind.load('list', 'none')") == "none"
    mind("mind.append('list', 1)"), mind("mind.append('list', 'two')"), mind("mind.append('list', {'three': (3,)})")
    assert mind("mind.load('list')") == [1, "two", {"three": (3,)}]
    mind("mind.pop('list', 'two')")
    assert mind("mind.load('list')") == [1, {"three": (3,)}]
    check_size(mind, lists, "1 keys, ")
    assert mind("mind.clear('list'), mind.clear('list')") == (True, False)
    assert mind("mind.load('list')") is None
    mind("mind.save('a', 1), mind.save('b', 2)")
    assert mind("mind.clear_all_keys()") is True
    assert mind("mind.load('a'), mind.load('b')") == (None, None)
    check_size(mind, lists, "0 keys, 0 bytes")
    mind("mind.save('a', False)")
    assert mind("mind.load('a', 'none'), mind.load('b', 'none')") == (False, "none")
    assert mind.log == ""


def test_bytes_come_out_whatever_went_in(mind: Mind) -> None:
    stored = "mind.storage._store.get('k')"
    assert mind("mind.save('k', ['ü'])") is None
    assert mind(f"type({stored}).__name__, type(mind.storage.do_load('k')).__name__") == ("bytes", "bytes")
    mind("mind.storage.do_save('k', 'ü')")
    assert mind("mind.storage.do_load('k')") == "ü".encode()
    mind("mind.storage._store.set('k', 'text from another program') and None")
    assert mind("mind.storage.do_load('k')") == b"text from another program"


def test_expire_in_every_form(mind: Mind) -> None:
    mind("exec('import datetime, time')")
    for expire in (
        "3600",
        "'3600'",
        "3600.5",
        "datetime.timedelta(hours=1)",
        "datetime.datetime.now() + datetime.timedelta(hours=1)",
    ):
        mind(f"mind.clear('k'), mind.save('k', 1, expire={expire})")
        assert mind("mind.load('k')") == 1 and mind.log == ""
        assert 3500 < mind("mind.storage._store.ttl('k')") < 3700
    for over in ("0", "-1", "'-5'", "datetime.timedelta(0)", "datetime.datetime(2020, 1, 1)"):
        mind(f"mind.save('k', 1), mind.save('k', 2, expire={over})")
        assert mind("mind.load('k')") is None and mind.log == "", "its time is over, and the old value is not it"
    mind("mind.save('k', 1), mind.save('k', 2, expire='soon')")
    assert "InvalidTtl" in mind.log and mind("mind.load('k')") == 1
    mind("mind.save('k', 3, expire=0.3)")
    eventually(lambda: mind("mind.load('k')") is None, "the expiry")
    mind("mind.save('k', 1, expire=3600), mind.save('k', 2)")
    assert mind("mind.storage._store.ttl('k') == float('inf')"), "as Will's own: a save without expire lives for ever"


KEYS = (
    *("k", "a/b", "../x", ".z.expires", "z", "", " ", "ключ", "k" * 300, "k" * 301, "\udcff", "1", "tiered:key:bzE="),
    *(1, 1.5, True, None, b"k", ("a", 1), ("a", "1"), (("a", 1),), ["a", 1], -1),
)


def test_keys_of_any_type_stay_apart(mind: Mind, lists: bool) -> None:
    for number, key in enumerate(KEYS):
        mind(f"mind.save({key!r}, {number})")
        assert mind.log == ""
    assert mind(f"[mind.load(key) for key in {KEYS!r}]") == list(range(len(KEYS)))
    check_size(mind, lists, f"{len(KEYS)} keys")
    mind("mind.save({'a': 1}, 1)")
    assert "InvalidKey" in mind.log, "equal dicts may be encoded differently, so it would not be found again"
    with pytest.raises(Refused, match="InvalidKey"):
        mind("mind.storage.do_save({1, 2}, b'')")


def test_nothing_is_saved_when_will_could_not_encrypt(mind: Mind) -> None:
    mind("mind.save('k', 'before')")
    mind("setattr(mind.storage, 'encrypt', lambda raw: None)")  # what Will's answers when it fails
    try:
        mind("mind.save('k', 'after')")
        assert "encryption failed" in mind.log and mind("mind.load('k')") == "before"
    finally:
        mind("delattr(mind.storage, 'encrypt')")


def test_a_value_of_before_encryption_is_still_read(mind: Mind) -> None:
    mind("exec('import dill')")
    mind("mind.storage.do_save('old', dill.dumps([1, 2, 3]))")
    assert mind("mind.load('old')") == [1, 2, 3]
    mind("mind.append('old', 4)")
    assert mind("mind.load('old')") == [1, 2, 3, 4]


def test_clearing_everything_leaves_the_keys_of_others(shared_redis_server: RedisServer, mind: Mind) -> None:
    with redis.Redis.from_url(shared_redis_server.url) as client:
        client.set("another application's", "key")
        mind("mind.save('k', 1), mind.clear_all_keys()")
        assert client.get("another application's") == b"key" and mind("mind.load('k')") is None


def test_threads_do_not_run_out_of_connections(mind: Mind) -> None:
    """Will's Redis backend has four connections and raises when a fifth is wanted: of 800 operations 483 were lost."""
    mind("exec('from concurrent.futures import ThreadPoolExecutor')")
    mind("mind.save('k', 'before')")  # the first write to a Redis says how durable it is
    work = "lambda n: [mind.save(f'{n}:{i}', i) or mind.load(f'{n}:{i}') for i in range(25)]"
    assert mind(f"list(ThreadPoolExecutor(8).map({work}, range(8)))") == [list(range(25))] * 8
    assert mind.log == ""
