"""OpenTelemetry spans around what tiers are asked. Off by default, and then nothing of it is there.

Needs the extra `otel`. A traced tier is the tier itself with some of its methods replaced, so whatever else it is and
can do stays as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sized
from functools import wraps
from typing import Any, TypeVar

from tiered.errors import StoreError
from tiered.extras import missing
from tiered.tiers.memory import MemoryTier

_Tier = TypeVar("_Tier", bound=Any)

TRACED = ("get", "get_many", "put_many", "read", "read_many", "commit", "clear", "scan", "claim", "probe")


def traced(tier: _Tier, tracer_provider: Any = None) -> _Tier:
    """`tier`, which from now on makes a span of each call; memory is left alone: its look-ups are shorter than a span.

    Spans have the tier's name, the operation and the number of keys, never a key or a value. `tracer_provider` is by
    default the global one.
    """
    try:
        from opentelemetry import trace
    except ImportError as error:
        raise missing("trace=True needs OpenTelemetry", "otel") from error
    if not isinstance(tier, MemoryTier) and not getattr(tier, "_is_traced", False):
        tracer = trace.get_tracer("tiered", tracer_provider=tracer_provider)
        for name in TRACED:
            if hasattr(tier, name):
                setattr(tier, name, _spanned(getattr(tier, name), tier.name, name, tracer))
        tier.asked = None  # by tasks, on no thread: nobody would be there to end the span
        tier._is_traced = True
    return tier


def _spanned(call: Callable[..., Any], tier: str, op: str, tracer: Any) -> Callable[..., Any]:
    from opentelemetry.trace import SpanKind, StatusCode

    @wraps(call)
    def spanned(*args: Any, **options: Any) -> Any:
        facts: dict[str, str | int] = {"tiered.tier": tier, "db.operation.name": op}
        if len(args) > 1 and not isinstance(args[1], (str, bytes)) and isinstance(args[1], Sized):
            facts["tiered.keys"] = len(args[1])
        span = tracer.start_as_current_span(
            f"{tier} {op}",
            kind=SpanKind.CLIENT,
            attributes=facts,
            record_exception=False,  # a message might name a key
            set_status_on_exception=False,
        )
        with span as current:
            try:
                return call(*args, **options)
            except Exception as error:
                reason = str(error.reason) if isinstance(error, StoreError) else type(error).__name__
                current.set_attribute("error.type", reason)
                current.set_status(StatusCode.ERROR, reason)
                raise

    return spanned
