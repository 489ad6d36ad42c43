"""`AtomicStorageMixin`: Will's append, pop and schedule changes without the moment in which another process is lost.

    class Memory(AtomicStorageMixin, WillPlugin): ...
    class Bot(AtomicStorageMixin, WillBot): ...        # its scheduler removes what is done

With another STORAGE_BACKEND these are Will's own methods again.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from tiered.arguments import KEEP
from tiered.jitter import jitter

if TYPE_CHECKING:
    from tiered.integrations.will.storage import TieredStorage

LOCK_PATIENCE = 30.0
"""Seconds: a scheduler that was killed leaves its lock behind, and changes need none."""


class AtomicStorageMixin:
    """For plugins and the bot, before Will's own base class. The methods raise what the store raises."""

    def append(self, key: Any, value: Any, expire: Any = None) -> None:
        """Append to the list under `key`, which then lives for `expire`, as with Will's own."""
        storage = _tiered(self)
        if storage is None:
            return super().append(key, value, expire)  # type: ignore[misc,no-any-return]  # Will's

        def appended(items: Any) -> Any:
            items = [] if items is None else items
            items.append(value)
            return items

        storage.update(key, appended, expire=expire)
        return None

    def pop(self, key: Any, value: Any) -> None:
        """Remove `value` from the list under `key`, if there is one; raises ValueError if it is not in it."""
        storage = _tiered(self)
        if storage is None:
            return super().pop(key, value)  # type: ignore[misc,no-any-return]  # Will's

        def removed(items: Any) -> Any:
            if items is None:
                raise _NothingThere
            items.remove(value)
            return items

        with suppress(_NothingThere):
            storage.update(key, removed, expire=KEEP)
        return None

    def add_to_schedule(
        self, when: Any, item: Any, periodic_list: bool = False, ignore_scheduler_lock: bool = False
    ) -> None:
        """Add `item`. It waits for the scheduler's lock, since a bot without this mixin removes by load and save."""
        storage = _tiered(self)
        if storage is None:
            return super().add_to_schedule(  # type: ignore[misc,no-any-return]  # Will's
                when, item, periodic_list=periodic_list, ignore_scheduler_lock=ignore_scheduler_lock
            )
        if not ignore_scheduler_lock:
            self._await_scheduler()
        item["when"] = when
        item_hash = item["hash"] = hash(repr(sorted(item.items())))
        # What is to be done before the time of it: the scheduler looks for times that are due, then for what to do.
        storage.update(self.schedule_key(periodic_list=periodic_list), lambda items: {**(items or {}), item_hash: item})
        storage.update(self.times_key(periodic_list=periodic_list), lambda times: {**(times or {}), item_hash: when})
        return None

    def remove_from_schedule(self, item_hash: Any, periodic_list: bool = False) -> None:
        """Remove an item; one that is gone already is no error."""
        storage = _tiered(self)
        if storage is None:
            return super().remove_from_schedule(item_hash, periodic_list=periodic_list)  # type: ignore[misc,no-any-return]

        def without(items: Any) -> Any:
            return {key: value for key, value in (items or {}).items() if key != item_hash}

        storage.update(self.times_key(periodic_list=periodic_list), without)
        storage.update(self.schedule_key(periodic_list=periodic_list), without)
        return None

    if TYPE_CHECKING:  # of Will's ScheduleMixin and StorageMixin

        def schedule_key(self, periodic_list: bool = False) -> str: ...

        def times_key(self, periodic_list: bool = False) -> str: ...

        def load(self, key: Any, default: Any = None) -> Any: ...

    def _await_scheduler(self) -> None:
        until = time.monotonic() + LOCK_PATIENCE
        while self.load("scheduler_lock", False) and time.monotonic() < until:
            time.sleep(0.02 + 0.08 * jitter())


class _NothingThere(Exception):
    """`pop` of a key that is absent changes nothing."""


def _tiered(plugin: Any) -> TieredStorage | None:
    """The plugin's storage, if it is this project's."""
    from tiered.integrations.will.storage import TieredStorage

    plugin.bootstrap_storage()
    return plugin.storage if isinstance(plugin.storage, TieredStorage) else None
