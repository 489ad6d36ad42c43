"""What tests of frames share: stores' rules with known keys, and a forger who can do everything but know a key."""

from __future__ import annotations

from collections.abc import Iterator

from tiered.codecs.frames import Frames
from tiered.codecs.keys import Keyring
from tiered.codecs.rules import Rules, rules
from tiered.entry import assembled, namespace_seed

KEYS = {"k2": bytes(range(32)), "k1": bytes(range(1, 33))}
VERSION = 2**40 + 7
EXPIRES = 4_000_000_000_000
PAYLOAD = b'{"user": 7, "name": "Ada", "tags": ["a", "a", "a", "a", "a", "a"]}'


def rules_of(
    protect: str | None = "encrypt",
    *,
    keys: dict[str, bytes] | None = None,
    compress_above: int | None = None,
    migrate: bool = False,
    authentic: bool = False,
    max_size: int = 2**20,
) -> Rules:
    ring = None if protect is None else Keyring(KEYS if keys is None else keys)
    return rules(
        compress_above=compress_above,
        max_size=max_size,
        keys=ring,
        protect=protect,
        migrate=migrate,
        authentic=authentic,
    )


def frames(protect: str | None = "encrypt", namespace: str = "n", **options: object) -> Frames:
    return Frames(namespace, rules_of(protect, **options))  # type: ignore[arg-type]  # as above


def sealed(by: Frames, key: str = "k", payload: bytes = PAYLOAD, version: int = VERSION) -> bytes:
    return by.draft(key, payload, 1, EXPIRES).seal(version)


def repaired(frame: bytes, namespace: str = "n", key: str = "k") -> bytes:
    """With a checksum that fits: everybody can compute it."""
    return assembled(frame[:29], namespace_seed(namespace), key, frame[33:])


def flips(frame: bytes) -> Iterator[bytes]:
    """Every frame that differs in one bit."""
    for place in range(8 * len(frame)):
        changed = bytearray(frame)
        changed[place // 8] ^= 1 << place % 8
        yield bytes(changed)
