"""Two ways to bind a payload to its place and its header, so that nobody without a key can make or move one.

Both put the key's id before the payload: a byte of its length, and the id. What they bind besides the payload is the
header of the frame (flags, codec, version, expiry), the namespace, the key and that id.
"""

from __future__ import annotations

import hmac
import os
from functools import lru_cache
from typing import Any, Protocol

from tiered.codecs.keys import MOST_KEYS, Key, Keyring
from tiered.entry import ENCRYPTED, SIGNED
from tiered.errors import Untrusted
from tiered.extras import missing
from tiered.forks import Forking, register

SALT, NONCE, TAG, MAC = 16, 12, 16, 32
MOST_SUBKEYS = 1024
MOST_USES = 2**31
"""With random nonces a key of AES-GCM is good for 2^32 frames; a new salt, and with it a new key, comes before that."""
_NONE: tuple[int, bytes, Any, int] = (-1, b"", None, 0)


class Seal(Protocol):
    """Thread-safe."""

    flag: int
    """What a frame that was sealed like this has among its flags."""
    name: str

    def overhead(self) -> int:
        """How many bytes longer a sealed payload is."""

    def close(self, head: bytes, place: bytes, payload: bytes, id_: str | None = None) -> bytes:
        """`payload` sealed for a frame that begins with `head`, at `place` (namespace and key).

        With the current key, or the one of `id_`; raises `Untrusted` if there is none.
        """

    def open(self, head: bytes, place: bytes, body: bytes) -> bytes:
        """The payload of `body`; raises `Untrusted` if anything is not as it was sealed."""


class Encryption(Forking):
    """AES-256-GCM: nobody without a key reads a payload either.

    Every process encrypts with a key of its own, derived (HKDF) from the shared one and a random salt in the frame; a child
    after a fork, too, since uses of a key are counted in one process.
    """

    flag, name = ENCRYPTED, "encrypted"

    def __init__(self, ring: Keyring) -> None:
        self._ring = ring
        self._derive, self._errors = _cryptography()
        self._subkeys: dict[bytes, tuple[int, Any]] = {}
        self._own: dict[str, tuple[int, bytes, Any, int]] = {}
        register(self)

    def after_fork_in_child(self) -> None:
        self._own.clear()

    def overhead(self) -> int:
        return 1 + len(self._ring.current.id) + SALT + NONCE + TAG

    def close(self, head: bytes, place: bytes, payload: bytes, id_: str | None = None) -> bytes:
        ring = self._ring
        epoch, key = ring.epoch, ring.current if id_ is None else _named(ring, id_, self.name)
        known, prefix, cipher, uses = self._own.get(key.id, _NONE)
        if known != epoch or not uses:
            salt = os.urandom(SALT)
            prefix, cipher, uses = _prefix(key) + salt, self._derive(key.secret, salt), MOST_USES
        self._own[key.id] = (epoch, prefix, cipher, uses - 1)
        nonce = os.urandom(NONCE)
        sealed: bytes = cipher.encrypt(nonce, payload, head + prefix + place)
        return prefix + nonce + sealed

    def open(self, head: bytes, place: bytes, body: bytes) -> bytes:
        start = 1 + body[0] + SALT if body else 0
        if not start or len(body) < start + NONCE + TAG:
            raise Untrusted("not encrypted the way its header says")
        prefix, epoch = body[:start], self._ring.epoch
        known, cipher = self._subkeys.get(prefix, (-1, None))
        if known != epoch:
            secret = _named(self._ring, _text(prefix[1:-SALT]), self.name).secret
            cipher = self._derive(secret, prefix[-SALT:])
        try:
            payload: bytes = cipher.decrypt(body[start : start + NONCE], body[start + NONCE :], head + prefix + place)
        except self._errors:
            raise Untrusted("was changed, or belongs to another key, namespace or version, or to other keys") from None
        if known != epoch:  # only what proved to be right: forgeries must not push others out
            if len(self._subkeys) >= MOST_SUBKEYS:
                self._subkeys.clear()
            self._subkeys[prefix] = (epoch, cipher)
        return payload


class Signature:
    """HMAC-SHA256: a payload can be read by everybody, and made only with a key."""

    flag, name = SIGNED, "signed"

    def __init__(self, ring: Keyring) -> None:
        self._ring = ring

    def overhead(self) -> int:
        return 1 + len(self._ring.current.id) + MAC

    def close(self, head: bytes, place: bytes, payload: bytes, id_: str | None = None) -> bytes:
        key = self._ring.current if id_ is None else _named(self._ring, id_, self.name)
        prefix = _prefix(key)
        return prefix + _mac(key, head + prefix, place, payload) + payload

    def open(self, head: bytes, place: bytes, body: bytes) -> bytes:
        start = 1 + body[0] if body else 0
        if not start or len(body) < start + MAC:
            raise Untrusted("not signed the way its header says")
        key, payload = _named(self._ring, id_of(body), self.name), body[start + MAC :]
        if not hmac.compare_digest(_mac(key, head + body[:start], place, payload), body[start : start + MAC]):
            raise Untrusted("was changed, or belongs to another key, namespace or version, or to other keys")
        return payload


def id_of(body: bytes) -> str:
    """The id of the key that a sealed payload names, unverified; empty if it names none."""
    return _text(body[1 : 1 + body[0]]) if body else ""


def _prefix(key: Key) -> bytes:
    return bytes([len(key.id)]) + key.id.encode()


def _text(id_: bytes) -> str:
    return id_.decode("ascii", "replace")


def _named(ring: Keyring, id_: str, how: str) -> Key:
    key = ring.find(id_)
    if key is None:
        shown = id_ if id_.isprintable() and len(id_) <= 32 else "with no proper id"
        raise Untrusted(f"{how} with the key {shown!r}, which is not among the keys of this process; add it")
    return key


@lru_cache(maxsize=MOST_KEYS)
def _signing(secret: bytes) -> bytes:
    """A key of its own, so that one secret may serve both ways."""
    return hmac.digest(secret, b"tiered/1/hmac-sha256", "sha256")


def _mac(key: Key, head: bytes, place: bytes, payload: bytes) -> bytes:
    # The lengths are bound, too: nothing can move from one part to the next.
    return hmac.digest(_signing(key.secret), b"%d:%d:" % (len(head), len(place)) + head + place + payload, "sha256")


def _cryptography() -> tuple[Any, tuple[type[Exception], ...]]:
    """What makes the cipher of a secret and a salt, and what it raises for a forgery."""
    try:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF
    except ImportError as error:
        raise missing("encryption needs the cryptography package", "crypto") from error

    def derive(secret: bytes, salt: bytes) -> AESGCM:
        return AESGCM(HKDF(algorithm=SHA256(), length=32, salt=salt, info=b"tiered/1/aes-256-gcm").derive(secret))

    return derive, (InvalidTag, OverflowError)
