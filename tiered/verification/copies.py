"""What a tier has under a key, opened, and how it stands to what the record has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from tiered.codecs.frames import Frames
from tiered.codecs.rules import PLAIN, Rules
from tiered.entry import Entry
from tiered.errors import CodecError, Unreadable, Untrusted
from tiered.verification.report import Kind


class Place(NamedTuple):
    """A namespace under comparison."""

    name: str
    frames: Frames

    @classmethod
    def of(cls, name: str, rules: Rules = PLAIN) -> Place:
        return cls(name, Frames(name, rules))


class Copy(NamedTuple):
    """One entry as one tier has it. Version 0: it does not open."""

    version: int
    absent: bool
    """Deleted or expired: it reads as "not there"."""
    content: Any
    """The frame; in memory, the slot."""
    entry: Entry | None = None
    """None: damaged, or in memory."""
    reason: str = ""
    """Why this process cannot read it, if another may. With a version it opens: the keys are right, a class is missing."""

    @property
    def damaged(self) -> bool:
        return not self.version

    @property
    def fault(self) -> Kind | None:
        """What is wrong with it by itself."""
        if self.reason:
            return Kind.UNREADABLE
        return Kind.DAMAGED if self.damaged else None


def opened(place: Place, key: str, frame: bytes | None, now: int) -> Copy | None:
    """The copy in `frame`, as it reads at `now` (Unix ms); None if there is no frame."""
    if frame is None:
        return None
    try:
        entry = place.frames.open(frame, key)
    except Untrusted as error:
        return Copy(0, False, frame, reason=str(error))
    except CodecError:
        return Copy(0, False, frame)
    return Copy(entry.version, entry.absent(now), frame, entry)


def decoded(copy: Copy, decode: Callable[[Entry], Any]) -> Copy:
    """`copy`, and what this process makes of its value with `decode`."""
    if copy.entry is None or copy.absent:
        return copy
    try:
        decode(copy.entry)
    except Unreadable as error:
        return copy._replace(reason=str(error))
    except CodecError:
        return Copy(0, False, copy.content)
    return copy


def compare(recorded: Copy | None, held: Copy | None, alike: Callable[[Copy, Copy], bool]) -> Kind | None:
    """What `held` is if the record has `recorded`; None if it is nothing to speak of. `alike` compares one version.

    Where the record's entry opens, the keys are right, and what does not open beside it is damaged.
    """
    gone = recorded is None or recorded.absent
    if held is None:
        return None if gone else Kind.MISSING
    if held.damaged:
        return held.fault if recorded is None else Kind.DAMAGED
    if gone and held.absent:
        return None if recorded is None else Kind.SAME
    if recorded is None or (gone and held.version < recorded.version):
        return Kind.RESURRECTABLE
    if held.version != recorded.version:
        return Kind.OLDER if held.version < recorded.version else Kind.NEWER
    return Kind.SAME if alike(recorded, held) else Kind.DIFFERENT
