"""What the figures were measured on. Only ratios of one run can be compared with those of another machine."""

from __future__ import annotations

import os
import platform
import tempfile
import time
from pathlib import Path


def describe() -> str:
    """Python, processors, how busy they are, and what a bare fdatasync costs: above 1 ms durable figures mean nothing."""
    busy = f"load {os.getloadavg()[0]:.1f}"
    return f"Python {platform.python_version()}, {os.cpu_count()} processors, {busy}, fdatasync {fsync_ms():.2f} ms"


def fsync_ms(directory: Path | None = None) -> float:
    """Milliseconds of a bare fdatasync in `directory`, or where temporary files are."""
    with tempfile.TemporaryFile(buffering=0, dir=directory) as probe:
        probe.write(b"x" * 4096)
        start = time.perf_counter()
        for _ in range(20):
            probe.write(b"x")
            os.fdatasync(probe.fileno())
        return (time.perf_counter() - start) / 20 * 1000
