"""Time zones as MessagePack: None, the key of a `ZoneInfo`, or the offset of a `timezone` and its name if it has one."""

from __future__ import annotations

import pickle
import re
from datetime import UTC, datetime, time, timedelta, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from tiered.errors import InvalidValue
from tiered.handlers import pass_on

_UTC = [0, 0, 0]
_KEY = re.compile(r"[A-Za-z0-9_+-]{1,64}(/[A-Za-z0-9_+-]{1,64}){0,3}")


def zone_of(value: datetime | time) -> Any:
    """What to store for the zone of `value`; raises `InvalidValue` for one that could not come back."""
    zone = value.tzinfo
    if zone is None:
        return None
    if zone is UTC:
        return _UTC
    if type(zone) is timezone:
        return _offset_and_name(zone)
    if type(zone) is ZoneInfo:
        return _key_of(zone)
    raise InvalidValue(f"has a time zone of type {type(zone).__name__:.80}; use datetime.timezone or ZoneInfo")


def restore_zone(stored: Any) -> tzinfo | None:
    """The zone that `zone_of` stored; raises ValueError, TypeError or ArithmeticError for anything else."""
    if stored is None:
        return None
    if stored == _UTC:
        return UTC
    if type(stored) is str:
        return _zone_by_key(stored)
    return timezone(timedelta(*stored[:3]), *stored[3:])


def _offset_and_name(zone: timezone) -> list[Any]:
    # The arguments it was made with: tzname() cannot tell a name from the default one.
    arguments: tuple[Any, ...] = zone.__getinitargs__()  # type: ignore[attr-defined]  # pickle's protocol, not in typeshed
    offset, *name = arguments
    if type(offset) is not timedelta or not all(type(part) is str for part in name):
        raise InvalidValue("has a time zone whose offset or name is of a class of its own; use timedelta and str")
    return [offset.days, offset.seconds, offset.microseconds, *name]


def _key_of(zone: ZoneInfo) -> str:
    key = zone.key
    try:
        if type(key) is str and (_zone_by_key(key) is zone or zone.__reduce__()):
            return key
    except (ValueError, pickle.PicklingError):  # PicklingError: read from a file, so that the key says nothing
        pass
    raise InvalidValue("has a ZoneInfo that cannot be found again by its key; use a key of the time zone database")


def _zone_by_key(key: str) -> ZoneInfo:
    # ZoneInfo looks the key up on disk, and imports from the tzdata package: nothing that is no zone name gets there.
    if not _KEY.fullmatch(key):
        raise ValueError("no time zone is called that")
    try:
        return ZoneInfo(key)
    except (KeyError, OSError, ImportError) as error:  # not there; a directory; half a tzdata package
        pass_on(error)
        raise ValueError("a time zone that is not known here; install tzdata") from error
