"""Compression with zstandard. Nothing is decompressed before it is known how large it becomes."""

from __future__ import annotations

from threading import local
from typing import Any

from tiered.errors import Corrupt, TooLarge
from tiered.extras import missing

SMALL = 4096
SMALL_LEVEL, LEVEL = -1, 1
"""Up to `SMALL` bytes the faster level takes half the time, and most values get as short (benchmarks/codecs.py)."""
MAX_WINDOW = 128 * 2**20
"""The memory that decompressing may take besides its result, whatever a frame asks for."""


class Compression:
    """Compresses payloads of more than `above` bytes (None: none), and reads those of at most `max_size`. Thread-safe."""

    def __init__(self, *, above: int | None, max_size: int) -> None:
        self._above, self._max_size = above, max_size
        self._zstandard: Any = None
        self._mine = local()  # neither compressors nor decompressors are thread-safe
        if above is not None:
            self._library()

    @property
    def active(self) -> bool:
        """Whether it compresses at all."""
        return self._above is not None

    def compress(self, payload: bytes) -> bytes | None:
        """`payload` compressed; None where it stays as it is: it is short, or would not get shorter."""
        if self._above is None or len(payload) <= self._above:
            return None
        compressed: bytes = self._tools()[len(payload) > SMALL](payload)
        return compressed if len(compressed) < len(payload) else None

    def decompress(self, body: bytes) -> bytes:
        """What was compressed; raises `Corrupt`, or `TooLarge` before any of it is made."""
        zstandard = self._library()
        try:
            size = zstandard.frame_content_size(body)
            if size < 0:
                raise Corrupt("compressed without saying how large it becomes")
            if size > self._max_size:
                raise TooLarge(f"would decompress to {size} bytes, more than the limit of {self._max_size}")
            payload: bytes = self._tools()[2](body, allow_extra_data=False)
        except zstandard.ZstdError as error:
            raise Corrupt("compressed in no way that can be undone") from error
        if len(payload) != size:
            raise Corrupt("decompresses to another size than it says")
        return payload

    def _tools(self) -> tuple[Any, Any, Any]:
        """What compresses a short payload, what a long one, and what decompresses; of this thread."""
        tools: tuple[Any, Any, Any] | None = getattr(self._mine, "tools", None)
        if tools is None:
            zstandard = self._library()
            small, large = (zstandard.ZstdCompressor(level=it, write_checksum=False) for it in (SMALL_LEVEL, LEVEL))
            decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW)
            tools = self._mine.tools = (small.compress, large.compress, decompressor.decompress)
        return tools

    def _library(self) -> Any:
        if self._zstandard is None:
            try:
                import zstandard
            except ImportError as error:
                raise missing("compression needs the zstandard package", "compression") from error
            self._zstandard = zstandard
        return self._zstandard
