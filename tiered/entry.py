"""Frames: the bytes of one entry, the same in every tier.

    offset  0  magic        2  F5 74
            2  format       1  1
            3  flags        1  1 = tombstone, 2 = compressed, 4 = encrypted, 8 = signed
            4  codec        1  which codec wrote the payload
            5  version      8  big endian, assigned by the store of record
           13  expires_at   8  Unix time in ms from which the entry reads as absent; 0 = never
           21  keep_until   8  Unix time in ms until which it is worth keeping; 0 = for ever
           29  checksum     4  CRC-32 of namespace, key, payload and the 29 bytes before
           33  payload         as it is, or as its flags say (tiered/codecs/frames.py)

The namespace and the key are part of the checksum but not of the frame, so a frame that was moved to another key
does not open. CRC-32 finds accidents; against forgery there are encryption and signatures (docs/security.md).
"""

from __future__ import annotations

from struct import Struct
from typing import Any, NamedTuple, Protocol
from zlib import crc32

from tiered.errors import Corrupt

MAGIC = b"\xf5t"
FORMAT = 1
TOMBSTONE, COMPRESSED, ENCRYPTED, SIGNED = 1, 2, 4, 8
ALL_FLAGS = TOMBSTONE | COMPRESSED | ENCRYPTED | SIGNED
VERSION_OFFSET = 5
HEADER_SIZE = 33
MAX_VERSION = 2**63 - 1
KNOWN_FLAGS = TOMBSTONE

_HEAD = Struct(">2sBBBQQQ")
_FRAME = Struct(">2sBBBQQQI")
_CHECKSUM = Struct(">I")
_U64 = Struct(">Q")
_pack, _pack_checksum, _unpack = _HEAD.pack, _CHECKSUM.pack, _FRAME.unpack_from
_new: Any = tuple.__new__  # a named tuple's own constructor costs twice as much


class Entry(NamedTuple):
    """An opened frame. Times are Unix milliseconds, 0 = never."""

    flags: int
    codec: int
    version: int
    expires_at: int
    keep_until: int
    payload: bytes

    @property
    def tombstone(self) -> bool:
        return bool(self.flags & TOMBSTONE)

    def absent(self, now: int) -> bool:
        """Whether this reads as "known to be absent" at `now` (Unix ms): deleted or expired."""
        return bool(self.flags & TOMBSTONE) or 0 < self.expires_at <= now


class Covered(Corrupt):
    """A frame whose payload is not stored as it is, for a reader that takes it as it is."""


class Cover(Protocol):
    """How a draft's payload is stored if not as it is."""

    def seal(self, draft: Draft, version: int) -> bytes:
        """The frame of `draft` under `version`."""

    @property
    def size(self) -> int:
        """Bytes of that frame."""


class Draft(NamedTuple):
    """An entry that waits for its version. `checksum` already covers namespace, key and payload, unless there is a cover."""

    flags: int
    codec: int
    expires_at: int
    keep_until: int
    payload: bytes
    """As the codec made it; compressed or encrypted it is only in the frame."""
    checksum: int
    cover: Cover | None = None

    @property
    def tombstone(self) -> bool:
        return bool(self.flags & TOMBSTONE)

    @property
    def size(self) -> int:
        """Bytes of its frame."""
        return HEADER_SIZE + len(self.payload) if self.cover is None else self.cover.size

    def seal(self, version: int) -> bytes:
        """The frame of this draft under `version`."""
        flags, codec, expires_at, keep_until, payload, checksum, cover = self
        if cover is not None:
            return cover.seal(self, version)
        head = _pack(MAGIC, FORMAT, flags, codec, version, expires_at, keep_until)
        return head + _pack_checksum(crc32(head, checksum)) + payload


def namespace_seed(namespace: str) -> int:
    """Where the checksums of a namespace start; computed once per namespace."""
    return crc32(namespace.encode() + b"\0")


def draft(
    seed: int, key: str, payload: bytes, codec: int, *, expires_at: int = 0, keep_until: int = 0, flags: int = 0
) -> Draft:
    """A draft of a value under `key` in the namespace of `seed`."""
    return Draft(flags, codec, expires_at, keep_until or expires_at, payload, crc32(payload, crc32(key.encode(), seed)))


def tombstone(seed: int, key: str, now: int) -> Draft:
    """A draft that says "deleted at `now`" (Unix ms)."""
    return draft(seed, key, b"", 0, expires_at=now, keep_until=now, flags=TOMBSTONE)


def head_of(flags: int, codec: int, version: int, expires_at: int, keep_until: int) -> bytes:
    """What comes before the checksum."""
    return _pack(MAGIC, FORMAT, flags, codec, version, expires_at, keep_until)


def assembled(head: bytes, seed: int, key: str, payload: bytes) -> bytes:
    """The frame of a head and a payload under `key` in the namespace of `seed`."""
    return head + _pack_checksum(crc32(head, crc32(payload, crc32(key.encode(), seed)))) + payload


def open_frame(frame: bytes, seed: int, key: str, known: int = KNOWN_FLAGS) -> Entry:
    """Open the frame that was stored under `key` in the namespace of `seed`; raises `Corrupt`, and `Covered` for a flag
    that is not among `known`."""
    if len(frame) < HEADER_SIZE:
        raise Corrupt(f"{len(frame)} bytes are too short for a frame")
    magic, form, flags, codec, version, expires_at, keep_until, checksum = _unpack(frame)
    if magic != MAGIC or form != FORMAT:
        raise Corrupt("not a frame of this format: written by another program or another release")
    payload = frame[HEADER_SIZE:]
    if crc32(frame[:29], crc32(payload, crc32(key.encode(), seed))) != checksum:
        raise Corrupt("checksum mismatch: damaged, or stored under another key or namespace")
    if flags & ~known:
        raise Covered(f"unknown flags {flags:#x}: written by a newer release")
    return _new(Entry, (flags, codec, version, expires_at, keep_until, payload))  # type: ignore[no-any-return]  # Entry


def version_of(frame: bytes) -> int:
    """The version in a frame's header, unverified; 0 for bytes that are no frame, so that any real entry replaces them."""
    if len(frame) < HEADER_SIZE or frame[:2] != MAGIC or frame[2] != FORMAT:
        return 0
    return int(_U64.unpack_from(frame, VERSION_OFFSET)[0])


def keep_until_of(frame: bytes) -> int:
    """Unix ms until which a frame is worth keeping, unverified; 0 = for ever, and for bytes that are no frame."""
    return int(_U64.unpack_from(frame, 21)[0]) if len(frame) >= HEADER_SIZE else 0


def expires_at_of(frame: bytes) -> int:
    """Unix ms from which a frame reads as absent, unverified; 0 = never, and for bytes that are no frame."""
    return int(_U64.unpack_from(frame, 13)[0]) if len(frame) >= HEADER_SIZE else 0


def is_tombstone(frame: bytes) -> bool:
    """Whether a frame's header says "deleted", unverified."""
    return len(frame) >= HEADER_SIZE and bool(frame[3] & TOMBSTONE)
