"""A tiered key-value store: memory, Redis, and a durable store of record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiered.arguments import KEEP
from tiered.backend import TieredBackend
from tiered.errors import (
    Ambiguous,
    CodecError,
    ConfigError,
    Corrupt,
    InvalidKey,
    InvalidTtl,
    InvalidValue,
    NotApplied,
    RecursiveLoad,
    StoreError,
    StoreUnavailable,
    TieredError,
    TooLarge,
    Unreadable,
    Untrusted,
)
from tiered.results import Lookup, WriteOutcome
from tiered.tiers.memory import MemoryTier

if TYPE_CHECKING:  # what __getattr__ gives, for those who check types
    from tiered.aio import AsyncTieredBackend
    from tiered.tiers.couchbase import CouchbaseTier as CouchbaseTier  # not in __all__: its driver is an extra
    from tiered.tiers.file import FileTier
    from tiered.tiers.redis import RedisTier

__version__ = "0.1.0"

__all__ = [
    "KEEP",
    "Ambiguous",
    "AsyncTieredBackend",
    "CodecError",
    "ConfigError",
    "Corrupt",
    "FileTier",
    "InvalidKey",
    "InvalidTtl",
    "InvalidValue",
    "Lookup",
    "MemoryTier",
    "NotApplied",
    "RecursiveLoad",
    "RedisTier",
    "StoreError",
    "StoreUnavailable",
    "TieredBackend",
    "TieredError",
    "TooLarge",
    "Unreadable",
    "Untrusted",
    "WriteOutcome",
]

if not TYPE_CHECKING:  # or a misspelt import would be an object, and no error

    def __getattr__(name: str) -> object:
        """Tiers with heavy drivers, and asyncio, are imported when they are first named."""
        if name == "AsyncTieredBackend":
            from tiered.aio import AsyncTieredBackend

            return AsyncTieredBackend
        if name == "RedisTier":
            from tiered.tiers.redis import RedisTier

            return RedisTier
        if name == "FileTier":
            from tiered.tiers.file import FileTier

            return FileTier
        if name == "CouchbaseTier":
            try:
                from tiered.tiers.couchbase import CouchbaseTier
            except ModuleNotFoundError as error:
                from tiered.extras import missing

                raise ImportError(str(missing("CouchbaseTier needs the Couchbase SDK", "couchbase"))) from error

            return CouchbaseTier
        raise AttributeError(f"module 'tiered' has no attribute {name!r}")

    def __dir__() -> list[str]:
        """What is public, also before it was imported."""
        return sorted([*__all__, "CouchbaseTier", *(name for name in globals() if name.startswith("__"))])
