"""The chains of this process, for whoever looks at them. Held weakly: being seen keeps nothing alive."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from tiered.forks import Forking, register

if TYPE_CHECKING:
    from tiered.chain import Chain


class Observed(Forking):
    """Chains by the name they are seen under, which no two open ones share. Thread-safe."""

    def __init__(self) -> None:
        self._lock = Lock()  # guards the table
        self._names: WeakKeyDictionary[Chain, str] = WeakKeyDictionary()
        register(self)

    def add(self, chain: Chain, name: str) -> None:
        """Let `chain` be seen as `name`, or as name-2, name-3 … while others have it."""
        with self._lock:
            taken = set(self._names.values())
            free = (f"{name}-{n}" if n > 1 else name for n in range(1, len(taken) + 2))
            self._names[chain] = next(it for it in free if it not in taken)

    def discard(self, chain: Chain) -> None:
        """It is closed: its name is free again."""
        with self._lock:
            self._names.pop(chain, None)

    def chains(self) -> list[tuple[str, Chain]]:
        """Those that are open, by name."""
        with self._lock:
            return sorted(((name, chain) for chain, name in self._names.items()), key=lambda pair: pair[0])

    def after_fork_in_child(self) -> None:
        self._lock = Lock()


OBSERVED = Observed()
