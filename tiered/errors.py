"""The errors of tiered: what failed, on which tier, and what to do about it.

    TieredError
    ├── ConfigError                (also ValueError)   a setting, a URL, an option
    ├── InvalidKey, InvalidValue, InvalidTtl   (also ValueError and TypeError)   before any I/O
    ├── StoreError                 a tier could not do what it was asked
    │   ├── StoreUnavailable       a read could not be answered; nothing was changed
    │   ├── NotApplied             a write that certainly did not happen
    │   └── Ambiguous              a write that may or may not have happened
    ├── RecursiveLoad              a loader that needs its own key
    └── CodecError
        ├── Corrupt                stored bytes that are damaged, cut off or foreign
        ├── Unreadable             stored bytes that are as they should be, of a class or a codec that is not had here
        ├── TooLarge               stored bytes that are more, or nested deeper, than this store permits
        └── Untrusted              stored bytes that are not signed or encrypted as configured

No message contains a value or a password.
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why a tier failed: the `error` label of the metrics."""

    TIMEOUT = "timeout"
    CONNECTION = "connection"
    AUTH = "auth"
    SERIALIZATION = "serialization"
    TOO_LARGE = "too_large"
    BUSY = "busy"
    """This process has no connection or slot free: its own limit, not the server's failure."""
    MISUSE = "misuse"
    """The server answers, but refuses this command: wrong type, no permission, not configured for it."""
    FULL = "full"
    RESTARTED = "restarted"
    """Another run of the server answers: its data may be another, and nothing was asked of it."""
    OTHER = "other"

    @property
    def trips_breaker(self) -> bool:
        """Whether failures of this kind say that the tier is not well."""
        return self not in _NOT_THE_TIERS_HEALTH


_NOT_THE_TIERS_HEALTH = frozenset({Reason.BUSY, Reason.MISUSE, Reason.AUTH, Reason.TOO_LARGE, Reason.SERIALIZATION})


class TieredError(Exception):
    """Base of every error that tiered raises on purpose."""


class ConfigError(TieredError, ValueError):
    """A URL, a setting or an option that cannot work; nothing was opened or written."""


class InvalidKey(TieredError, ValueError, TypeError):
    """A key that cannot be stored; nothing was read or written."""


class InvalidValue(TieredError, ValueError, TypeError):
    """A value that the codec cannot keep without loss; nothing was written."""


class InvalidTtl(TieredError, ValueError, TypeError):
    """A time to live that no entry can have; nothing was written."""


class StoreError(TieredError):
    """A tier failed. `tier` is its name, `reason` the kind of failure."""

    def __init__(self, message: str, *, tier: str = "", reason: Reason = Reason.OTHER) -> None:
        super().__init__(f"{tier}: {message}" if tier else message)
        self.tier = tier
        self.reason = reason


def without_tier(error: BaseException, tier: str) -> str:
    """The message for a line that begins with the name of `tier` itself."""
    return str(error).removeprefix(f"{tier}: ")


class StoreUnavailable(StoreError):
    """A read could not be answered. It says nothing about whether the key exists."""


class NotApplied(StoreError):
    """The write did not happen; what was stored before is still there."""


class Ambiguous(StoreError):
    """The write may or may not have happened (a lost reply, a failed fsync); read before repeating it."""


class RecursiveLoad(TieredError, RuntimeError):
    """The loader of a key asked `get_or_set` for that key, itself or through others; waiting would never end."""


class CodecError(TieredError):
    """Stored bytes that cannot be turned into a value."""


class Corrupt(CodecError):
    """Damaged, truncated or foreign bytes."""


class Unreadable(CodecError):
    """Bytes that were written as they are, of a class or a codec that this process does not have: no damage."""


class TooLarge(CodecError):
    """Bytes beyond a limit of this store: of a value, or of what a compressed one would become."""


class Untrusted(CodecError):
    """Bytes that are not authenticated the way this store requires."""
