"""A user's program that mypy --strict passes and Python runs: every public name of `tiered`, by threads and by tasks."""

import asyncio
import math
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any, assert_type

from tiered import (
    KEEP,
    Ambiguous,
    AsyncTieredBackend,
    CodecError,
    ConfigError,
    Corrupt,
    CouchbaseTier,
    FileTier,
    InvalidKey,
    InvalidTtl,
    InvalidValue,
    Lookup,
    MemoryTier,
    NotApplied,
    RecursiveLoad,
    RedisTier,
    StoreError,
    StoreUnavailable,
    TieredBackend,
    TieredError,
    TooLarge,
    Unreadable,
    Untrusted,
    WriteOutcome,
)

# What is misspelt is an error here, too; if it were none any more, the "type: ignore" would be an unused one.
with suppress(ImportError):
    from tiered import FileTeir  # type: ignore[attr-defined]  # noqa: F401
with suppress(ConfigError):
    TieredBackend.from_url("memory://", stalenes=1.0)  # type: ignore[call-arg]
with suppress(ConfigError):
    AsyncTieredBackend.from_config({}, shared="perhaps")  # type: ignore[arg-type]
with suppress(TypeError):
    AsyncTieredBackend([MemoryTier()], read_ordr="measured")  # type: ignore[call-arg]


def motd() -> str:
    return "built once"


def nobody() -> str | None:
    return None


async def profile(user: int = 7) -> dict[str, str]:
    return {"name": f"Ada {user}"}


async def counted(votes: int) -> int:
    return votes + 1


def chain(directory: str) -> TieredBackend:
    tiers = [MemoryTier(max_entries=1000), RedisTier("redis://127.0.0.1:1/0"), FileTier(directory)]  # not annotated
    return TieredBackend(tiers)


def no_memory(directory: str) -> TieredBackend:
    tiers = [RedisTier("redis://127.0.0.1:1/0"), FileTier(directory)]
    return TieredBackend(tiers)


def record_of_many_hosts(url: str) -> TieredBackend:
    return TieredBackend([MemoryTier(), CouchbaseTier(url)], journal="./journal")


def threads() -> None:
    with TieredBackend([MemoryTier(), FileTier("./threads")], namespace="bot") as store:
        assert_type(store.set("k", [1], ttl=timedelta(minutes=1)), WriteOutcome)
        assert_type(store.add("k", [2]), WriteOutcome | None)
        assert_type(store.lookup("k"), Lookup)
        assert_type(store.ttl("k"), float | None)
        assert_type(store.delete_many(["k"]), dict[str, bool])
        assert_type(store.touch("k", None), bool)
        assert_type(store.increment("n"), int)
        assert_type(store.namespace("other"), TieredBackend)
        assert_type(list(store.keys()), list[str])
        store.set_many({"a": 1, "b": None}, ttl=60)
        assert_type(store.update("history", lambda lines: [*lines, "hi"], default=[], ttl=KEEP), list[Any])
        assert_type(store.update("votes", int, default=0), int)
        assert_type(store.get_or_set("motd", motd, ttl=60), str)
        assert_type(store.get_or_set("user:8", nobody, ttl=60), str | None)
        absent: str | None = store.get_or_set("user:9", lambda: None, ttl=60)
        assert absent is None
        print(store.get_many(["a", "b"]), store["a"], "a" in store, store.ttl("a") == math.inf)
        print(store.set("k", 1).tiers["file"] == "ok", store.health(), store.verify().converged)


async def tasks() -> None:
    async with AsyncTieredBackend([MemoryTier(), FileTier("./tasks")], staleness=2.0) as store:
        assert_type(store, AsyncTieredBackend)
        assert_type(await store.set("k", [1], ttl=60), WriteOutcome)
        assert_type(await store.add("k", [2]), WriteOutcome | None)
        assert_type(await store.lookup("k"), Lookup)
        assert_type(await store.increment("n"), int)
        assert_type([key async for key in store.keys("user:")], list[str])
        assert_type(store.namespace("other"), AsyncTieredBackend)
        assert_type(await store.update("history", lambda lines: [*lines, "hi"], default=[], ttl=KEEP), list[Any])
        assert_type(await store.update("votes", int, default=0), int)
        assert_type(await store.update("votes", counted), int)
        assert_type(await store.get_or_set("motd", motd, ttl=60), str)
        assert_type(await store.get_or_set("user:7", profile, ttl=60), dict[str, str])
        assert_type(await store.get_or_set("user:8", partial(profile, 8), stale_ttl=60), dict[str, str])
        assert_type(await store.get_or_set("user:9", lambda: profile(9)), dict[str, str])
        absent: str | None = await store.get_or_set("user:10", lambda: None, ttl=60)
        assert absent is None
        await asyncio.gather(*(store.set(f"user:{number}", number) for number in range(3)))
    async with AsyncTieredBackend.from_url("memory://,file:./tasks", shared=True) as store:
        print(await store.get("user:1"))


def told(error: TieredError) -> str:
    """What docs/api.md says about each, in code."""
    if isinstance(error, NotApplied | StoreUnavailable):
        return f"again, later: {error.tier}, {error.reason}"
    if isinstance(error, Ambiguous | StoreError):
        return "read before you repeat it"
    if isinstance(error, Corrupt | Unreadable | TooLarge | Untrusted | CodecError):
        return "the stored bytes"
    assert isinstance(error, InvalidKey | InvalidValue | InvalidTtl | ConfigError | RecursiveLoad)
    return "the caller's own"


if __name__ == "__main__":
    threads()
    asyncio.run(tasks())
    chain("./parts").close()
    no_memory("./others").close()
    print(told(NotApplied("no", tier="file")))
