"""What an importer reads from: a storage that Will has used, which stays as it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple, Protocol


class Kept(NamedTuple):
    """One value as Will's own backend kept it. `expires_at` is Unix seconds, None for never."""

    key: str | bytes
    """bytes: of a key that is no UTF-8."""
    value: bytes
    expires_at: float | None


class Source(Protocol):
    """Reads what one of Will's own backends kept. For one thread."""

    left_out: Counter[str]
    """What is there but is no value of Will's, by what it is; counted by each pass over `values`, which begins anew."""

    def count(self) -> int:
        """About how many values there are."""

    def values(self) -> Iterator[Kept]:
        """All of them, expired ones too, each once; raises `StoreUnavailable`."""

    def close(self) -> None: ...
