"""The database of Will's own Redis backend: a string per key, without a prefix, among whatever else lives there."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import redis

from tiered.entry import MAGIC
from tiered.errors import ConfigError, StoreUnavailable, without_tier
from tiered.integrations.will.chain import redis_url
from tiered.integrations.will.source import Kept
from tiered.tiers.redis_errors import store_error
from tiered.tiers.redis_url import check_url

PAGE = 500
TIMEOUT = 10.0
OURS = b"tiered:"


class RedisSource:
    """Reads the strings of a database whose keys match the glob `match`, with commands that change nothing.

    `url` is read as Will reads REDIS_URL.
    """

    def __init__(self, url: str, match: str = "*") -> None:
        self._match = match
        self.left_out = Counter[str]()
        url = redis_url(url)
        check_url(url, "will-redis", insecure_tls=True)  # redis-py takes a database that is no number for 0
        try:
            # A bot of old has a server of old, which knows no other protocol.
            self._client = redis.Redis.from_url(
                url, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT, decode_responses=False, protocol=2
            )
        except ValueError as error:
            raise ConfigError(f"REDIS_URL cannot work: {error}") from None

    def count(self) -> int:
        with _translated():
            return int(self._client.dbsize())

    def values(self) -> Iterator[Kept]:
        self.left_out.clear()
        seen, cursor = set[bytes](), 0
        names: list[Any]
        while True:
            with _translated():
                cursor, names = self._client.scan(cursor, match=self._match, count=PAGE)
                # A SCAN may name a key twice.
                fresh: list[Any] = [name for name in dict.fromkeys(names) if name not in seen]
                found = self._page(fresh)
            seen.update(fresh)
            yield from found
            if cursor == 0:
                return

    def close(self) -> None:
        self._client.close()

    def _page(self, names: Sequence[bytes]) -> list[Kept]:
        """One round trip for the kinds, one for the values and when they end."""
        kinds = self._ask([("TYPE", name) for name in names])
        strings = []
        for name, kind in zip(names, kinds, strict=True):
            if kind == b"string" and not name.startswith(OURS):
                strings.append(name)
            elif kind != b"none":
                self.left_out[
                    "key of tiered" if name.startswith(OURS) else f"Redis {kind.decode()}, not of Will's"
                ] += 1
        answers = self._ask([(command, name) for name in strings for command in ("GET", "PTTL")])
        now, kept = time.time(), list[Kept]()
        for name, value, left in zip(strings, answers[::2], answers[1::2], strict=True):
            if value is None:  # expired meanwhile
                continue
            if value.startswith(MAGIC):
                self.left_out["key of tiered"] += 1
            else:
                kept.append(Kept(_key(name), value, now + left / 1000 if left >= 0 else None))
        return kept

    def _ask(self, commands: Sequence[tuple[str, bytes]]) -> list[Any]:
        with self._client.pipeline(transaction=False) as pipe:
            for command in commands:
                pipe.execute_command(*command)  # type: ignore[no-untyped-call]  # redis-py's
            return list(pipe.execute())


def _key(name: bytes) -> str | bytes:
    try:
        return name.decode()
    except UnicodeDecodeError:
        return name


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except redis.exceptions.RedisError as error:
        why = store_error(error, "will", write=False, sent=True)
        message = f"Will's Redis cannot be read: {without_tier(why, 'will')}"
        raise StoreUnavailable(message, tier="will", reason=why.reason) from error
