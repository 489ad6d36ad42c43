"""A Redis that refuses, is no Redis, or is not there: as a cache a degraded but correct call, as the record a typed error."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import redis

from tests.servers import RedisServer, free_port
from tiered import FileTier, MemoryTier, NotApplied, RedisTier, StoreUnavailable, TieredBackend
from tiered.errors import Reason, StoreError

pytestmark = pytest.mark.faults

ALLOWED = ("+get", "+mget", "+ping", "+info", "+hello", "+auth", "+client", "+select")
"""What an operator who thinks of reads only would give."""


class Stranger:
    """Something else that listens: answers whatever comes with `text`, or with silence, and hangs up."""

    def __init__(self, text: bytes) -> None:
        self._text = text
        self._held: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if not self._text:
                self._held.append(client)
                continue
            with client:
                client.recv(65_536)
                client.sendall(self._text)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for client in self._held:
            client.close()


@contextmanager
def stranger(text: bytes) -> Iterator[str]:
    it = Stranger(text)
    try:
        yield it.url
    finally:
        it.close()


def configured(*command: str) -> Callable[[RedisServer], str]:
    def make(server: RedisServer) -> str:
        with redis.Redis.from_url(server.url) as client:
            client.execute_command(*command)
        return server.url

    return make


def with_password(server: RedisServer, credentials: str) -> str:
    configured("CONFIG", "SET", "requirepass", "s3cret")(server)
    return f"redis://{credentials}127.0.0.1:{server.port}/0"


CASES: dict[str, tuple[Callable[[RedisServer], str], Reason, str]] = {
    "wants a password": (lambda it: with_password(it, ""), Reason.AUTH, "check the password"),
    "wants another password": (lambda it: with_password(it, ":wr0ng@"), Reason.AUTH, "check the password"),
    "knows no such user": (lambda it: with_password(it, "bot:s3cret@"), Reason.AUTH, "check the password"),
    "lets this user read only": (
        lambda it: configured("ACL", "SETUSER", "bot", "on", ">s3cret", "~*", *ALLOWED)(it).replace(
            "//", "//bot:s3cret@"
        ),
        Reason.MISUSE,
        "the user's ACL lacks a command",
    ),
    "is a read-only replica": (
        lambda it: configured("REPLICAOF", "127.0.0.1", str(free_port()))(it),
        Reason.OTHER,
        "give the address of the master",
    ),
    "is out of memory": (configured("CONFIG", "SET", "maxmemory", "1"), Reason.FULL, "raise maxmemory"),
    "has no such database": (lambda it: it.url[:-1] + "99", Reason.OTHER, "choose a database that the server has"),
    "is no sentinel": (
        lambda it: f"redis+sentinel://127.0.0.1:{it.port}/mymaster",
        Reason.OTHER,
        "for one server write redis://",
    ),
    "is nowhere": (lambda _: f"redis://127.0.0.1:{free_port()}/0", Reason.CONNECTION, "check that the server runs"),
    "speaks no TLS": (
        lambda it: it.url.replace("redis:", "rediss:"),
        Reason.TIMEOUT,
        "is it a plain redis:// server",
    ),
}
STRANGERS = {
    "is a web server": (b"HTTP/1.1 400 Bad Request\r\n\r\n", Reason.OTHER, "is this a Redis server?"),
    "hangs up": (b"\r\n", Reason.OTHER, "is this a Redis server?"),
    "says nothing": (b"", Reason.TIMEOUT, "timeout="),
}


@pytest.fixture(params=[*CASES, *STRANGERS])
def refusing(request: pytest.FixtureRequest, redis_server: RedisServer) -> Iterator[tuple[str, Reason, str]]:
    """The URL of a Redis that cannot be written to, the kind of failure, and words that must be said."""
    with ExitStack() as later:
        if request.param in STRANGERS:
            text, reason, says = STRANGERS[request.param]
            url = later.enter_context(stranger(text))
        else:
            make, reason, says = CASES[request.param]
            url = make(redis_server)
        yield url, reason, says


def test_as_a_cache_every_call_is_answered_as_if_it_were_not_there(
    refusing: tuple[str, Reason, str], tmp_path: Path
) -> None:
    url, reason, _ = refusing
    far = RedisTier(url)
    with TieredBackend([MemoryTier(max_entries=0), far, FileTier(tmp_path)]) as store:
        outcome = store.set("k", [1])
        assert outcome.tiers == {"memory": "skipped", "redis": "queued", "file": "ok"}
        assert store.get("k") == [1] and store.lookup("k").version == outcome.version
        assert set(store.set_many({"a": 1, "b": 2}, ttl=60)) == {"a", "b"}
        assert store.get_many(["a", "b", "c"]) == {"a": 1, "b": 2}
        assert store.increment("a") == 2 and store.update("k", lambda old: [*old, 2]) == [1, 2]
        assert store.add("k", 0) is None and store.add("new", 0) is not None
        assert store.touch("a", 100) and store.ttl("a") == pytest.approx(100, abs=30)
        assert store.get_or_set("made", lambda: "x") == "x" and "made" in store
        assert store.delete_many(["b", "absent"]) == {"b": True, "absent": False}
        assert sorted(store.keys()) == ["a", "k", "made", "new"]
        other = store.namespace("other")
        other.set("k", "other")
        store.clear()
        assert (store.get("k"), other.get("k")) == (None, "other")
        assert store.stats()["tiers"]["redis"]["errors"][str(reason)] > 0
        assert store.health()["file"]["ok"]
    with pytest.raises(StoreError, match="closed"):
        far.get("default:1", "k")


def test_as_the_record_a_write_is_certainly_not_applied_and_the_error_says_what_to_do(
    refusing: tuple[str, Reason, str],
) -> None:
    url, reason, says = refusing
    writes: list[Callable[[TieredBackend], object]] = [
        lambda store: store.set("k", 1),
        lambda store: store.set_many({"k": 1, "j": 2}),
        lambda store: store.add("k", 1),
        lambda store: store.delete("k"),
        lambda store: store.increment("k"),
        lambda store: store.get_or_set("k", lambda: 1),
        lambda store: store.clear(),
    ]
    with TieredBackend([MemoryTier(), RedisTier(url)]) as store:
        for write in writes:
            with pytest.raises((NotApplied, StoreUnavailable)) as caught:
                write(store)
            message = str(caught.value)
            assert (caught.value.tier, caught.value.reason) == ("redis", reason)
            assert (
                message.startswith("redis: ")
                and message.count("redis: ") == 1
                and says in message
                and "script" not in message
            )
            assert "s3cret" not in message and "wr0ng" not in message
            try:
                assert store.get("k") is None
            except StoreUnavailable as error:  # could not look, which is another answer
                assert says in str(error)


def test_a_redis_that_wants_another_password_is_told_in_the_log_once(
    redis_server: RedisServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with TieredBackend([RedisTier(with_password(redis_server, ":wr0ng@")), FileTier(tmp_path)]) as store:
        for _ in range(20):
            store.set("k", 1)
    told = [record.getMessage() for record in caplog.records if "check the password" in record.getMessage()]
    assert len(told) == 1 and "wr0ng" not in told[0] and told[0].count("redis: ") == 1
