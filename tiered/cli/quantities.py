"""Numbers as people read them, short; "–" for what is not known."""

from __future__ import annotations

NONE = "–"


def count(number: float | None) -> str:
    """12, 1,234, 56.7k, 8.9M; below ten with a decimal if it has one. Only nothing is 0."""
    if number is None:
        return NONE
    if 0 < number < 0.05:
        return "<0.1"
    if 0 < number < 9.95 and abs(number - round(number)) > 0.04:
        return f"{number:.1f}"
    for limit, factor, unit in ((9999.5, 1, ""), (999_950, 1e3, "k"), (999_950_000, 1e6, "M")):
        if number < limit:
            return f"{number / factor:,.1f}{unit}" if unit else f"{number:,.0f}"
    return f"{number / 1e9:,.1f}G"


def percent(share: float | None) -> str:
    """Of 0 … 1. 100% only if it is all."""
    if share is None:
        return NONE
    return "100%" if share >= 1 else f"{min(share * 100, 99.9):.1f}%"


def span(seconds: float | None) -> str:
    """1.2µs, 350µs, 4.5ms, 1.2s, 12min, 3h, 4d."""
    if seconds is None:
        return NONE
    for limit, factor, unit in ((1e-3, 1e6, "µs"), (1.0, 1e3, "ms"), (60.0, 1.0, "s")):
        if seconds < limit * 0.9995:
            value = seconds * factor
            return f"{value:.1f}{unit}" if value < 9.95 else f"{value:.0f}{unit}"
    for limit, factor, unit in ((7200.0, 60, "min"), (172_800.0, 3600, "h")):
        if seconds < limit:
            return f"{seconds / factor:.0f}{unit}"
    return f"{seconds / 86_400:,.0f}d"


def size(bytes: float | None) -> str:
    """512B, 1.5kB, 64.0MB, 2.1GB; in powers of 1,024 as the settings are."""
    if bytes is None:
        return NONE
    for factor, unit in ((1, "B"), (2**10, "kB"), (2**20, "MB")):
        if bytes < 1023.95 * factor:
            return f"{bytes / factor:.0f}B" if unit == "B" else f"{bytes / factor:.1f}{unit}"
    return f"{bytes / 2**30:,.1f}GB"
