"""The systems under test, and how each is opened by name."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

MEMORY_ENTRIES = 2_000
SOCKET_TIMEOUT = 0.25
"""Of the peers. tiered has its own default."""

_PLACES = {
    "tiered": ("tiered_chain", "TieredChain", "tiered"),
    "tiered-measured": ("tiered_chain", "TieredMeasured", "tiered"),
    "tiered-measured-fed": ("tiered_chain", "TieredFed", "tiered"),
    "tiered-asyncio": ("tiered_asyncio", "TieredAsyncio", "tiered"),
    "hand-rolled": ("hand_rolled", "HandRolled", "tiered"),
    "hand-rolled-durable": ("hand_rolled", "HandRolledDurable", "tiered"),
    "hand-rolled+breaker": ("hand_rolled", "HandRolledWithBreaker", "tiered"),
    "bare-parts": ("bare_parts", "BareParts", "tiered"),
    "dogpile": ("dogpile_proxy", "DogpileProxy", "dogpile"),
    "cashews": ("cashews_client_side", "CashewsClientSide", "cashews"),
    "py-key-value": ("py_key_value_passthrough", "PyKeyValuePassthrough", "key_value"),
}
"""Per name: its module here, its class, and the package that it needs."""
SYSTEMS = tuple(_PLACES)
LIMITS = ("bare-parts",)
"""No stores: what their parts can do with as many threads, without a promise. They do not outlive a fault."""
TASK_SYSTEMS = ("tiered-asyncio", "cashews", "py-key-value")
"""Those for asyncio."""


class System(Protocol):
    """A store of text that four threads use at once. Opened with the URL of a Redis and a directory of its own."""

    def __init__(self, redis_url: str, directory: Path) -> None: ...

    def get(self, key: str) -> str | None: ...

    def set(self, key: str, value: str) -> object:
        """Acknowledged when it returns."""

    def fill(self, values: Mapping[str, str]) -> None:
        """`set` of each, as fast as the system can."""

    def converged(self) -> bool | None:
        """Whether all tiers are equal; None if the system cannot tell."""

    def close(self) -> None: ...


@runtime_checkable
class AsyncSystem(Protocol):
    """The same for asyncio: 64 tasks use it at once."""

    def __init__(self, redis_url: str, directory: Path) -> None: ...

    async def open(self) -> None: ...

    async def get(self, key: str) -> str | None: ...

    async def set(self, key: str, value: str) -> object: ...

    async def fill(self, values: Mapping[str, str]) -> None: ...

    async def close(self) -> None: ...


def installed() -> list[str]:
    """The systems that can run here."""
    return [name for name, (_, _, package) in _PLACES.items() if importlib.util.find_spec(package)]


def open_system(name: str, redis_url: str, directory: Path) -> System | AsyncSystem:
    """Raises ModuleNotFoundError if the peer is not installed (the extra `bench`)."""
    module, type_name, _ = _PLACES[name]
    made: System | AsyncSystem = getattr(importlib.import_module(f"{__name__}.{module}"), type_name)(
        redis_url, directory
    )
    return made
