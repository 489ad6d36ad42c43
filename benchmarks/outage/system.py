"""A system under test, and how each is opened by name."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

MEMORY_ENTRIES = 2_000
SOCKET_TIMEOUT = 0.25

_MODULES = {
    "tiered": ("benchmarks.outage.tiered_stack", "Stack"),
    "hand-rolled": ("benchmarks.outage.hand_rolled", "HandRolled"),
    "hand-rolled+breaker": ("benchmarks.outage.hand_rolled", "HandRolledWithBreaker"),
    "dogpile": ("benchmarks.outage.dogpile_proxy", "DogpileProxy"),
    "cashews": ("benchmarks.outage.cashews_client_side", "CashewsClientSide"),
}
SYSTEMS = tuple(_MODULES)
_NEEDS_PEER = ("dogpile", "cashews")
"""These are named after the package that they need."""


class System(Protocol):
    """A store of text that four threads use at once. Opened with the URL of a Redis and a directory of its own."""

    def __init__(self, redis_url: str, directory: Path) -> None: ...

    def get(self, key: str) -> str | None: ...

    def set(self, key: str, value: str) -> None:
        """Acknowledged when it returns."""

    def fill(self, values: Mapping[str, str]) -> None:
        """`set` of each, as fast as the system can."""

    def close(self) -> None: ...


def installed() -> list[str]:
    """The systems that can run here."""
    return [name for name in SYSTEMS if name not in _NEEDS_PEER or importlib.util.find_spec(name)]


def open_system(name: str, redis_url: str, directory: Path) -> System:
    """Raises ModuleNotFoundError if the peer is not installed (the extra `bench`)."""
    module, type_name = _MODULES[name]
    made: System = getattr(importlib.import_module(module), type_name)(redis_url, directory)
    return made
