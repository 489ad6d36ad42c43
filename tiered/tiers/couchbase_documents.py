"""How an entry is a document: its id, its body, its native expiry.

An id is `start + key`. Where that is longer than the server takes, or the SDK would cut it at a zero byte, it is `start`, a
mark and a digest of the key, and the body begins with the key. A body is a frame; in the role of a store of record its version is 0, and the document's CAS is
the version.
"""

from __future__ import annotations

import struct
import time
from hashlib import blake2b
from typing import NamedTuple

from tiered.entry import HEADER_SIZE, open_frame
from tiered.entry import draft as make_draft
from tiered.errors import Corrupt

MAX_BODY = 20 * 2**20
"""Bytes of the largest document that a server takes."""
LAST_MOMENT = 2**31 - 1
"""Unix seconds; servers keep moments in 32 bits, some with a sign. What lives longer is left to the expiry in its frame."""

DIGEST = "\x7f"
_NAMED, _HOLLOW = b"\xf5k", b"\xf5h"
_LENGTH = struct.Struct(">H")


class Body(NamedTuple):
    """A body in its parts."""

    frame: bytes
    key: str | None = None
    """If the id does not tell it."""
    hollow: bool = False
    """The frame is a header only: the value was too large, and its version still refuses what is older."""


def id_of(start: str, key: str, limit: int) -> str:
    """The id of `key`, at most `limit` bytes long."""
    whole = start + key
    fits = len(whole) <= limit if whole.isascii() else len(whole.encode()) <= limit
    if fits and "\0" not in key and not key.startswith(DIGEST):
        return whole
    return f"{start}{DIGEST}{blake2b(key.encode(), digest_size=16).hexdigest()}"


def pack(start: str, key: str, id: str, frame: bytes) -> bytes:
    """The body of the document `id`."""
    if len(id) == len(start) + len(key) and id.endswith(key):
        return frame
    name = key.encode()
    return _NAMED + _LENGTH.pack(len(name)) + name + frame


def hollowed(body: bytes, frame: bytes) -> bytes:
    """A body in the place of `body`, which is too large: that of `frame` without its payload."""
    return _HOLLOW + body[: len(body) - len(frame) + HEADER_SIZE]


def unpack(body: bytes) -> Body:
    """The parts of a body; of foreign bytes, these bytes."""
    hollow = body.startswith(_HOLLOW)
    rest = body[len(_HOLLOW) :] if hollow else body
    if not rest.startswith(_NAMED):
        return Body(rest, None, hollow)
    begin = len(_NAMED) + _LENGTH.size
    try:
        end = begin + _LENGTH.unpack_from(rest, len(_NAMED))[0]
        return Body(rest[end:], rest[begin:end].decode(), hollow)
    except (UnicodeDecodeError, struct.error):
        return Body(body)


def sealed(frame: bytes, seed: int, key: str, version: int) -> bytes:
    """`frame`, stored without a version, under `version`; damaged bytes as they are, for the reader to refuse."""
    try:
        flags, codec, _, expires_at, keep_until, payload = open_frame(frame, seed, key)
    except Corrupt:
        return frame
    it = make_draft(seed, key, payload, codec, expires_at=expires_at, keep_until=keep_until, flags=flags)
    return it.seal(version)


def native_expiry(milliseconds: int) -> int:
    """Whole seconds, never less than what was asked for, and at least one; 0 (never) where the server cannot count so far."""
    seconds = max(1, -(-milliseconds // 1000))
    return 0 if time.time() + seconds > LAST_MOMENT else seconds
