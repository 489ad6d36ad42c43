"""`TieredStorage`: what Will keeps its memory in. Needs Will; `tiered.integrations.will.bootstrap` builds it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, ClassVar

import dill
from clint.textui import indent
from will.backends.storage.base import BaseStorageBackend
from will.utils import error, show_valid, warn

from tiered.arguments import KEEP, Ttl, _Keep
from tiered.errors import ConfigError, Corrupt, InvalidValue, Reason, StoreUnavailable, TieredError
from tiered.integrations.will.chain import redis_url, settings_of
from tiered.integrations.will.expire import seconds_left
from tiered.integrations.will.failed_loads import FailedLoads
from tiered.integrations.will.keys import stored_name
from tiered.integrations.will.required import URL, required_settings
from tiered.integrations.will.stores import STORES

_ABSENT: Any = object()


class TieredStorage(BaseStorageBackend):  # type: ignore[misc]  # Will has no types
    """A Will storage backend over a chain of tiers. Thread-safe; may be used in children after a fork.

    Every method raises the typed errors of tiered; Will's mixin logs them. A key whose load failed is not saved, by the same
    thread, until a load of it succeeded (failed_loads.py).
    """

    required_settings: ClassVar[list[dict[str, str]]] = [URL]

    def __init__(self, settings: Any) -> None:
        self._settings = settings
        try:
            options = settings_of(settings)
            # Of the instance: TIERED_URL is not required of those whose other settings name a place.
            self.required_settings = required_settings(options, vars(settings))  # type: ignore[misc]  # Will reads it so
            self.verify_settings(quiet="url" in options)
            self._store = STORES.open(options)
        except ConfigError as wrong:
            error(f"The settings (TIERED_…) for STORAGE_BACKEND = 'tiered' cannot work: {wrong}")
            raise OSError(f"wrong settings for the tiered storage backend: {wrong}") from wrong
        self._failed_loads = FailedLoads()

    def verify_settings(self, quiet: bool = False) -> bool:
        """Will calls it once more at its start, not quietly: then the tiers are asked, too.

        Raises `EnvironmentError` if a setting is missing, or if the store of record cannot be reached.
        """
        passed: bool = super().verify_settings(quiet=quiet)
        if not quiet:
            self._show_tiers()
        return passed

    def do_save(self, key: Any, value: Any, expire: Any = None) -> None:
        """Store what Will has encoded; with an `expire` that is over already, remove what is there."""
        name = stored_name(key)
        self._failed_loads.check(name)
        data, ttl = _bytes(value), seconds_left(expire, time.time())
        if ttl == 0:
            self._store.delete(name)
        else:
            self._store.set(name, data, ttl)

    def do_load(self, key: Any) -> bytes | None:
        """The bytes under `key`, None if it is absent or expired."""
        name = stored_name(key)
        try:
            found = self._store.lookup(name)
            data = _bytes(found.value) if found.found else None
        except BaseException as failure:  # Will's mixin swallows an interrupt, too, and gives its default
            self._failed_loads.failed(name, failure)
            raise
        if found.unproven:
            self._failed_loads.unproven(name, found.tier)
        else:
            self._failed_loads.succeeded(name)
        return data

    def load(self, key: Any, *args: Any, **kwargs: Any) -> bytes | None:
        """What was saved under `key`, decrypted; raises where Will's own would let its mixin give the default.

        Will's own loads a second time if the first fails, and does not decrypt that.
        """
        data = self.do_load(key)
        if data is None:
            return None
        try:
            return self._opened(data)[0]
        except BaseException as failure:
            self._failed_loads.failed(stored_name(key), failure)
            raise

    def clear(self, key: Any) -> bool:
        """Remove `key`; whether it was there."""
        name = stored_name(key)
        existed = self._store.delete(name)
        self._failed_loads.succeeded(name)
        return existed

    def clear_all_keys(self) -> bool:
        """Remove every key of this namespace, and nothing else that the tiers hold."""
        self._store.clear()
        self._failed_loads.forget()
        return True

    def size(self) -> str:
        """How many keys there are and how large their values, counted one by one, where the store of record can list them."""
        count = total = 0
        try:
            for _, value in self._store.items():
                count, total = count + 1, total + len(_bytes(value))
        except StoreUnavailable as error:
            if error.reason is not Reason.MISUSE:
                raise
            return f"unknown ({error})"
        return f"{count:,} keys, {_size(total)}"

    def update(self, key: Any, fn: Callable[[Any], Any], *, default: Any = None, expire: Any = KEEP) -> Any:
        """Replace the object under `key` (`default` if absent) by `fn` of it, atomically among all processes; the new one.

        `fn` gets a copy of its own, and again if another writer came first. By default the expiry stays as it is; with one
        that is over already, the key is removed. Raises what `fn` raises, and the typed errors of tiered, with nothing written.
        """
        name = stored_name(key)
        ttl: Ttl | _Keep = KEEP if expire is KEEP else seconds_left(expire, time.time())
        if ttl == 0:
            self._store.delete(name)
            return default
        result = default

        def change(data: Any) -> bytes:
            nonlocal result
            result = fn(default if data is _ABSENT else self._opened(_bytes(data))[1])
            return _bytes(self.encrypt(dill.dumps(result)))

        self._store.update(name, change, default=_ABSENT, ttl=ttl)
        self._failed_loads.succeeded(name)
        return result

    @property
    def redis(self) -> Any:
        """A plain client of Will's REDIS_URL, for code of Will and of plugins that reaches for `storage.redis`."""
        url = getattr(self._settings, "REDIS_URL", None)
        if not url:
            raise AttributeError("there is no storage.redis: REDIS_URL is not set")
        if "_redis" not in vars(self):
            import redis

            self._redis = redis.Redis.from_url(redis_url(url))
        return self._redis

    # Private

    def _show_tiers(self) -> None:
        """Use the store once and say how its tiers are."""
        try:
            self._store.get(stored_name("scheduler_lock"))
            health = self._store.health()
            *caches, record = health
        except TieredError as failure:
            error(f"The storage cannot be reached: {failure}")
            raise OSError(f"the tiered storage backend cannot be reached: {failure}") from failure
        with indent(2):
            for name in caches:
                if health[name]["ok"]:
                    show_valid(name)
                else:
                    warn(f"{name} is not there, and Will goes on without it until it is: {health[name]['detail']}")
            show_valid(f"{record}, the store of record")

    def _opened(self, data: bytes) -> tuple[bytes, Any]:
        """Will's pickle in `data`, and the object in it; raises where the mixin would fail without telling us."""
        try:
            pickled = self.decrypt(data)
        except Exception:
            pickled = data  # saved before Will encrypted, or encoded, what it saves
        if pickled is None:  # how Will's own decryption answers an interrupt
            raise Corrupt("the decryption of a value was interrupted")
        try:
            return pickled, dill.loads(pickled)
        except Exception as failure:
            raise Corrupt(
                f"a value can be neither decrypted nor unpickled ({type(failure).__name__}): another SECRET_KEY, a class that"
                " is gone, or damage"
            ) from failure


def _bytes(value: Any) -> bytes:
    """What Will's encryption made of a value, or what was stored of it."""
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    if value is None:
        raise InvalidValue(
            "nothing to save: Will's encryption failed (see its log); what was stored before is still there"
        )
    raise InvalidValue(f"Will saves text or bytes, but this is a {type(value).__name__}")


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
