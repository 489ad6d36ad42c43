"""A key or a name that is a str with a `__str__` of its own, such as a member of `class K(str, Enum)`, is the text it equals."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import pytest
import redis

from tests.servers import RedisServer
from tests.waiting import eventually
from tiered import AsyncTieredBackend, FileTier, InvalidKey, MemoryTier, RedisTier, TieredBackend
from tiered.arguments import check_key
from tiered.codecs import MsgpackCodec, register
from tiered.codecs.keys import Keyring


class K(str, Enum):  # noqa: UP042  # a StrEnum says its text
    USER = "user"
    OTHER = "other"
    US = "us"


class Hidden(str):
    """Says something else wherever it is asked."""

    def __str__(self) -> str:
        return "another"

    def __format__(self, _: str) -> str:
        return "another"

    def __len__(self) -> int:
        return 1

    def __hash__(self) -> int:
        return 7


@pytest.fixture
def store(shared_redis_server: RedisServer, tmp_path: Path) -> Iterator[TieredBackend]:
    tiers = [MemoryTier(), RedisTier(shared_redis_server.url, prefix=tmp_path.name), FileTier(tmp_path / "data")]
    with TieredBackend(tiers) as store:
        yield store


@pytest.fixture
def cold(shared_redis_server: RedisServer, tmp_path: Path, store: TieredBackend) -> Iterator[TieredBackend]:
    """The same store without memory."""
    tiers = [RedisTier(shared_redis_server.url, prefix=tmp_path.name), FileTier(tmp_path / "data")]
    with TieredBackend(tiers) as cold:
        yield cold


def test_what_is_written_under_one_is_read_under_the_other(store: TieredBackend, cold: TieredBackend) -> None:
    store.set("user", 1)
    store.set(K.USER, 2)
    for backend in (store, cold):
        for key in ("user", K.USER):
            assert backend.get(key) == backend[key] == backend.lookup(key).value == 2 and key in backend
            assert backend.get_many([key, "user"]) == {"user": 2}
        assert list(backend.keys(K.US)) == ["user"] and list(backend.items(K.US)) == [("user", 2)]


def test_results_are_under_plain_texts(store: TieredBackend) -> None:
    results = [store.set_many({K.USER: 1, K.OTHER: 2}), store.get_many(K), store.delete_many(K)]
    assert [list(map(type, result)) for result in results[:1]] == [[str, str]]
    assert [sorted(result) for result in results] == [["other", "user"], ["other", "user"], ["other", "us", "user"]]
    assert {type(key) for result in results for key in result} == {str}


def test_every_other_operation_finds_it_too(store: TieredBackend, cold: TieredBackend) -> None:
    for backend in (store, cold):
        assert backend.add(K.USER, 1) and backend.add("user", 5) is None
        assert backend.increment(K.USER) == 2 and backend.update(K.USER, lambda n: n + 1) == 3
        assert backend.touch(K.USER, 60) and backend.ttl(K.USER) == pytest.approx(60, abs=30)
        assert backend.get_or_set(K.USER, lambda: 7) == 3
        assert backend.delete(K.USER) and not backend.delete(K.USER)
        assert list(backend.keys()) == []


@pytest.mark.parametrize("ahead", [None, 1])
def test_a_load_is_for_the_text(store: TieredBackend, cold: TieredBackend, ahead: float | None) -> None:
    for backend in (store, cold):
        assert backend.get_or_set(K.USER, lambda: 1, 60, refresh_ahead=ahead) == 1
        assert backend.get_or_set("user", lambda: 2, 60, refresh_ahead=ahead) == 1
        assert list(backend.keys()) == ["user"] and backend.delete("user")


def test_tasks_see_the_same(store: TieredBackend) -> None:
    async def use(aio: AsyncTieredBackend) -> None:
        await aio.set("user", 1)
        await aio.set(K.USER, 2)
        assert await aio.get(K.USER) == await aio.get("user") == (await aio.lookup(K.USER)).value == 2
        assert await aio.get_many([K.USER]) == {"user": 2}
        assert await aio.increment(K.USER) == 3
        assert await aio.delete(K.USER) and await aio.get_or_set(K.USER, lambda: 4) == 4
        assert [key async for key in aio.keys(K.US)] == ["user"]
        assert await aio.delete(K.USER)

    asyncio.run(use(AsyncTieredBackend.over(store)))


def test_one_that_hides_its_text_is_seen_through(store: TieredBackend) -> None:
    store.set(Hidden("key"), 1)
    assert store.get("key") == store.get(Hidden("key")) == store.lookup(Hidden("key")).value == 1
    assert store.delete(Hidden("key")) and list(store.keys()) == []


def test_the_length_that_counts_is_that_of_the_text() -> None:
    for long in (Hidden("x" * 11), Hidden("é" * 6)):
        with pytest.raises(InvalidKey):
            check_key(long, 10)
    with pytest.raises(InvalidKey):
        check_key(Hidden(""), 10)
    assert type(check_key(Hidden("x" * 10), 10)) is str


class Name(str, Enum):  # noqa: UP042  # a StrEnum says its text
    USERS = "users"
    PREFIX = "bot"
    FAR = "far"
    DATA = "data"


def test_another_process_hears_of_a_namespace_by_its_text(redis_server: RedisServer, tmp_path: Path) -> None:
    def chain(namespace: str, prefix: str) -> TieredBackend:
        tiers = [RedisTier(redis_server.url, prefix=prefix, name=Name.FAR), FileTier(tmp_path / "data")]
        return TieredBackend([MemoryTier(), *tiers], namespace=namespace)

    with chain(Name.USERS, Name.PREFIX) as one, chain("users", "bot") as other:
        other.set("k", 1)
        one.set("k", 2)
        eventually(lambda: other.get("k") == 2)
        assert one.namespace(Name.DATA).set("k", 1).tiers["far"] == "ok"
    with redis.Redis.from_url(redis_server.url) as client:
        names = list(client.scan_iter())
    assert {b"bot:users:store", b"bot:data:store"} <= set(names) and not [name for name in names if b"Name" in name]


def test_what_names_a_store_or_a_tier_is_seen_by_its_text(tmp_path: Path) -> None:
    tiers = [MemoryTier(name=Hidden("near")), FileTier(Hidden(tmp_path / "data"), name=Name.DATA)]
    assert {type(tier.name) for tier in tiers} == {str} and tiers[0].name == "near"
    assert (tmp_path / "data").is_dir()
    with TieredBackend(tiers, namespace=Hidden("users")) as store:
        assert store.stats()["namespace"]["name"] == "users"
        assert "near → data" in repr(store) and "'users'" in repr(store)


def test_settings_are_read_by_their_text(tmp_path: Path) -> None:
    options = {"namespace": Name.USERS, "name": Name.FAR}
    for source in ({"url": f"file:{tmp_path}"}, {"tiers": [{"type": Hidden("file"), "directory": Hidden(tmp_path)}]}):
        with TieredBackend.from_config({**source, **options}) as store:
            assert store.stats()["namespace"]["name"] == "users"
    with TieredBackend.from_url(f"file:{tmp_path}", namespace=Name.USERS) as store:
        assert store.stats()["namespace"]["name"] == "users"


@dataclass
class Vote:
    by: str


def test_a_class_is_registered_under_its_text() -> None:
    by_member, by_text = (MsgpackCodec([register(Vote, name)]) for name in (Name.FAR, "far"))
    assert by_member.encode(Vote("ann")) == by_text.encode(Vote("ann"))
    assert by_text.decode(by_member.encode(Vote("ann"))) == Vote("ann")


def test_a_key_of_encryption_is_named_by_its_text() -> None:
    ring = Keyring({Hidden("k1"): bytes(32)})
    assert ring.ids == ["k1"] and {type(id_) for id_ in ring.ids} == {str} and ring.find("k1") is not None
