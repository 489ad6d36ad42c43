"""Which keys could not be loaded: whoever got a default in place of a list must not save what it made of it.

Will's mixin swallows the error of a load and hands the plugin its default; `append` then saves a list of one where ten
were. So a save is refused, in the thread whose load failed, until a load of that key has succeeded there. The same goes
for what a cache tier gave while the store of record could not be asked: it may be older than what would be overwritten.
"""

from __future__ import annotations

import logging
import threading

from tiered.errors import NotApplied, Reason

logger = logging.getLogger(__name__)

MAX_KEYS = 10_000
"""Per thread. The overwriting save comes right after its load, so the oldest can be forgotten."""


class FailedLoads(threading.local):
    """The keys whose last load failed, of the thread that asks; a child after a fork goes on with its parent's."""

    def __init__(self) -> None:
        self._keys: dict[str, str] = {}

    def failed(self, key: str, why: BaseException) -> None:
        if key not in self._keys:
            logger.warning("%r could not be loaded, so it will not be saved until it can be: %s", key, why)
        self._note(
            key, f"its last load here failed ({type(why).__name__}), so what is to be saved may be made of a default"
        )

    def unproven(self, key: str, tier: str | None) -> None:
        """It was loaded, but the store of record could not be asked whether somebody else has written it since."""
        if key not in self._keys:
            logger.warning(
                "%r is known from %s alone, so it will not be saved until the store of record answers", key, tier
            )
        self._note(key, f"its last load here was from {tier} alone, so what is to be saved may be made of an old value")

    def succeeded(self, key: str) -> None:
        if self._keys.pop(key, None):
            logger.warning("%r can be loaded, and saved, again", key)

    def forget(self) -> None:
        """Everything was cleared, so there is nothing to overwrite."""
        self._keys.clear()

    def check(self, key: str) -> None:
        """Raises `NotApplied` if the last load of `key` in this thread failed, or was unproven."""
        if why := self._keys.get(key):
            raise NotApplied(
                f"{key!r} is not saved: {why} and would replace what is stored. Load it again; if it can never be read, clear"
                " it",
                reason=Reason.MISUSE,
            )

    def _note(self, key: str, why: str) -> None:
        self._keys[key] = why
        if len(self._keys) > MAX_KEYS:
            del self._keys[next(iter(self._keys))]
