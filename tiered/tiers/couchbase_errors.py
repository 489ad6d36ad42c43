"""What the Couchbase SDK raises, in the terms of `tiered`: one translation, in one place."""

from __future__ import annotations

from couchbase import exceptions as sdk

from tiered.errors import Ambiguous, NotApplied, Reason, StoreError, StoreUnavailable

# Neither of the two that the SDK raises is a TimeoutException.
_TIMEOUTS = (sdk.UnAmbiguousTimeoutException, sdk.AmbiguousTimeoutException, sdk.TimeoutException)
_REASONS: tuple[tuple[tuple[type[Exception], ...], Reason], ...] = (
    (_TIMEOUTS, Reason.TIMEOUT),
    ((sdk.AuthenticationException,), Reason.AUTH),
    (
        (sdk.RequestCanceledException, sdk.ServiceUnavailableException, sdk.MissingConnectionException),
        Reason.CONNECTION,
    ),
    ((sdk.QuotaLimitedException,), Reason.FULL),
    (
        (
            sdk.BucketNotFoundException,
            sdk.BucketDoesNotExistException,
            sdk.ScopeNotFoundException,
            sdk.CollectionNotFoundException,
            sdk.FeatureUnavailableException,
            sdk.UnsupportedOperation,
            sdk.InvalidArgumentException,
            sdk.DurabilityInvalidLevelException,
            sdk.DurabilityImpossibleException,
            sdk.ValueFormatException,
        ),
        Reason.MISUSE,
    ),
)
_TOO_LARGE = 104
"""The SDK has no class for its error code "value too large"."""
_MAYBE = (sdk.AmbiguousTimeoutException, sdk.DurabilitySyncWriteAmbiguousException)
_NOT_DONE = (
    *(kind for kinds, reason in _REASONS if reason in (Reason.AUTH, Reason.MISUSE, Reason.FULL) for kind in kinds),
    sdk.UnAmbiguousTimeoutException,
    sdk.TemporaryFailException,
    sdk.RateLimitedException,
    sdk.DocumentLockedException,
    sdk.DurabilitySyncWriteInProgressException,
)
"""The server refused, or was never asked. What is in neither list may have been done."""
_ADVICE = {
    Reason.TIMEOUT: "no answer in time; the server hangs, is overloaded, down or out of reach (timeout= is the limit)",
    Reason.CONNECTION: "the connection broke; check that the server runs, and the host and the port",
    Reason.AUTH: "the server refuses the user: check user, password, and that the user may read and write the bucket's data",
    Reason.TOO_LARGE: "the server takes no document of this size (at most 20 MiB); split the value",
    Reason.FULL: "the server's quota is used up",
    Reason.MISUSE: "check that bucket, scope and collection exist, and that the server can do what the options ask for",
}


def store_error(error: Exception, tier: str, *, write: bool) -> StoreError:
    """`error` as `StoreUnavailable`, or for a write `NotApplied` or, if it may have been done, `Ambiguous`."""
    kind: type[StoreError] = StoreUnavailable
    if write:
        kind = NotApplied if _certainly_not_done(error) else Ambiguous
    reason = reason_of(error)
    advice = _ADVICE.get(reason, "the server or the SDK failed")
    return kind(f"{type(error).__name__}: {advice}", tier=tier, reason=reason)


def reason_of(error: Exception) -> Reason:
    """The kind of an error of the SDK."""
    if getattr(error, "error_code", None) == _TOO_LARGE:
        return Reason.TOO_LARGE
    if _was_closed(error):
        return Reason.CONNECTION
    for kinds, reason in _REASONS:
        if isinstance(error, kinds):
            return reason
    return Reason.OTHER


def _certainly_not_done(error: Exception) -> bool:
    if isinstance(error, _MAYBE):
        return False
    return isinstance(error, _NOT_DONE) or reason_of(error) is Reason.TOO_LARGE or _was_closed(error)


def _was_closed(error: Exception) -> bool:
    """The SDK asks nothing of a cluster that was closed, or replaced by a new one, a moment before."""
    return isinstance(error, RuntimeError) and "closed" in str(error)
