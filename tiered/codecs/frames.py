"""How the frames of a namespace are made and opened: as they are, compressed, signed or encrypted.

Made: the codec's payload is compressed, then sealed when its version is known, which is inside the store of record.
Opened: the seal is checked first, then the size, and only then it is decompressed; decoding is up to the caller.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from tiered.codecs.rules import Rules
from tiered.codecs.seals import id_of
from tiered.entry import (
    ALL_FLAGS,
    COMPRESSED,
    ENCRYPTED,
    HEADER_SIZE,
    SIGNED,
    TOMBSTONE,
    Covered,
    Draft,
    Entry,
    assembled,
    draft,
    head_of,
    namespace_seed,
    open_frame,
    tombstone,
)
from tiered.errors import CodecError, TooLarge, Untrusted

SEALED = ENCRYPTED | SIGNED
HEAD = 29
OVERHEAD = 256
"""More than a frame has besides its payload."""
_new: Any = tuple.__new__  # a named tuple's own constructor costs twice as much


class Frames:
    """The frames of the namespace `name`. Thread-safe."""

    def __init__(self, name: str, rules: Rules) -> None:
        self.seed = namespace_seed(name)
        self.plain = rules.plain
        """Whether a draft needs no more than `entry.draft`, and as a rule a frame no more than `entry.open_frame`."""
        self._space, self._rules, self._seal = name.encode() + b"\0", rules, rules.writes
        self._most = rules.max_size + OVERHEAD

    def draft(self, key: str, payload: bytes, codec: int, expires_at: int = 0, keep_until: int = 0) -> Draft:
        """A draft of a value under `key`."""
        if self._rules.ring is not None:
            self._rules.ring.refresh()
        body, flags = self._rules.compression.compress(payload), COMPRESSED
        if body is None:
            if self._seal is None:
                return draft(self.seed, key, payload, codec, expires_at=expires_at, keep_until=keep_until)
            body, flags = payload, 0
        cover = _new(_Cover, (self, key, body, flags))
        draft_: Draft = _new(Draft, (0, codec, expires_at, keep_until or expires_at, payload, 0, cover))
        return draft_

    def tombstone(self, key: str, now: int) -> Draft:
        """A draft that says "deleted at `now`" (Unix ms)."""
        if self._seal is None:
            return tombstone(self.seed, key, now)
        return Draft(TOMBSTONE, 0, now, now, b"", 0, _Cover(self, key, b"", 0))

    def open(self, frame: bytes, key: str) -> Entry:
        """The entry in `frame`, its payload as the codec made it; raises `CodecError`."""
        if len(frame) > self._most:
            raise TooLarge(f"takes {len(frame)} bytes, more than max_value_bytes permits")
        if self.plain:
            try:
                return open_frame(frame, self.seed, key)
            except Covered:
                pass  # compressed by another process, which is read; or sealed, which is refused, saying why
        return self._uncovered(frame, key)

    def is_current(self, frame: bytes) -> bool:
        """Whether a frame says, unverified, that it was sealed as one would be now: the same way, with the same key."""
        flag = self._seal.flag if self._seal is not None else 0
        if len(frame) < HEADER_SIZE or frame[3] & SEALED != flag:
            return False
        return not flag or self._rules.ring is None or id_of(frame[HEADER_SIZE:]) == self._rules.ring.current.id

    def size(self, body: bytes) -> int:
        """Bytes of a frame around `body`."""
        return HEADER_SIZE + len(body) + (self._seal.overhead() if self._seal is not None else 0)

    def seal(self, key: str, flags: int, draft: Draft, version: int, body: bytes) -> bytes:
        """The frame of `draft` under `version`, with `body` in place of its payload."""
        seal = self._seal
        if seal is None:
            return assembled(head_of(flags, draft[1], version, draft[2], draft[3]), self.seed, key, body)
        head = head_of(flags | seal.flag, draft[1], version, draft[2], draft[3])
        return assembled(head, self.seed, key, seal.close(head, self._space + key.encode(), body))

    def stamp(self, key: str, frame: bytes, version: int) -> bytes:
        """A frame that was sealed under version 0, under `version`, with the same key.

        One that does not open is returned as it is, for readers to refuse.
        """
        try:
            entry = open_frame(frame, self.seed, key, ALL_FLAGS)
            body, seal = entry.payload, self._rules.reads.get(entry.flags & SEALED)
            head = head_of(entry.flags, entry.codec, version, entry.expires_at, entry.keep_until)
            if seal is not None:
                place = self._space + key.encode()
                body = seal.close(head, place, seal.open(frame[:HEAD], place, body), id_of(body))
        except CodecError:
            return frame
        return assembled(head, self.seed, key, body)

    def _uncovered(self, frame: bytes, key: str) -> Entry:
        rules = self._rules
        entry = open_frame(frame, self.seed, key, ALL_FLAGS)
        flags, payload = entry[0], entry[5]
        sealed = flags & SEALED
        if sealed not in rules.reads:
            raise Untrusted(self._refusal(sealed))
        seal = rules.reads[sealed]
        if seal is not None:
            if rules.ring is not None:
                rules.ring.refresh()  # who only reads must not trust a key for ever that was taken away
            payload = seal.open(frame[:HEAD], self._space + key.encode(), payload)
            if not entry[2]:
                raise Untrusted("has no version: it is only good where versions come from the server (`stamp`)")
        if flags & COMPRESSED:
            payload = rules.compression.decompress(payload)
        return _new(Entry, (*entry[:5], payload))  # type: ignore[no-any-return]  # Entry

    def _refusal(self, sealed: int) -> str:
        kind = {0: "neither encrypted nor signed", ENCRYPTED: "encrypted", SIGNED: "signed"}.get(sealed, "both sealed")
        if self._rules.ring is None:
            return f"{kind}, and this process has no keys; give keys= (TIERED_KEYS)"
        permit = "migrate=True (TIERED_MIGRATE=1) takes it until `tiered rekey` has been through"
        return f"{kind}, which this store refuses; {permit}"


class _Cover(NamedTuple):
    """What becomes of one draft (`entry.Cover`)."""

    frames: Frames
    key: str
    body: bytes
    flags: int

    def seal(self, draft: Draft, version: int) -> bytes:
        frames, key, body, flags = self
        return frames.seal(key, draft[0] | flags, draft, version, body)

    @property
    def size(self) -> int:
        return self.frames.size(self.body)
