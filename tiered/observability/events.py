"""Transitions in the log: standard logging, with fields for formatters that keep them (docs/metrics.md)."""

from __future__ import annotations


def transition(event: str, tier: str = "", **facts: object) -> dict[str, object]:
    """The `extra=` of a log record about a change of state: `tiered_event`, `tiered_tier` and facts, never a value."""
    return {"tiered_event": event, "tiered_tier": tier, **{f"tiered_{name}": str(it) for name, it in facts.items()}}
