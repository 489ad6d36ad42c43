"""Bytes as they are."""

from __future__ import annotations

from typing import Any

from tiered.errors import InvalidValue


class RawCodec:
    """Stores bytes and nothing else. Thread-safe."""

    id = 3
    name = "raw"

    def encode(self, value: Any) -> bytes:
        """`value` itself; raises `InvalidValue` if it is no bytes."""
        if type(value) is not bytes:
            raise InvalidValue(f"value is a {type(value).__name__:.80}; this store keeps bytes only (codec raw)")
        return value

    def decode(self, payload: bytes) -> bytes:
        return payload
